"""From predicted patches to a reconstruction: the object, the compared pixels, and maps of uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.evaluation.alignment import Alignment, align
from ptycho_lib.evaluation.comparison import compare_objects, comparison_mask
from ptycho_lib.evaluation.phase_drift import phase_drift_correction
from ptycho_lib.evaluation.position_correction import corrected_positions
from ptycho_lib.evaluation.stitching import Stitched, stitch
from ptycho_lib.evaluation.uncertainty import error_ratios
from ptycho_lib.io.files import replacing
from ptycho_lib.io.lazy_stack import blocks
from ptycho_lib.physics.diffraction import add_patches, diffract
from ptycho_lib.physics.probes import total_intensity
from ptycho_lib.resource_usage import Meter, Usage

FAINTEST = 1e-3
"""Weight of the faintest pixel of a patch when patches are stitched, relative to the brightest."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An object reconstructed from the test patterns, on the grid of the truth.

    Parameters
    ----------
    truth : (H, W) complex64
        `objectGuess` of the test file.
    obj : (H, W) complex64
        As stitched, not aligned; zero where no patch lies.
    mask : (H, W) bool
        The pixels compared, the same for every model.
    spread : (H, W) float32
        Standard deviation over the overlapping patches, units of the object: an uncertainty without truth.
        NaN where the object was not stitched of patches.
    residual : (H, W) float32
        Misfit Σ|x − Â| / Σx of the patterns that illuminate a pixel, as their illumination-weighted mean;
        Â are the amplitudes of the stitched object, scaled once. NaN where there is no light.
    pixel_size_m : float, optional
        Object pixel.
    usage : Usage, optional
        Time and memory of prediction and stitching, or of the iterations; masks and maps do not count.
    """

    truth: NDArray[np.complex64]
    obj: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    spread: NDArray[np.float32]
    residual: NDArray[np.float32]
    pixel_size_m: float | None = None
    usage: Usage | None = None

    def compare(self, *, max_shift_px: float = 2.0) -> pd.DataFrame:
        """Return every metric against the truth, one value a row (`comparison.compare_objects`)."""
        return compare_objects(
            self.truth, self.obj, self.mask, max_shift_px=max_shift_px, pixel_size_m=self.pixel_size_m
        )

    def align(self, *, max_shift_px: float = 2.0) -> Alignment:
        """Align the object to the truth as the metrics do."""
        return align(self.truth, self.obj, self.mask, max_shift_px=max_shift_px)

    def error_ratios(self, *, max_shift_px: float = 2.0) -> NDArray[np.float64]:
        """Return |error| / spread of the compared pixels after alignment (`uncertainty.error_ratios`)."""
        return error_ratios(self.truth, self.align(max_shift_px=max_shift_px).aligned, self.spread, self.mask)

    def save(self, path: str | Path) -> Path:
        """Write `object`, `mask`, `spread` and `residual` to an npz; return its path."""
        with replacing(Path(path)) as stream:
            np.savez_compressed(stream, object=self.obj, mask=self.mask, spread=self.spread, residual=self.residual)
        return Path(path)


def reconstruct(
    patches: NDArray[np.complex64],
    positions_px: NDArray[np.float64],
    dataset: PtychoDataset,
    *,
    min_illumination: float = 0.1,
    synchronise: bool = True,
    correct_drift: bool = True,
    position_steps: int = 0,
    predicted: Usage | None = None,
) -> Reconstruction:
    """Stitch the patches that a model predicted for a dataset; bright and central pixels weigh most.

    Parameters
    ----------
    patches : (m, M, M) complex64
        Object patches, or their central regions, M <= N.
    positions_px : (m, 2) float64
        Their centres (row, column).
    dataset : PtychoDataset
        The test patterns: grid, probe, truth.
    min_illumination : float
        See `comparison.comparison_mask`.
    synchronise : bool
        First estimate the unobservable global phase of each patch from the overlaps.
    correct_drift : bool
        Remove the slow drift of the stitched phase (`phase_drift.phase_drift_correction`).
    position_steps : int
        Most Gauss-Newton steps that correct the positions (`position_correction.corrected_positions`); the
        compared pixels stay those of the positions as told.
    predicted : Usage, optional
        Time and memory of the prediction; those of the stitching are added.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ValueError
        If patches and positions do not match, or a patch reaches outside the object.
    """
    meter = Meter()
    shape = dataset.obj.shape
    border = (dataset.patch_size - patches.shape[-1]) // 2
    window = slice(border, border + patches.shape[-1])
    intensity = total_intensity(dataset.probe_modes[:, window, window]).astype(np.float32)
    # Weights fall towards the edge, where predictions are worst and a step would show as a grid.
    edge = np.sin(np.pi * (np.arange(patches.shape[-1]) + 0.5) / patches.shape[-1])
    weights = (intensity + FAINTEST * intensity.max()) * np.outer(edge, edge)

    def stitch_at(places: NDArray[np.float64]) -> Stitched:
        return stitch(patches, places, shape, weights=weights, synchronise=synchronise)

    mask = compared_pixels(dataset, min_illumination)
    if position_steps:
        dataset, positions_px = _at_corrected_positions(stitch_at, positions_px, dataset, position_steps)
    stitched = stitch_at(positions_px)
    obj, known = stitched.obj, stitched.weight > 0
    if correct_drift:
        obj = obj * np.exp(1j * phase_drift_correction(obj, known, dataset)).astype(np.complex64)
    usage = meter.read() if predicted is None else predicted + meter.read()
    return _assessed(obj, stitched.spread, known, dataset, mask, usage)


def _at_corrected_positions(
    stitch_at: Callable[[NDArray[np.float64]], Stitched],
    positions_px: NDArray[np.float64],
    dataset: PtychoDataset,
    steps: int,
) -> tuple[PtychoDataset, NDArray[np.float64]]:
    """Return the dataset with corrected positions, and those of the patches, each that of its pattern."""
    _, pattern = cKDTree(dataset.positions_px).query(positions_px)
    if np.array_equal(positions_px, dataset.positions_px):
        pattern = np.arange(len(dataset))  # also where two patterns were told the same position

    def object_at(places: NDArray[np.float64]) -> tuple[NDArray[np.complexfloating], NDArray[np.bool_]]:
        stitched = stitch_at(places[pattern])
        return stitched.obj, stitched.weight > 0

    corrected = corrected_positions(object_at, dataset, steps)
    return replace(dataset, positions_px=corrected), corrected[pattern]


def assess(
    obj: NDArray[np.complex64],
    dataset: PtychoDataset,
    *,
    min_illumination: float,
    usage: Usage | None = None,
) -> Reconstruction:
    """Judge an object that was reconstructed as a whole by the same measures as a stitched one.

    Parameters
    ----------
    obj : (H, W) complex64
        On the grid of the dataset's object; zero where nothing was reconstructed.
    dataset, min_illumination
        As for `reconstruct`.
    usage : Usage, optional
        Time and memory of the reconstruction.

    Returns
    -------
    Reconstruction
        Its `spread` is NaN.
    """
    spread = np.full(obj.shape, np.nan, np.float32)
    return _assessed(obj, spread, obj != 0, dataset, compared_pixels(dataset, min_illumination), usage)


def _assessed(
    obj: NDArray[np.complex64],
    spread: NDArray[np.float32],
    known: NDArray[np.bool_],
    dataset: PtychoDataset,
    mask: NDArray[np.bool_],
    usage: Usage | None,
) -> Reconstruction:
    residual = residual_map(obj, known, dataset)
    return Reconstruction(dataset.obj, obj, mask, spread, residual, dataset.pixel_size_m, usage)


def compared_pixels(dataset: PtychoDataset, min_illumination: float) -> NDArray[np.bool_]:
    """Return the pixels of a test set on which every model is compared, (H, W) bool; see `comparison_mask`."""
    return comparison_mask(
        dataset.positions_px,
        dataset.probe_modes,
        dataset.obj.shape,
        coverage=dataset.coverage,
        min_illumination=min_illumination,
    )


def residual_map(obj: NDArray[np.complex64], known: NDArray[np.bool_], dataset: PtychoDataset) -> NDArray[np.float32]:
    """Return the misfit of the patterns that illuminate each pixel; see `Reconstruction.residual`.

    Parameters
    ----------
    obj : (H, W) complex
    known : (H, W) bool
        Where `obj` holds a value; elsewhere its mean is taken.
    dataset : PtychoDataset
        Measured patterns, positions, probe modes and detector mask; pixels that were not measured do not count.

    Returns
    -------
    (H, W) float32
    """
    if not known.any():
        return np.full(obj.shape, np.nan, np.float32)
    filled = np.where(known, obj, obj[known].mean()).astype(np.complex64)
    products, squares = np.zeros(len(dataset)), np.zeros(len(dataset))
    for part, block in blocks(dataset.diffraction):
        predicted, measured = _amplitudes(filled, dataset, part), _measured_only(block, dataset)
        products[part] = np.einsum("nij,nij->n", measured, predicted, dtype=np.float64)
        squares[part] = np.einsum("nij,nij->n", predicted, predicted, dtype=np.float64)
    scale = products.sum() / max(squares.sum(), np.finfo(float).tiny)
    misfit = np.zeros(len(dataset))
    for part, block in blocks(dataset.diffraction):
        measured = _measured_only(block, dataset)
        error = np.abs(measured - scale * _amplitudes(filled, dataset, part)).sum(axis=(1, 2))
        misfit[part] = error / np.maximum(measured.sum(axis=(1, 2)), np.finfo(np.float32).tiny)
    light = total_intensity(dataset.probe_modes).astype(np.complex64)
    both = np.zeros((2, *obj.shape))
    for part, _ in blocks(dataset.diffraction):
        stack = np.broadcast_to(light, (part.stop - part.start, *light.shape))
        positions = dataset.positions_px[part]
        both[0] += add_patches(stack * misfit[part, None, None], positions, obj.shape).real
        both[1] += add_patches(stack, positions, obj.shape).real
    lit = both[1] > 1e-6 * both[1].max()
    return np.where(lit, both[0] / np.where(lit, both[1], 1), np.nan).astype(np.float32)


def _amplitudes(obj: NDArray[np.complex64], dataset: PtychoDataset, part: slice) -> NDArray[np.float32]:
    positions = dataset.positions_px[part]
    return _measured_only(diffract(obj, dataset.probe_modes, positions), dataset)


def _measured_only(amplitudes: NDArray[np.float32], dataset: PtychoDataset) -> NDArray[np.float32]:
    """Return amplitudes (n, N, N), zero at detector pixels that were not measured."""
    return amplitudes if dataset.mask is None else amplitudes * dataset.mask
