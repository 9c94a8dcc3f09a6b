"""The diffraction experiment: illuminate the object, propagate to the far field, count photons.

`diffract` does what an experiment does: the object stays on its pixels and the probe moves, by fractions of a
pixel, band-limited. `extract_patches` instead interpolates the object at fractional positions, which is what
networks and stitching work with; it blurs, so measurements are never simulated with it.

Conventions (docs/reference/data_contracts.md shows them in a picture): a scan position is the centre of a patch,
which is pixel (N/2, N/2); the far field has its zero frequency (DC) at pixel (N/2, N/2) too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 256
"""Patches handled at a time: bounds memory, and keeps the work in the cache."""


def extract_patches(obj: Array, positions_px: Array, size: int) -> Array:
    """Cut patches out of an object, at fractional positions by bilinear interpolation.

    Pixel (i, j) of patch k is the object at row ``y_k - size/2 + i``, column ``x_k - size/2 + j``.
    Bilinear interpolation is local and has an exact adjoint, `add_patches`; at whole pixels it is a
    plain cut.

    Parameters
    ----------
    obj : (H, W) array
        Complex or real.
    positions_px : (n, 2) array
        Patch centres, (row, column), object pixels.
    size : int
        Edge N of a patch.

    Returns
    -------
    (n, size, size) array
        Of the dtype of `obj`; complex64 for a complex64 object.

    Raises
    ------
    ValueError
        If a patch needs pixels outside the object; names the positions.
    """
    obj = np.asarray(obj)
    corners, fractions = _split(positions_px, size, obj.shape)
    # One more row and column: patches at the far edge read it with weight zero.
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(obj, (0, 1)), (size + 1, size + 1))
    patches = np.empty((len(corners), size, size), obj.dtype)
    for part in _chunks(len(corners)):
        window = windows[corners[part, 0], corners[part, 1]]
        down, right = (fractions[part, axis, None, None].astype(obj.real.dtype) for axis in (0, 1))
        rows = window[:, :-1] + down * (window[:, 1:] - window[:, :-1])
        patches[part] = rows[:, :, :-1] + right * (rows[:, :, 1:] - rows[:, :, :-1])
    return patches


def add_patches(patches: Array, positions_px: Array, shape: tuple[int, int]) -> Array:
    """Add patches into an array at their positions: the exact adjoint of `extract_patches`.

    Parameters
    ----------
    patches : (n, N, N) array
        Complex or real; a broadcast view will do.
    positions_px : (n, 2) array
        Patch centres, (row, column), object pixels.
    shape : (int, int)
        (H, W) of the result.

    Returns
    -------
    (H, W) array
        complex128 for complex patches, else float64: sums of thousands of patches keep their digits.

    Raises
    ------
    ValueError
        If a patch reaches outside `shape`; names the positions.
    """
    size = patches.shape[-1]
    corners, fractions = _split(positions_px, size, shape)
    dtype = np.complex128 if np.iscomplexobj(patches) else np.float64
    total = np.zeros((shape[0] + 1, shape[1] + 1), dtype)
    for part in _chunks(len(corners)):
        block = np.asarray(patches[part])
        down, right = (fractions[part, axis, None, None].astype(block.real.dtype) for axis in (0, 1))
        columns = np.zeros((*block.shape[:2], size + 1), block.dtype)
        columns[:, :, :-1] = (1 - right) * block
        columns[:, :, 1:] += right * block
        window = np.zeros((len(block), size + 1, size + 1), block.dtype)
        window[:, :-1] = (1 - down) * columns
        window[:, 1:] += down * columns
        for (row, column), values in zip(corners[part], window, strict=True):
            total[row : row + size + 1, column : column + size + 1] += values
    return total[:-1, :-1]


def as_modes(probe: Array) -> Array:
    """Return a probe (N, N), or probe modes (m, N, N), as an array (m, N, N); order and dtype stay."""
    probe = np.asarray(probe)
    return probe.reshape(-1, *probe.shape[-2:])


def exit_wave(patches: Array, probe: Array) -> Array:
    """Return object patches times probe: the projection approximation of a thin object.

    Parameters
    ----------
    patches : (n, N, N) complex array
    probe : (N, N) or (m, N, N) complex array

    Returns
    -------
    (n, N, N) or (n, m, N, N) complex array
        One wave for each patch, or for each patch and probe mode.
    """
    return patches * probe if np.ndim(probe) == 2 else patches[:, None] * probe


def far_field(wave: Array) -> Array:
    """Propagate waves (..., N, N) to the detector: unitary Fourier transform, DC at pixel N/2.

    Fraunhofer diffraction; the unitary norm keeps the total intensity (Parseval).
    """
    return np.asarray(scipy.fft.fftshift(scipy.fft.fft2(wave, norm="ortho", workers=-1), axes=(-2, -1)))


def back_propagate(field: Array) -> Array:
    """Return the wave (..., N, N) whose far field is given: the inverse, and adjoint, of `far_field`."""
    return np.asarray(scipy.fft.ifft2(scipy.fft.ifftshift(field, axes=(-2, -1)), norm="ortho", workers=-1))


def amplitude(patches: Array, probe: Array) -> Array:
    """Return the noise-free diffraction amplitude of object patches.

    Parameters
    ----------
    patches : (n, N, N) complex array
    probe : (N, N) or (m, N, N) complex array
        Modes are mutually incoherent: I = sum over m of |F(O P_m)|^2
        (Thibault & Menzel, Nature 494, 68 (2013), eq. 2).

    Returns
    -------
    (n, N, N) float32 array
        Square root of the intensity, DC at pixel N/2.

    Examples
    --------
    A flat wave goes to the zero frequency, whose pixel is (N/2, N/2); the transform is unitary.

    >>> amplitude(np.ones((1, 4, 4)), np.ones((4, 4), np.complex64))[0].round(3).tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    modes = as_modes(probe)
    result = np.empty(patches.shape, np.float32)
    for part in _chunks(len(patches)):
        if len(modes) == 1:
            result[part] = np.abs(far_field(exit_wave(patches[part], modes[0])))
        else:
            waves = (far_field(exit_wave(patches[part], mode)) for mode in modes)
            result[part] = np.sqrt(sum(wave.real**2 + wave.imag**2 for wave in waves))
    return result


def shifted(probe: Array, shifts_px: Array) -> Array:
    """Return a probe moved by fractions of a pixel: a phase ramp on its spectrum, exact for a sampled wave.

    Unitary, so the power stays. What leaves the array at one edge enters at the other; shifts of at most half
    a pixel keep that to the weak rim of a probe.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    shifts_px : (k, 2) array
        Rows down, columns to the right.

    Returns
    -------
    (k, m, N, N) complex array
        In the precision of `probe`; m = 1 for a single probe.
    """
    modes, shifts_px = as_modes(probe), np.asarray(shifts_px, dtype=np.float64)
    turn = np.exp(-2j * np.pi * shifts_px[:, :, None] * scipy.fft.fftfreq(modes.shape[-1]))  # (k, 2, N)
    spectrum = scipy.fft.fft2(modes)
    turn = turn.astype(spectrum.dtype)
    moved = spectrum * turn[:, 0, None, :, None] * turn[:, 1, None, None, :]
    return np.asarray(scipy.fft.ifft2(moved, workers=-1, overwrite_x=True))


def exit_waves(obj: Array, probe: Array, positions_px: Array) -> Iterator[tuple[slice, Array]]:
    """Yield the waves behind an object as a scan makes them: object on its pixels, probe at each position.

    Parameters
    ----------
    obj : (H, W) complex array
    probe : (N, N) or (m, N, N) complex array
    positions_px : (n, 2) array
        Patch centres, (row, column), object pixels.

    Yields
    ------
    part : slice
        Of the positions.
    waves : (k, m, N, N) complex array
        On the whole pixels nearest to each patch.

    Raises
    ------
    ValueError
        If a patch needs pixels outside the object; names the positions.
    """
    obj, modes = np.asarray(obj), as_modes(probe)
    size = modes.shape[-1]
    corners, fractions = _split(positions_px, size, obj.shape, nearest=True)
    windows = np.lib.stride_tricks.sliding_window_view(obj, (size, size))
    for part in _chunks(len(corners)):
        moved = shifted(modes, fractions[part]) if fractions[part].any() else modes[None]
        yield part, windows[corners[part, 0], corners[part, 1]][:, None] * moved


def diffract(obj: Array, probe: Array, positions_px: Array) -> Array:
    """Return the noise-free diffraction amplitude of a scan: sqrt(sum over m of |F(O P_m)|^2).

    Parameters
    ----------
    obj : (H, W) complex array
    probe : (N, N) or (m, N, N) complex array
        Mutually incoherent modes (Thibault & Menzel, Nature 494, 68 (2013), eq. 2), or one probe.
    positions_px : (n, 2) array
        Patch centres, (row, column), object pixels.

    Returns
    -------
    (n, N, N) float32 array
        DC at pixel N/2. At whole positions equal to `amplitude` of the patches.

    Raises
    ------
    ValueError
        If a patch needs pixels outside the object; names the positions.
    """
    size = np.shape(probe)[-1]
    result = np.empty((len(positions_px), size, size), np.float32)
    for part, waves in exit_waves(obj, probe, positions_px):
        field = far_field(waves)
        if field.shape[1] == 1:
            result[part] = np.abs(field[:, 0])
        else:
            result[part] = np.sqrt(np.sum(field.real**2 + field.imag**2, axis=1))
    return result


def poisson_counts(
    amplitude: Array,
    photons_per_pattern: float,
    rng: np.random.Generator,
    *,
    mean_intensity: float | None = None,
) -> Array:
    """Draw photon counts.

    Parameters
    ----------
    amplitude : (n, N, N) array
        Noise-free amplitude, any scale.
    photons_per_pattern : float
        Mean number of photons in a pattern, over the scan: bright and dark patterns keep their ratio.
    rng : numpy.random.Generator
    mean_intensity : float, optional
        Mean over the scan of Σ amplitude² of a pattern; needed if `amplitude` is only a part of the scan.

    Returns
    -------
    (n, N, N) int64 array
    """
    intensity = np.square(amplitude, dtype=np.float64)
    if mean_intensity is None:
        mean_intensity = float(intensity.sum() / len(intensity))
    return rng.poisson(intensity * (photons_per_pattern / mean_intensity))


def _split(positions_px: Array, size: int, shape: tuple[int, ...], *, nearest: bool = False) -> tuple[Array, Array]:
    """Return whole-pixel upper left corners (n, 2) and the fractions (n, 2) beyond them; check the frame.

    Fractions lie in [0, 1), or for the nearest corner in [-1/2, 1/2].
    """
    corner = np.asarray(positions_px, dtype=np.float64).reshape(-1, 2) - size / 2
    outside = ~np.all((corner >= 0) & (corner + size <= np.asarray(shape[-2:])), axis=1)  # NaN counts as outside
    if outside.any():
        first = ", ".join(
            f"{index}: ({row:g}, {column:g})" for index, (row, column) in _first(outside, corner + size / 2)
        )
        raise ValueError(
            f"{outside.sum()} of {len(corner)} positions need pixels outside the {shape[-2]}×{shape[-1]} "
            f"object with {size}×{size} patches; index: (row, column) = {first}"
        )
    whole = (np.rint if nearest else np.floor)(corner).astype(np.int64)
    return whole, corner - whole


def _first(chosen: Array, positions: Array, count: int = 3) -> list[tuple[int, Array]]:
    return [(int(index), positions[index]) for index in np.flatnonzero(chosen)[:count]]


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
