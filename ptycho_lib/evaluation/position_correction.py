"""Correct scan positions by what the measured patterns say about the stitched object.

An illumination that is moved by a fraction of a pixel changes the diffraction pattern of the same object. The
difference between the measured pattern and that of the stitched object, compared with this change, is the
error of the position: one Gauss-Newton step for each pattern. The patches are then stitched at the new
positions, which makes the object sharper and the next step better. All models are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.evaluation.phase_drift import amplitude_step, phase_ramp_changes
from ptycho_lib.io.lazy_stack import blocks
from ptycho_lib.physics.diffraction import exit_waves, extract_patches, far_field
from ptycho_lib.physics.probes import significant_modes, total_intensity

Floats = NDArray[np.float64]

LEAST_LIGHT = 0.99
"""Share of its light that a pattern must have in the stitched region to have its position corrected."""

LONGEST_STEP_PX = 1.0
"""A step that the linear model wants longer is cut: it does not hold that far."""

LEAST_GAIN = 1e-3
"""Relative decrease of the misfit that a step must bring to be kept."""

Stitching = Callable[[Floats], tuple[NDArray[np.complexfloating], NDArray[np.bool_]]]


def corrected_positions(stitch_at: Stitching, dataset: PtychoDataset, steps: int) -> Floats:
    """Return scan positions at which the stitched patches explain the measured patterns better.

    A step is kept only if it lowers the misfit of the patterns, so that positions without an error stay nearly as
    they are. What all positions have in common is not observable, and is left out.

    Parameters
    ----------
    stitch_at : callable
        From positions (n, 2) of the patterns to the object (H, W) stitched there, and where it is known.
    dataset : PtychoDataset
        Measured patterns, positions as told, probe modes and detector mask.
    steps : int
        Most Gauss-Newton steps.

    Returns
    -------
    (n, 2) float64
        (row, column), object pixels.
    """
    size, shape = dataset.patch_size, np.asarray(dataset.obj.shape)
    positions = dataset.positions_px
    obj, known = stitch_at(positions)
    if steps == 0 or not known.any() or not np.isfinite(obj[known]).all():
        return positions
    usable = _well_lit(known, dataset)
    if not usable.any():
        return positions
    shifts, misfit = _step(obj, known, dataset, positions, usable)
    for _ in range(steps):
        length = np.linalg.norm(shifts, axis=1, keepdims=True)
        shifts = shifts * np.minimum(1.0, LONGEST_STEP_PX / np.maximum(length, LONGEST_STEP_PX))
        shifts[usable] -= shifts[usable].mean(axis=0)
        moved = np.clip(positions + shifts, size / 2, shape - size / 2)
        obj, known = stitch_at(moved)
        shifts, found = _step(obj, known, dataset, moved, usable)
        if not found < (1 - LEAST_GAIN) * misfit:
            break
        positions, misfit = moved, found
    return positions


def missing_shifts(
    waves: NDArray[np.complexfloating],
    moved: NDArray[np.complexfloating],
    measured: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Return by how much illuminations have to be moved to explain measured amplitudes best.

    One Gauss-Newton step of least squares in the amplitude, for the two shifts, the two phase slopes
    (`phase_drift.missing_slopes`) and the scale of each pattern; the slopes are of no interest here, but a drift of
    the stitched phase must not be taken for a shift.

    Parameters
    ----------
    waves : (n, m, N, N) complex
        Exit waves of m mutually incoherent probe modes.
    moved : (n, 2, m, N, N) complex
        Their derivatives with the position of the probe along rows and columns, per pixel.
    measured : (n, N, N) float
        Amplitudes, any scale, DC at pixel N/2.
    mask : (N, N) bool, optional
        Detector pixels that were measured; all by default.

    Returns
    -------
    shifts : (n, 2) float64
        Rows down, columns to the right, px.
    misfit : (n,) float64
        Squared error of the amplitudes before the step, relative to the measured intensity.
    """
    field = far_field(waves)
    predicted = np.sqrt(np.sum(field.real**2 + field.imag**2, axis=1))
    direction = field.conj() / np.maximum(predicted, 1e-12 * predicted.max())[:, None]
    by_shift = np.sum((far_field(moved) * direction[:, None]).real, axis=2)
    by_slope = phase_ramp_changes(waves, direction)
    changes = np.concatenate([by_shift, np.stack(by_slope, axis=1)], axis=1)
    step, misfit = amplitude_step(changes, predicted, measured, mask)
    return step[:, :2], misfit


def _well_lit(known: NDArray[np.bool_], dataset: PtychoDataset) -> NDArray[np.bool_]:
    """Return which patterns (n,) have their light where the object is known, and counted any."""
    light = total_intensity(significant_modes(dataset.probe)).astype(np.float32)
    found = np.zeros(len(dataset), bool)
    for part, measured in blocks(dataset.diffraction):
        seen = extract_patches(known.astype(np.float32), dataset.positions_px[part], dataset.patch_size)
        valued = measured if dataset.mask is None else measured * dataset.mask
        found[part] = (seen * light).sum(axis=(1, 2)) >= LEAST_LIGHT * light.sum()
        found[part] &= valued.any(axis=(1, 2))
    return found


def _step(
    obj: NDArray[np.complexfloating],
    known: NDArray[np.bool_],
    dataset: PtychoDataset,
    positions_px: Floats,
    usable: NDArray[np.bool_],
) -> tuple[Floats, float]:
    """Return the shifts (n, 2) that usable patterns ask for, zero for the others, and their mean misfit."""
    filled = np.where(known, obj, obj[known].mean()).astype(np.complex64)
    modes = significant_modes(dataset.probe).astype(np.complex64)
    count, size = len(modes), dataset.patch_size
    both = np.concatenate([modes, *_derivatives(modes)])
    shifts, misfits = np.zeros((len(dataset), 2)), np.zeros(len(dataset))
    for part, measured in blocks(dataset.diffraction):
        chosen = np.flatnonzero(usable[part])
        amplitudes, places = np.asarray(measured)[chosen], chosen + part.start
        for chunk, found in exit_waves(filled, both, positions_px[places]):
            waves = found.reshape(len(found), 3, count, size, size)
            step = missing_shifts(waves[:, 0], waves[:, 1:], amplitudes[chunk], dataset.mask)
            shifts[places[chunk]], misfits[places[chunk]] = step
    return shifts, float(misfits[usable].mean())


def _derivatives(modes: NDArray[np.complex64]) -> list[NDArray[np.complex64]]:
    """Return how modes (m, N, N) change when they move down and to the right, per pixel; band-limited."""
    frequency = -2j * np.pi * scipy.fft.fftfreq(modes.shape[-1])
    spectrum = scipy.fft.fft2(modes)
    return [scipy.fft.ifft2(spectrum * ramp).astype(np.complex64) for ramp in (frequency[:, None], frequency[None, :])]
