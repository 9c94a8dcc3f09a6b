"""Probes: the illumination at the sample, as complex (N, N) arrays of unit total intensity.

A partially coherent beam is a stack (m, N, N) of mutually incoherent modes (Thibault & Menzel, Nature 494,
68 (2013)); the power of a mode is its share of the light.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from ptycho_lib.physics.diffraction import Array, as_modes

ENOUGH_LIGHT = 0.99
"""Share of the light that the modes in use hold, unless a study says otherwise."""


def normalise(probe: Array) -> Array:
    """Return the probe, or modes, as complex64 with Σ|P|² = 1."""
    power = np.sum(np.abs(np.asarray(probe, dtype=np.complex128)) ** 2)
    if not power > 0:
        raise ValueError("the probe has no intensity; it cannot be normalised")
    return (probe / np.sqrt(power)).astype(np.complex64)


def total_intensity(probe: Array) -> Array:
    """Return Σ_m |P_m|² of a probe (N, N) or its modes (m, N, N) as an (N, N) float64 array."""
    return np.asarray(np.sum(np.abs(as_modes(probe)).astype(np.float64) ** 2, axis=0))


def mode_shares(probe: Array) -> Array:
    """Return the share of the light in each mode, (m,) float64 with sum 1; zeros for a dark probe.

    >>> mode_shares(np.stack([np.full((2, 2), 3.0), np.full((2, 2), 1.0)])).tolist()
    [0.9, 0.1]
    """
    power = np.sum(np.abs(as_modes(probe)).astype(np.float64) ** 2, axis=(1, 2))
    return np.asarray(power / (power.sum() or 1.0))


def strongest_first(probe: Array) -> Array:
    """Return the modes (m, N, N) of a probe, (N, N) or (m, N, N), by falling power."""
    modes = as_modes(probe)
    return modes[np.argsort(-mode_shares(modes), kind="stable")]


def significant_modes(probe: Array, *, share: float = ENOUGH_LIGHT, most: int | None = None) -> Array:
    """Return the fewest modes that together hold a share of the light, strongest first.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    share : float
        Of the light, in (0, 1].
    most : int, optional
        Return at most this many, whatever share they hold.

    Returns
    -------
    (k, N, N) array
        At least one mode; powers stay as they are.

    Raises
    ------
    ValueError
        If `share` or `most` is out of its range.
    """
    if not 0 < share <= 1 or (most is not None and most < 1):
        raise ValueError(f"share {share} must lie in (0, 1], most {most} must be at least 1")
    modes = strongest_first(probe)
    held = np.cumsum(mode_shares(modes))
    count = 1 + int(np.searchsorted(held, share - 1e-6))
    return modes[: min(count, most or count)]


def orthogonal_modes(probe: Array) -> Array:
    """Return the mutually orthogonal modes that give the same patterns, strongest first.

    The singular value decomposition of the (m, N²) stack mixes modes by a unitary matrix, which leaves
    the summed intensity of every pattern (Thibault & Menzel 2013, supplement), and gathers as much light
    as it can in the first modes.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array

    Returns
    -------
    (m, N, N) array
        Of the dtype of `probe`. A single mode comes back unchanged.
    """
    modes = as_modes(probe)
    if len(modes) == 1:
        return modes
    _, strength, waves = np.linalg.svd(modes.reshape(len(modes), -1).astype(np.complex128), full_matrices=False)
    return np.asarray((strength[:, None] * waves).reshape(modes.shape).astype(modes.dtype))


def disc(size: int, diameter_px: float, *, smoothing_px: float = 0.0) -> Array:
    """Return an idealised probe: a flat disc with softened edge.

    Parameters
    ----------
    size : int
        Edge N of the array.
    diameter_px : float
    smoothing_px : float
        Standard deviation of the Gaussian that softens the edge.

    Returns
    -------
    (N, N) complex64 array
        Centred at pixel N/2, Σ|P|² = 1.
    """
    probe = inside(size, diameter_px / 2).astype(np.float64)
    if smoothing_px:
        probe = gaussian_filter(probe, smoothing_px)
    return normalise(probe)


def inside(size: int, radius_px: float) -> Array:
    """Return which pixels of an (N, N) array lie within a radius about pixel N/2, bool."""
    return np.asarray(_radius(size) <= radius_px)


def defocus(probe: Array, edge_phase_rad: float) -> Array:
    """Return the probe times exp(iφ·(r/(N/2))²): a phase curvature of φ rad at the edge of the array.

    The parabolic wavefront of a beam out of focus: the intensity stays, the diffraction pattern spreads.
    """
    size = np.shape(probe)[-1]
    curvature = np.exp(1j * edge_phase_rad * (_radius(size) / (size / 2)) ** 2)
    return np.asarray(probe * curvature).astype(np.complex64)


def zone_plate(size: int, *, aperture_px: float, stop_fraction: float = 0.4, defocus_rad: float = 0.0) -> Array:
    """Return the probe behind a Fresnel zone plate with a central stop.

    The focal field is the Fourier transform of the annular pupil; a quadratic pupil phase moves the sample
    out of focus (Vila-Comamala et al., Opt. Express 19, 21333 (2011)).

    Parameters
    ----------
    size : int
        Edge N of the array.
    aperture_px : float
        Diameter of the pupil on the detector, detector pixels; the focus is about 1.22·N/aperture wide.
    stop_fraction : float
        Diameter of the central stop over that of the pupil.
    defocus_rad : float
        Phase at the rim of the pupil.

    Returns
    -------
    (N, N) complex64 array
        Centred at pixel N/2, Σ|P|² = 1.
    """
    if not 0 < aperture_px <= size or not 0 <= stop_fraction < 1:
        raise ValueError(f"aperture_px {aperture_px} must lie in (0, {size}], stop_fraction {stop_fraction} in [0, 1)")
    radius = _radius(size) / (aperture_px / 2)
    pupil = ((radius <= 1) & (radius >= stop_fraction)) * np.exp(1j * defocus_rad * radius**2)
    return normalise(scipy.fft.fftshift(scipy.fft.ifft2(scipy.fft.ifftshift(pupil))))


def incoherent_modes(probe: Array, powers: Sequence[float]) -> Array:
    """Return mutually orthogonal modes of a partially coherent beam, strongest first.

    The modes are the probe and the probe times low powers of the coordinates (Hermite-Gauss-like, as a
    Gauss-Schell beam has them), made orthogonal by the Gram-Schmidt procedure.

    Parameters
    ----------
    probe : (N, N) complex array
    powers : sequence of float
        Share of the intensity in each mode, up to 6 modes; normalised to the sum 1.

    Returns
    -------
    (m, N, N) complex64 array
        Σ over everything of |P|² = 1.
    """
    share = np.asarray(powers, dtype=np.float64)
    if not 1 <= len(share) <= 6 or np.any(share < 0) or share.sum() == 0:
        raise ValueError(f"powers {list(powers)} must be 1 to 6 non-negative numbers, not all zero")
    size = probe.shape[-1]
    y, x = (np.indices((size, size)) - size / 2) / size
    basis = np.stack([probe * factor for factor in (np.ones_like(x), x, y, x * y, x**2, y**2)[: len(share)]])
    orthogonal, triangle = np.linalg.qr(basis.reshape(len(share), -1).T.astype(np.complex128))
    orthogonal *= np.sign(np.diag(triangle).real)  # QR leaves the sign of a column free
    modes = orthogonal.T.reshape(-1, size, size) * np.sqrt(share / share.sum())[:, None, None]
    return modes.astype(np.complex64)


def resize(probe: Array, size: int) -> Array:
    """Return the probe cropped or zero-padded about its centre pixel to (..., size, size)."""
    old = probe.shape[-1]
    if size <= old:
        start = old // 2 - size // 2
        return probe[..., start : start + size, start : start + size]
    before = size // 2 - old // 2
    pad = [(0, 0)] * (probe.ndim - 2) + [(before, size - old - before)] * 2
    return np.pad(probe, pad)


def _radius(size: int) -> Array:
    """Return the distance (px) from pixel N/2, (N, N)."""
    y, x = np.indices((size, size)) - size // 2
    return np.hypot(y, x)
