"""Combine predicted object patches to one object, with the spread of the patches as a map of uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.evaluation.phase_synchronisation import synchronise_phases
from ptycho_lib.io.lazy_stack import release
from ptycho_lib.physics.diffraction import CHUNK, add_patches


@dataclass(frozen=True, eq=False)
class Stitched:
    """An object combined from patches.

    Parameters
    ----------
    obj : (H, W) complex64
        Weighted mean of the patches; zero where there is none.
    weight : (H, W) float32
        Sum of the weights: zero where the object is unknown.
    spread : (H, W) float32
        Weighted standard deviation of the patches about `obj`, in its unit: an uncertainty that needs no
        truth. Zero where fewer than two patches meet.
    phases : (n,) float64
        Phase (rad) that each patch was multiplied with before the mean; zeros without synchronisation.
    """

    obj: NDArray[np.complex64]
    weight: NDArray[np.float32]
    spread: NDArray[np.float32]
    phases: NDArray[np.float64]


def stitch(
    patches: NDArray[np.complexfloating],
    positions_px: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    weights: NDArray[np.floating] | None = None,
    synchronise: bool = True,
) -> Stitched:
    """Stitch patches at sub-pixel positions.

    Every patch is spread onto the pixel grid by the adjoint of the bilinear extraction and divided by the
    weights that were spread in the same way, so that patches cut from an object return that object.

    Parameters
    ----------
    patches : (n, M, M) complex
        Object patches, or their central regions.
    positions_px : (n, 2) float
        Patch centres (row, column) in object pixels: pixel M/2 of a patch.
    shape : (int, int)
        (H, W) of the object.
    weights : (M, M) float, optional
        Confidence in each pixel of a patch, not negative; uniform by default.
    synchronise : bool
        First estimate the unobservable global phase of each patch from its overlaps
        (`phase_synchronisation.synchronise_phases`).

    Returns
    -------
    Stitched

    Raises
    ------
    ValueError
        If the shapes of patches, positions and weights do not match, or a patch reaches outside `shape`.
    """
    patches, positions_px = np.asanyarray(patches), np.asarray(positions_px, dtype=np.float64)
    if patches.ndim != 3 or patches.shape[1] != patches.shape[2] or positions_px.shape != (len(patches), 2):
        found = f"{patches.shape} and {positions_px.shape}"
        raise ValueError(f"patches must be (n, M, M) and positions_px (n, 2), not {found}")
    size = patches.shape[-1]
    window = np.ones((size, size), np.float32) if weights is None else np.asarray(weights, np.float32)
    if window.shape != (size, size) or not window.any() or (window < 0).any():
        raise ValueError(f"weights must be ({size}, {size}), not negative, not all zero; found {window.shape}")

    phases = np.zeros(len(patches))
    if synchronise:
        phases = synchronise_phases(patches, positions_px, weights=window)
    total = np.zeros(shape, np.complex128)
    weight, power = np.zeros(shape), np.zeros(shape)
    # The sums grow chunk by chunk: memory is that of the canvas, whatever the number of patches.
    for start in range(0, len(patches), CHUNK):
        part = np.s_[start : start + CHUNK]
        block = np.asarray(patches[part]) * np.exp(1j * phases[part]).astype(np.complex64)[:, None, None]
        place = positions_px[part]
        total += add_patches(window * block, place, shape)
        sums = add_patches(window * (1 + 1j * (block.real**2 + block.imag**2)), place, shape)
        weight += sums.real
        power += sums.imag
        release(patches)
    known = weight > 0
    safe = np.where(known, weight, 1)
    obj = total / safe
    variance = np.where(known, power / safe - np.abs(obj) ** 2, 0)
    return Stitched(
        obj=obj.astype(np.complex64),
        weight=weight.astype(np.float32),
        spread=np.sqrt(np.maximum(variance, 0)).astype(np.float32),
        phases=phases,
    )
