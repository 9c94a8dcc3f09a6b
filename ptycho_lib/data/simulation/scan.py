"""Simulated datasets: physics -> PtychoDataset, lazily, reproducible by seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.io.lazy_stack import Array, StackView, mean_total
from ptycho_lib.physics.diffraction import diffract, exit_waves

PIXEL_MAX = 65535
"""Largest count of a 16-bit detector."""


@dataclass(frozen=True)
class Detector:
    """How intensity becomes counts.

    Parameters
    ----------
    photons_per_pattern : float, optional
        Mean number of photons in a pattern, before background and losses; without it the amplitudes are
        noise-free, and background and saturation mean nothing.
    poisson : bool
        Draw counts; otherwise they are the expectation.
    background_counts : float
        Mean counts added to each pixel.
    dead_pixel_fraction : float
        Share of pixels, drawn once, that read 0 in every pattern.
    saturation : bool
        Cut counts at 65535, as a 16-bit detector does.
    point_spread_px : float
        Standard deviation of the Gaussian that blurs the intensity.
    """

    photons_per_pattern: float | None = None
    poisson: bool = True
    background_counts: float = 0.0
    dead_pixel_fraction: float = 0.0
    saturation: bool = False
    point_spread_px: float = 0.0

    @property
    def distorts(self) -> bool:
        """Whether the detected photons are others than those that arrive: they must be counted."""
        adds_or_loses = self.background_counts > 0 or self.dead_pixel_fraction > 0 or self.saturation
        return self.photons_per_pattern is not None and adds_or_loses


def simulate_dataset(
    obj: Array, probe: Array, positions_px: Array, *, detector: Detector | None = None, seed: int = 0
) -> PtychoDataset:
    """Return the dataset that a scan of the object would give.

    The patterns are computed when they are read, in any order and any portion always the same; saving the
    dataset writes them block by block. `materialise` computes them once, into memory.

    Parameters
    ----------
    obj : (H, W) complex array
    probe : (N, N) or (m, N, N) complex array
        One probe, or incoherent modes.
    positions_px : (n, 2) array
        Patch centres, (row, column), object pixels.
    detector : Detector, optional
        Ideal and noise-free by default.
    seed : int
        Of noise and dead pixels.

    Raises
    ------
    ValueError
        If a patch reaches outside the object.

    Notes
    -----
    The probe moves and the object stays on its pixels (`physics.diffraction.diffract`): no reconstruction
    profits from an interpolation that it shares with the simulation.
    """
    detector = Detector() if detector is None else detector
    obj = np.asarray(obj, dtype=np.complex64)
    probe = np.asarray(probe, dtype=np.complex64)
    size = probe.shape[-1]
    positions_px = np.asarray(positions_px, dtype=np.float64)
    gain = 1.0
    if detector.photons_per_pattern is not None:
        gain = detector.photons_per_pattern / mean_intensity(obj, probe, positions_px)
    alive = np.random.default_rng([seed, 0]).uniform(size=(size, size)) >= detector.dead_pixel_fraction

    def measure(indices: Array) -> Array:
        ideal = diffract(obj, probe, positions_px[indices])
        if detector.photons_per_pattern is None and detector.point_spread_px == 0:
            return ideal * alive
        counts = np.square(ideal, dtype=np.float64) * gain
        return np.sqrt(_detect(counts, detector, indices, seed) * alive)

    view = StackView(np.arange(len(positions_px)), function=measure, pattern_shape=(size, size), dtype=np.float32)
    return PtychoDataset(
        diffraction=view,
        positions_px=positions_px,
        probe=probe * np.float32(np.sqrt(gain)),
        obj=obj,
        photons_per_pattern=mean_total(view) if detector.distorts else detector.photons_per_pattern,
    )


def mean_intensity(obj: Array, probe: Array, positions_px: Array) -> float:
    """Return the mean over the scan of Σ|O·P|², by Parseval the mean total intensity of a pattern.

    Parameters
    ----------
    obj : (H, W) complex array
    probe : (N, N) or (m, N, N) complex array
    positions_px : (n, 2) array

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a patch reaches outside the object.
    """
    total = sum(
        float(np.sum(np.abs(waves) ** 2, dtype=np.float64)) for _, waves in exit_waves(obj, probe, positions_px)
    )
    return total / len(positions_px)


def _detect(counts: Array, detector: Detector, indices: Array, seed: int) -> Array:
    """Blur, add background, draw and saturate; the noise of a pattern depends on its index alone."""
    if detector.point_spread_px:
        counts = gaussian_filter(counts, (0, detector.point_spread_px, detector.point_spread_px))
    counts += detector.background_counts
    if detector.poisson and detector.photons_per_pattern is not None:

        def draw(mean: Array, index: int) -> None:
            mean[...] = np.random.default_rng([seed, 1, index]).poisson(mean)

        with ThreadPoolExecutor() as pool:  # numpy draws outside the interpreter's lock
            list(pool.map(draw, counts, map(int, indices)))
    return np.minimum(counts, PIXEL_MAX) if detector.saturation else counts
