"""Whether two reconstructions show the same place of one sample, whatever their frames.

Diffraction leaves an object's phase ramp, global phase, scale and a small shift undetermined, and every program
chooses its own frame. The product of neighbouring pixels, O(r + e) conj(O(r)), turns a ramp into a constant
factor; its masked normalised correlation (Padfield, IEEE Trans. Image Process. 21, 2706 (2012)) finds the shift
between two frames, in which only resolved pixels count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from ptycho_lib.io.lazy_stack import Array

BLUR_PX = 1.5
"""Standard deviation by which the products are blurred: a fraction of a pixel then hardly lowers a correlation."""

WIDE_PX = 8.0
"""Standard deviation of the blur that is subtracted: structure wider than this is alike in many objects."""

LARGEST_PX = 512
"""Larger objects are compared on coarser pixels first, and then on a window of this edge."""

LEAST_OVERLAP = 0.5
"""Share of the smaller resolved area in which two frames must overlap."""


@dataclass(frozen=True)
class Registration:
    """How one object lies in the frame of another.

    Parameters
    ----------
    similarity : float
        Correlation of the two at that shift, in [0, 1]; 0 if there is nothing to compare.
    shift_px : (2,) float64 array
        Added to a (row, column) of the second frame it gives that of the first.
    """

    similarity: float
    shift_px: Array


def register(first: Array, second: Array, first_area: Array, second_area: Array) -> Registration:
    """Find the shift between two objects at which they are most alike.

    Parameters
    ----------
    first, second : (H, W) complex array
        Their shapes may differ.
    first_area, second_area : (H, W) bool array
        Resolved pixels of each; they have to overlap by half of the smaller area.

    Returns
    -------
    Registration
        The shift is found to a fraction of a pixel.
    """
    one, two = _products(first, first_area), _products(second, second_area)
    factor = max(1, -(-max(*first.shape, *second.shape) // LARGEST_PX))
    likeness, corner = _correlate(_coarser(one, factor), _coarser(two, factor))
    if not likeness.any():
        return Registration(0.0, np.zeros(2))
    peak = _peak(likeness)
    shift = (np.array(peak) + corner) * factor
    if factor > 1:
        one, two, origin = _common_window(one, two, shift)
        if not (one[1].any() and two[1].any()):
            return Registration(0.0, np.zeros(2))
        likeness, corner = _correlate(one, two)
        first_near = [int(-low) - 2 * factor for low in corner]  # entries about no further shift
        near = tuple(slice(max(0, start), start + 4 * factor + 1) for start in first_near)
        peak = tuple(at + part.start for at, part in zip(_peak(likeness[near]), near, strict=True))
        shift = np.array(peak) + corner + origin
    fraction = np.array([_vertex(likeness, peak, axis) for axis in (0, 1)])
    return Registration(float(min(1.0, likeness[peak])), shift + fraction)


Field = tuple[Array, Array]
"""Two products (2, H, W) complex128, and where they count, (H, W) bool."""


def _products(obj: Array, area: Array) -> Field:
    """Return band-passed products of each pixel with its lower and its right neighbour, zero where unknown."""
    obj = np.where(area, obj, 0).astype(np.complex128)
    down, right = np.zeros_like(obj), np.zeros_like(obj)
    down[:-1] = obj[1:] * obj[:-1].conj()
    right[:, :-1] = obj[:, 1:] * obj[:, :-1].conj()
    known = area.astype(np.float64)
    known[:-1] *= area[1:]
    known[:, :-1] *= area[:, 1:]
    known[-1], known[:, -1] = 0, 0
    inside = (known > 0) & (gaussian_filter(known, BLUR_PX) > 0.5)
    fields = [np.where(inside, _mean(part, known, BLUR_PX) - _mean(part, known, WIDE_PX), 0) for part in (down, right)]
    return np.stack(fields), inside


def _mean(values: Array, weight: Array, sigma_px: float) -> Array:
    """Return the Gaussian mean of complex values over the pixels of weight 1."""
    norm = np.maximum(gaussian_filter(weight, sigma_px), 1e-9)
    parts = [gaussian_filter(part * weight, sigma_px) for part in (values.real, values.imag)]
    return np.asarray((parts[0] + 1j * parts[1]) / norm)


def _coarser(field: Field, factor: int) -> Field:
    return field[0][:, ::factor, ::factor], field[1][::factor, ::factor]


def _common_window(one: Field, two: Field, shift: Array) -> tuple[Field, Field, Array]:
    """Return windows that show the same pixels at a whole shift, and that shift."""
    low = np.maximum(0, shift)
    high = np.minimum(one[1].shape, np.array(two[1].shape) + shift)
    middle, half = (low + high) // 2, LARGEST_PX // 2
    low, high = np.maximum(low, middle - half), np.minimum(high, middle + half)
    here, there = (
        tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        for start, stop in ((low, high), (low - shift, high - shift))
    )
    return (one[0][:, *here], one[1][here]), (two[0][:, *there], two[1][there]), shift


def _correlate(one: Field, two: Field) -> tuple[Array, Array]:
    """Return the likeness for every whole shift of the second field, and the shift of the first entry."""
    (first, first_known), (second, second_known) = one, two
    shape = [scipy.fft.next_fast_len(a + b - 1) for a, b in zip(first_known.shape, second_known.shape, strict=True)]

    def forward(array: Array) -> Array:
        return np.asarray(scipy.fft.fft2(array, shape, workers=-1))

    def lagged(left: Array, right: Array) -> Array:
        return np.asarray(scipy.fft.ifft2(left * right.conj(), workers=-1))

    masks = forward(first_known), forward(second_known)
    count = lagged(*masks).real
    least = LEAST_OVERLAP * min(first_known.sum(), second_known.sum())
    enough = count > max(least, 16.0) - 0.5
    safe = np.where(enough, count, 1.0)
    product, variance = np.zeros(count.shape), [np.zeros(count.shape), np.zeros(count.shape)]
    for left, right in zip(first, second, strict=True):
        spectra = forward(left), forward(right)
        sums = lagged(spectra[0], masks[1]), lagged(masks[0], spectra[1])
        product += np.abs(lagged(*spectra) - sums[0] * sums[1] / safe)
        powers = lagged(forward(np.abs(left) ** 2), masks[1]), lagged(masks[0], forward(np.abs(right) ** 2))
        for side, (power, mean) in enumerate(zip(powers, sums, strict=True)):
            variance[side] += power.real - np.abs(mean) ** 2 / safe
    floor = [1e-6 * float(np.max(total, where=enough, initial=0)) for total in variance]
    valid = enough & (variance[0] > floor[0]) & (variance[1] > floor[1])
    norm = np.sqrt(np.where(valid, variance[0] * variance[1], 1.0))
    likeness = np.where(valid, product / norm, 0)
    # Entry 0 is no shift, negative shifts stand at the end: bring them to the front.
    behind = [extent - 1 for extent in second_known.shape]
    return np.roll(likeness, behind, (0, 1)), -np.array(behind)


def _peak(values: Array) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(np.argmax(values), values.shape))


def _vertex(values: Array, peak: tuple[int, ...], axis: int) -> float:
    """Return where the parabola through the peak and its neighbours has its vertex, within half a pixel."""
    index = list(peak)
    if not 0 < peak[axis] < values.shape[axis] - 1:
        return 0.0
    around = []
    for step in (-1, 0, 1):
        index[axis] = peak[axis] + step
        around.append(float(values[tuple(index)]))
    curvature = around[0] - 2 * around[1] + around[2]
    if curvature >= 0 or min(around) == 0:
        return 0.0
    return float(np.clip(0.5 * (around[0] - around[2]) / curvature, -0.5, 0.5))
