"""Steps on the detector side: bad pixels, cropping, binning. Each adds a line to the history.

Patterns stay lazy: a step is applied block by block when the patterns are read.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter

from ptycho_lib.data.bad_pixels import bad_pixels, find_bad_pixels, single_hits, summed
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.frames import frame_light, residual_outliers
from ptycho_lib.data.value_checks import copied_patterns, faulty_patterns
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, StackView, blocks
from ptycho_lib.physics.diffraction import as_modes
from ptycho_lib.physics.probes import resize


def mask_pixels(dataset: PtychoDataset) -> PtychoDataset:
    """Add dead and hot pixels to the mask; they are zero then, and enter nothing."""
    dead, hot = find_bad_pixels(dataset)
    measured = np.ones(dead.shape, bool) if dataset.mask is None else dataset.mask
    measured = measured & ~(dead | hot)
    note = f"mask: {int(dead.sum())} dead and {int(hot.sum())} hot pixels added, {int((~measured).sum())} in all"
    factor = measured.astype(np.float32)
    view = StackView(dataset.diffraction, function=lambda block: block * factor, dtype=np.float32)
    return replace(dataset, diffraction=view, mask=measured, history=(*dataset.history, note))


def repair_pixels(dataset: PtychoDataset, how: str) -> PtychoDataset:
    """Repair or zero bad pixels: masked, dead and hot ones, NaN, infinite or negative values, single hits.

    Parameters
    ----------
    dataset : PtychoDataset
    how : {'repair', 'zero'}
        `repair` takes the mean intensity of the good pixels in the 3 × 3 (5 × 5, 9 × 9) neighbourhood.

    Returns
    -------
    PtychoDataset
        Without a mask, unless pixels are left that have no good neighbour.
    """
    total = summed(dataset)
    dead, hot = bad_pixels(dataset, total, len(dataset))
    named = np.zeros_like(dead) if dataset.mask is None else ~dataset.mask
    static = dead | hot | named

    def fix(block: Array) -> Array:
        bad = static | ~np.isfinite(block) | (block < 0)
        bad |= single_hits(np.square(np.where(bad, 0, block), dtype=np.float64), total, len(dataset))
        good = np.where(bad, 0, block)
        return _fill(good, bad) if how == "repair" else good

    lonely = ~uniform_filter((~static).astype(np.float64), 9, mode="constant").astype(bool) & static
    words = "replaced by the mean of their neighbours" if how == "repair" else "set to zero"
    note = (
        f"bad pixels: {int(dead.sum())} dead, {int(hot.sum())} hot, {int(named.sum())} masked; "
        f"these, and NaN, infinite and negative values, {words}"
    )
    left = how == "repair" and lonely.any()
    if left:
        note += f"; {int(lonely.sum())} without a good neighbour stay masked"
    view = StackView(dataset.diffraction, function=fix, dtype=np.float32)
    return replace(dataset, diffraction=view, mask=~lonely if left else None, history=(*dataset.history, note))


def _fill(block: Array, bad: Array) -> Array:
    """Fill bad pixels with the root mean square of the good ones around, in ever larger windows."""
    intensity, missing = np.square(block, dtype=np.float64), bad.copy()
    filled = block.copy()
    for size in (3, 5, 9):
        if not missing.any():
            break
        weight = uniform_filter((~bad).astype(np.float64), (0, size, size), mode="constant")
        mean = uniform_filter(np.where(bad, 0, intensity), (0, size, size), mode="constant")
        ready = missing & (weight > 1e-9)
        filled[ready] = np.sqrt(np.clip(mean[ready], 0, None) / weight[ready])
        missing &= ~ready
    return filled


def drop_bad_patterns(dataset: PtychoDataset) -> PtychoDataset:
    """Leave out patterns that cannot be used, and those that do not belong to the scan.

    Those are patterns with NaN, infinite or negative values, or zeros only, copies of others, and where the
    object predicts the patterns, those with far too little or too much light, or a far larger residual.

    Raises
    ------
    InputError
        If no pattern is left.
    """
    found = faulty_patterns(dataset.diffraction) | {"copies": copied_patterns(dataset.diffraction)}
    totals = np.concatenate(
        [np.nan_to_num(np.square(block, dtype=np.float64)).sum(axis=(1, 2)) for _, block in blocks(dataset.diffraction)]
    )
    bad = np.unique(np.concatenate(list(found.values())))
    found["too little or too much light"] = np.setdiff1d(frame_light(dataset, totals).outliers, bad)
    bad = np.union1d(bad, found["too little or too much light"])
    found["far larger residual"] = np.setdiff1d(residual_outliers(dataset), bad)
    bad = np.union1d(bad, found["far larger residual"])
    if len(bad) == len(dataset):
        fix = "Check the file: every pattern is unusable."
        raise InputError(Problem(dataset.source, "diffraction", "no good pattern", "at least one", fix))
    reasons = ", ".join(f"{what}: {len(indices)}" for what, indices in found.items() if len(indices))
    note = f"bad patterns: {len(bad)} of {len(dataset)} left out{f' ({reasons})' if reasons else ''}"
    kept = dataset.select(np.setdiff1d(np.arange(len(dataset)), bad)) if len(bad) else dataset
    return replace(kept, history=(*kept.history, note))


def crop(dataset: PtychoDataset, size: int) -> PtychoDataset:
    """Cut the detector to size × size about DC, or pad it with zeros.

    A smaller detector resolves less: the object pixel grows by N/size. Positions, probe and object are
    resampled to it (by cropping their Fourier transforms), unless the probe has the new size already.
    """
    rows, columns = dataset.diffraction.shape[1:]
    if rows == columns == size:
        return dataset
    view = StackView(
        dataset.diffraction,
        function=lambda block: cut_centre(block, size),
        pattern_shape=(size, size),
        dtype=np.float32,
    )
    mask = None if dataset.mask is None else cut_centre(dataset.mask, size, outside=False)
    if mask is None and size > max(rows, columns):
        mask = cut_centre(np.ones((rows, columns), bool), size, outside=False)
    if dataset.probe.shape[-2:] == (size, size):
        note = f"crop: patterns {rows}×{columns} -> {size}×{size}; the probe has this size already"
        return replace(dataset, diffraction=view, mask=mask, patches=None, history=(*dataset.history, note))
    if rows != columns or dataset.probe.shape[-2:] != (rows, columns):
        found = f"a probe of {dataset.probe.shape} for patterns of {rows}×{columns}"
        fix = "Give a probe of the size of the patterns, or of the size they are cut to."
        raise InputError(Problem(dataset.source, "probe", found, f"({rows}, {rows}) or ({size}, {size})", fix))
    factor = size / rows
    obj = resample(dataset.obj, rows, size)
    coverage = dataset.coverage
    if coverage is not None:
        coverage = _nearest(coverage, obj.shape, factor)
    pixel = None if dataset.pixel_size_m is None else dataset.pixel_size_m / factor
    note = f"crop: patterns {rows}×{rows} -> {size}×{size}; object pixels {1 / factor:.4g} times as large"
    return replace(
        dataset,
        diffraction=view,
        probe=np.stack([resample(mode, rows, size) for mode in as_modes(dataset.probe)]).reshape(
            *dataset.probe.shape[:-2], size, size
        )
        * np.float32(1 / factor),
        mask=mask,
        obj=obj,
        positions_px=dataset.positions_px * factor,
        coverage=coverage,
        patches=None,
        pixel_size_m=pixel,
        history=(*dataset.history, note),
    )


def bin_pixels(dataset: PtychoDataset, factor: int) -> PtychoDataset:
    """Sum the intensity of factor × factor detector pixels.

    A bin with a masked pixel is masked. Larger detector pixels sample the speckle more coarsely: the object
    pixel stays, the window of the probe shrinks to N/factor. Positions, in object pixels, stay.
    """
    size = dataset.patch_size
    new = size // factor
    if factor == 1:
        return dataset
    if size % factor or new % 2 or new < 4:
        fix = "Choose a factor that leaves an even size, or crop first with `--crop`."
        found = f"{size} pixels in bins of {factor}"
        raise InputError(Problem(dataset.source, "bin", found, "an even number of bins, at least 4", fix))

    mask = dataset.mask
    binned = None if mask is None else np.asarray(mask.reshape(new, factor, new, factor).all(axis=(1, 3)))

    def sum_bins(block: Array) -> Array:
        intensity = np.square(block, dtype=np.float64).reshape(len(block), new, factor, new, factor)
        summed = np.sqrt(intensity.sum(axis=(2, 4)))
        return summed if binned is None else summed * binned

    probe = resize(dataset.probe, new)
    outside = 1 - np.sum(np.abs(probe) ** 2) / np.sum(np.abs(dataset.probe) ** 2)
    # The centre of the bin that holds DC lies (factor - 1)/2 pixels beside DC: a phase ramp on the probe.
    place = np.arange(new) - new / 2
    ramp = np.exp(-1j * np.pi * (factor - 1) / size * (place[:, None] + place))
    note = (
        f"bin: {factor}×{factor} detector pixels summed, patterns {size}×{size} -> {new}×{new}; "
        f"{outside:.1%} of the probe's intensity lies outside the new window"
    )
    view = StackView(dataset.diffraction, function=sum_bins, pattern_shape=(new, new), dtype=np.float32)
    return replace(
        dataset,
        diffraction=view,
        probe=(probe * ramp).astype(np.complex64),
        mask=binned,
        patches=None,
        history=(*dataset.history, note),
    )


def cut_centre(block: Array, size: int, *, outside: float = 0) -> Array:
    """Return (..., size, size) about pixel (rows/2, columns/2).

    Parameters
    ----------
    block : (..., rows, columns) array
    size : int
    outside : float
        Value where there is nothing.

    Returns
    -------
    (..., size, size) array
    """
    return _fit(_fit(block, -2, size, outside), -1, size, outside)


def resample(image: Array, old: int, new: int) -> Array:
    """Return a complex image on pixels old/new times as large: its Fourier transform cropped, or padded.

    The image is first extended by repeating its edge until the new grid fits its length exactly.
    """
    unit = old // math.gcd(old, new)
    rows, columns = (-(-length // (2 * unit)) * 2 * unit for length in image.shape)
    padded = np.pad(image, ((0, rows - image.shape[0]), (0, columns - image.shape[1])), mode="edge")
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(padded))
    shape = (rows * new // old, columns * new // old)
    for axis, length in enumerate(shape):
        spectrum = _fit(spectrum, axis, length)
    result = scipy.fft.ifft2(scipy.fft.ifftshift(spectrum)) * (shape[0] * shape[1] / (rows * columns))
    fit = [math.ceil(length * new / old) for length in image.shape]
    return np.ascontiguousarray(result[: fit[0], : fit[1]]).astype(np.complex64)


def _fit(array: Array, axis: int, length: int, outside: float = 0) -> Array:
    """Crop or pad one axis about its index length // 2, the place of DC."""
    old = array.shape[axis]
    start = old // 2 - length // 2
    if length <= old:
        return np.take(array, np.arange(start, start + length), axis=axis)
    pad = [(0, 0)] * array.ndim
    pad[axis] = (-start, length - old + start)
    return np.pad(array, pad, constant_values=outside)


def _nearest(mask: Array, shape: tuple[int, ...], factor: float) -> Array:
    rows, columns = (
        np.minimum((np.arange(length) / factor).round().astype(int), old - 1)
        for length, old in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
