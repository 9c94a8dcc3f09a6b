"""Probes: the illumination at the sample, as complex (N, N) arrays of unit total intensity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from ptycho_lib.physics.diffraction import Array


def normalise(probe: Array) -> Array:
    """Return the probe, or modes, as complex64 with Σ|P|² = 1."""
    power = np.sum(np.abs(np.asarray(probe, dtype=np.complex128)) ** 2)
    if not power > 0:
        raise ValueError("the probe has no intensity; it cannot be normalised")
    return (probe / np.sqrt(power)).astype(np.complex64)


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
