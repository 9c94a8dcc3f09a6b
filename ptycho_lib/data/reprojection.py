"""Re-projection: whether object × probe explains the measured amplitudes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.diffraction import amplitude


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


def reprojection(measured: Array, patches: Array, probe: Array, mask: Array | None = None) -> Residual:
    """Compare measured amplitudes with those of object patches under the probe.

    Parameters
    ----------
    measured : (k, N, N) array
    patches : (k, N, N) complex array
    probe : (N, N) or (m, N, N) complex array
    mask : (N, N) bool array, optional
        As in `residual`.

    Returns
    -------
    Residual
    """
    return residual(measured, amplitude(patches, probe), mask)


def spread_indices(count: int, number: int) -> Array:
    """Return at most `number` indices spread evenly over ``range(count)``."""
    return np.unique(np.linspace(0, count - 1, min(count, number)).round().astype(np.int64))
