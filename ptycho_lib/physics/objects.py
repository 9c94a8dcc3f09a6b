"""Synthetic objects: patterns with values in [0, 1], and their mapping to a complex transmission.

A pattern is a float64 (H, W) array; `transmission` turns one or two patterns into an object. All
generators draw from the `rng` they are given, so an object is reproduced by its seed.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import skimage.data
import skimage.transform
from scipy.ndimage import gaussian_filter

from ptycho_lib.physics.diffraction import Array

NATURAL_IMAGES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "moon",
    "page",
    "text",
)


def transmission(
    amplitude_pattern: Array,
    phase_pattern: Array | None = None,
    *,
    amplitude: tuple[float, float] = (0.7, 1.0),
    phase_rad: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Return the complex object of a pattern: denser material transmits less and shifts the phase more.

    Parameters
    ----------
    amplitude_pattern : (H, W) array
        Values in [0, 1]: 0 is empty space, 1 the densest material.
    phase_pattern : (H, W) array, optional
        Values in [0, 1]. Left out, the phase follows the amplitude pattern (one material: coupled).
    amplitude : (float, float)
        Transmission of the densest material and of empty space.
    phase_rad : (float, float)
        Phase shift of empty space and of the densest material.

    Returns
    -------
    (H, W) complex64 array
    """
    phase_pattern = amplitude_pattern if phase_pattern is None else phase_pattern
    (low, high), (empty, dense) = amplitude, phase_rad
    modulus = high - (high - low) * np.asarray(amplitude_pattern)
    phase = empty + (dense - empty) * np.asarray(phase_pattern)
    return np.asarray(modulus * np.exp(1j * phase)).astype(np.complex64)


def lines(shape: tuple[int, int], rng: np.random.Generator, *, count: int = 150, width_px: float = 1.5) -> Array:
    """Return randomly placed straight lines of random direction, the benchmark of the PtychoPINN papers.

    Each line crosses the whole field; where lines cross, their densities add
    (after the simulated objects of Hoidn et al., Sci. Rep. 13, 22789 (2023)).

    Parameters
    ----------
    shape : (int, int)
    rng : numpy.random.Generator
    count : int
        Lines in a field of 392 × 392 pixels; other shapes get the same density.
    width_px : float
        Standard deviation of the Gaussian profile across a line.
    """
    height, width = shape
    number = max(1, round(count * np.hypot(height, width) / np.hypot(392, 392)))
    y, x = np.indices(shape, dtype=np.float32)
    pattern = np.zeros(shape, np.float32)
    for angle, row, column, weight in zip(
        rng.uniform(0, np.pi, number),
        rng.uniform(0, height, number),
        rng.uniform(0, width, number),
        rng.uniform(0.3, 1.0, number),
        strict=True,
    ):
        distance = (y - row) * np.float32(np.cos(angle)) - (x - column) * np.float32(np.sin(angle))
        pattern += np.float32(weight) * np.exp(-0.5 * (distance / np.float32(width_px)) ** 2)
    return stretch(pattern.astype(np.float64))


def siemens_star(shape: tuple[int, int], *, spokes: int = 36, rings: int = 4) -> Array:
    """Return a Siemens star, centred, with rings that interrupt the spokes; antialiased edges.

    Parameters
    ----------
    shape : (int, int)
    spokes : int
    rings : int
        Number of circular gaps; 0 for none.
    """
    fine = 3
    y, x = (np.indices((shape[0] * fine, shape[1] * fine)) + 0.5) / fine
    y, x = y - shape[0] / 2, x - shape[1] / 2
    radius = np.hypot(y, x) / (min(shape) / 2)
    star = (np.sin(spokes * np.arctan2(y, x)) > 0) & (radius < 0.95) & (radius > 0.03)
    for gap in np.linspace(0, 0.95, rings + 2)[1:-1]:
        star &= np.abs(radius - gap) > 0.015
    return star.reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))


def gaussian_random_field(shape: tuple[int, int], rng: np.random.Generator, *, exponent: float = 1.5) -> Array:
    """Return a Gaussian random field whose amplitude spectrum falls as |k|^-exponent, scaled to [0, 1]."""
    ky, kx = scipy.fft.fftfreq(shape[0])[:, None], scipy.fft.fftfreq(shape[1])
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf
    spectrum = scipy.fft.fft2(rng.standard_normal(shape)) * k**-exponent
    return stretch(np.real(scipy.fft.ifft2(spectrum)))


def blobs(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    radius_px: tuple[float, float] = (4.0, 14.0),
    fill: float = 0.5,
) -> Array:
    """Return overlapping soft ellipses with a nucleus, like cells on a slide.

    Parameters
    ----------
    shape : (int, int)
    rng : numpy.random.Generator
    radius_px : (float, float)
        Smallest and largest semi-axis.
    fill : float
        Expected sum of the cells' areas over the field's area.
    """
    low, high = radius_px
    count = max(1, round(fill * shape[0] * shape[1] / (np.pi * ((low + high) / 2) ** 2)))
    pattern = np.zeros(shape)
    for _ in range(count):
        centre, axes = rng.uniform((0, 0), shape), rng.uniform(low, high, 2)
        angle, density = rng.uniform(0, np.pi), rng.uniform(0.3, 0.8)
        reach = int(np.ceil(max(axes))) + 2
        rows = slice(max(0, int(centre[0]) - reach), int(centre[0]) + reach)
        columns = slice(max(0, int(centre[1]) - reach), int(centre[1]) + reach)
        y, x = np.mgrid[rows, columns]
        y, x = y[: shape[0], : shape[1]] - centre[0], x[: shape[0], : shape[1]] - centre[1]
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        distance = np.hypot(along / axes[0], across / axes[1])
        body = density / (1 + np.exp((distance - 1) * min(axes)))
        nucleus = 0.4 * np.exp(-0.5 * (distance / 0.25) ** 2)
        view = pattern[rows, columns]
        view += (body + nucleus)[: view.shape[0], : view.shape[1]]
    return stretch(np.tanh(pattern))


def manhattan(shape: tuple[int, int], rng: np.random.Generator, *, pitch_px: int = 8) -> Array:
    """Return a two-layer circuit: horizontal wires below, vertical wires above, vias where they meet.

    Parameters
    ----------
    shape : (int, int)
    rng : numpy.random.Generator
    pitch_px : int
        Distance of the tracks; a wire is half as wide.
    """
    layers = [_wires(shape, rng, pitch_px), _wires(shape[::-1], rng, pitch_px).T]
    vias = (layers[0] > 0) & (layers[1] > 0) & (_cells(shape, rng, pitch_px) < 0.3)
    pattern = 0.4 * layers[0] + 0.5 * layers[1] + 0.1 * vias
    return np.clip(gaussian_filter(pattern, 0.5), 0, 1)


def natural_image(shape: tuple[int, int], rng: np.random.Generator, *, name: str | None = None) -> Array:
    """Return one of the photographs that scikit-image ships, grey, stretched to the shape and to [0, 1].

    Parameters
    ----------
    shape : (int, int)
    rng : numpy.random.Generator
        Chooses the image if `name` is not given, and its orientation.
    name : str, optional
        One of `NATURAL_IMAGES`.
    """
    name = str(rng.choice(NATURAL_IMAGES)) if name is None else name
    if name not in NATURAL_IMAGES:
        raise ValueError(f"image '{name}' is unknown; choose one of {', '.join(NATURAL_IMAGES)}")
    image = np.asarray(getattr(skimage.data, name)(), dtype=np.float64)
    grey = image[..., :3] @ (0.2125, 0.7154, 0.0721) if image.ndim == 3 else image
    turned = np.rot90(grey, int(rng.integers(4)))
    return stretch(skimage.transform.resize(turned, shape, anti_aliasing=True))


def stretch(pattern: Array) -> Array:
    """Return the pattern scaled linearly to [0, 1]; a constant one becomes 0."""
    low, high = float(pattern.min()), float(pattern.max())
    return (pattern - low) / (high - low) if high > low else np.zeros_like(pattern)


def _wires(shape: tuple[int, int], rng: np.random.Generator, pitch: int) -> Array:
    """Return horizontal wires of random starts and lengths on every track."""
    layer = np.zeros(shape)
    for top in range(0, shape[0], pitch):
        start = -int(rng.integers(0, 4 * pitch))
        while start < shape[1]:
            length = int(rng.integers(3 * pitch, 12 * pitch))
            layer[top : top + pitch // 2, max(start, 0) : max(start + length, 0)] = 1
            start += length + int(rng.integers(2 * pitch, 10 * pitch))
    return layer


def _cells(shape: tuple[int, int], rng: np.random.Generator, pitch: int) -> Array:
    """Return one uniform random number for each cell of the pitch grid, as an image."""
    cells = rng.uniform(size=(-(-shape[0] // pitch), -(-shape[1] // pitch)))
    return np.kron(cells, np.ones((pitch, pitch)))[: shape[0], : shape[1]]
