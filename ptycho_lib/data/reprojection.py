"""Re-projection: whether object × probe explains the measured amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ptycho_lib.io.lazy_stack import Array, read_patterns
from ptycho_lib.physics.diffraction import diffract

if TYPE_CHECKING:
    from ptycho_lib.data.dataset import PtychoDataset


@dataclass(frozen=True)
class Residual:
    """How well predicted amplitudes match measured ones.

    Parameters
    ----------
    value : float
        R = Σ|s·A_predicted - A_measured| / ΣA_measured, the R-factor of crystallography: 0 is perfect,
        below 0.2 a good reconstruction of real data, near 1 unrelated.
    scale : float
        s, the least-squares scale of the prediction.
    """

    value: float
    scale: float


def residual(measured: Array, predicted: Array, mask: Array | None = None) -> Residual:
    """Compare two stacks of amplitudes (k, N, N) up to one common scale.

    Parameters
    ----------
    measured, predicted : (k, N, N) array
    mask : (N, N) bool array, optional
        Detector pixels that were measured; the others do not count.

    Returns
    -------
    Residual
        NaN if nothing was measured or predicted.
    """
    measured = np.asarray(measured, dtype=np.float64)
    predicted = np.asarray(predicted, dtype=np.float64)
    if mask is not None:
        measured, predicted = measured[..., mask], predicted[..., mask]
    power, total = np.square(predicted).sum(), np.abs(measured).sum()
    if power == 0 or total == 0:
        return Residual(float("nan"), float("nan"))
    scale = float(np.sum(measured * predicted) / power)
    return Residual(float(np.abs(scale * predicted - measured).sum() / total), scale)


def reprojection(dataset: PtychoDataset, indices: Array | None = None) -> Residual:
    """Compare measured amplitudes with those of the dataset's object under its probe, on measured pixels.

    Parameters
    ----------
    dataset : PtychoDataset
    indices : (k,) int array, optional
        Patterns to compare; all by default.

    Returns
    -------
    Residual

    Raises
    ------
    ValueError
        If a patch lies outside the object.
    """
    chosen = np.arange(len(dataset)) if indices is None else indices
    predicted = diffract(dataset.obj, dataset.probe, dataset.positions_px[chosen])
    return residual(read_patterns(dataset.diffraction, chosen), predicted, dataset.mask)


def spread_indices(count: int, number: int) -> Array:
    """Return at most `number` indices spread evenly over ``range(count)``."""
    return np.unique(np.linspace(0, count - 1, min(count, number)).round().astype(np.int64))
