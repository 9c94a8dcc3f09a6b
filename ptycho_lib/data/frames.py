"""Frame by frame: the light that was measured, the light that object and probe predict, and which frames differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import map_coordinates

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.value_checks import inside
from ptycho_lib.io.lazy_stack import Array, blocks
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import total_intensity

EMPTY = 0.25
"""A frame with less than this share of its expected light, relative to the median, is no exposure as the others."""
EMPTY_UNKNOWN = 0.02
"""The same where no object predicts the light."""
FOREIGN_SIGMA = 10.0
"""A frame is an outlier if its residual exceeds the median by so many robust standard deviations, ..."""
FOREIGN_FACTOR = 1.7
"""... and by this factor."""
STEADY = 0.7
"""Correlation of the light with the frame's number above which the light drifts, ..."""
DRIFT = 0.1
"""... if it changes by more than this share."""


@dataclass(frozen=True, eq=False)
class FrameLight:
    """Measured over expected light of each frame.

    Parameters
    ----------
    ratio : (n,) array
        Relative to the median; NaN where nothing is expected.
    predicted : bool
        Whether object and probe give the expected light; else it is the median.
    """

    ratio: Array
    predicted: bool

    @property
    def outliers(self) -> Array:
        """Indices of frames with too little light, or too much."""
        low = EMPTY if self.predicted else EMPTY_UNKNOWN
        return np.flatnonzero((self.ratio < low) | (self.ratio > 1 / low))

    @property
    def drift(self) -> float:
        """Relative change of the light from the first frame to the last, if it is steady; else 0."""
        index = np.arange(len(self.ratio))
        good = np.isfinite(self.ratio) & (self.ratio > EMPTY) & (self.ratio < 1 / EMPTY)
        if not self.predicted or good.sum() < 16:
            return 0.0
        values = np.log(self.ratio[good])
        slope, _ = np.polyfit(index[good], values, 1)
        steady = abs(float(np.corrcoef(index[good], values)[0, 1])) if values.std() > 0 else 0.0
        change = float(np.expm1(slope * (len(index) - 1)))
        return change if steady > STEADY and abs(change) > DRIFT else 0.0


def frame_light(dataset: PtychoDataset, totals: Array) -> FrameLight:
    """Compare the light of each frame with what object and probe predict, Σ |O|²·|P|².

    Parameters
    ----------
    dataset : PtychoDataset
    totals : (n,) array
        Σ diffraction² of each frame.

    Returns
    -------
    FrameLight
    """
    expected = _expected(dataset)
    ratio = totals / np.where(expected > 0, expected, np.nan) if expected is not None else totals.astype(float)
    middle = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0
    return FrameLight(ratio / middle if middle > 0 else np.full(len(totals), np.nan), expected is not None)


def _expected(dataset: PtychoDataset) -> Array | None:
    """Return Σ |O|²·|P|² of each frame, (n,); None where there is no object, or a patch lies outside it."""
    obj, size = dataset.obj, dataset.patch_size
    usable = obj.ndim == 2 and min(obj.shape) >= size and dataset.probe.shape[-2:] == (size, size)
    if not usable or (np.ptp(np.abs(obj)) == 0 and np.ptp(np.angle(obj)) == 0):
        return None
    if not inside(dataset.positions_px, size, obj.shape).all():
        return None
    light = np.abs(obj).astype(np.float64) ** 2
    shape = tuple(scipy.fft.next_fast_len(edge, real=True) for edge in light.shape)
    spectrum = scipy.fft.rfft2(light, shape) * scipy.fft.rfft2(total_intensity(dataset.probe), shape).conj()
    table = scipy.fft.irfft2(spectrum, shape)[: light.shape[0] - size + 1, : light.shape[1] - size + 1]
    return np.asarray(map_coordinates(table, (dataset.positions_px - size / 2).T, order=1, mode="nearest"))


def residual_outliers(dataset: PtychoDataset) -> Array:
    """Return the frames that object and probe explain much worse than the others, (k,) indices.

    One pass over all frames. None where the object explains none of them.
    """
    if _expected(dataset) is None:
        return np.empty(0, np.int64)
    measured_mask = np.ones(dataset.diffraction.shape[1:], bool) if dataset.mask is None else dataset.mask
    misfit = []
    for part, block in blocks(dataset.diffraction):
        predicted = diffract(dataset.obj, dataset.probe, dataset.positions_px[part])
        x = np.where(np.isfinite(block), block, 0).astype(np.float64)[:, measured_mask]
        a = predicted[:, measured_mask].astype(np.float64)
        power = np.maximum((x * x).sum(axis=1) * (a * a).sum(axis=1), 1e-300)
        misfit.append(np.sqrt(np.clip(1 - np.square((x * a).sum(axis=1)) / power, 0, 1)))
    values = np.concatenate(misfit)
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    return np.flatnonzero((values > middle + FOREIGN_SIGMA * spread) & (values > FOREIGN_FACTOR * middle))
