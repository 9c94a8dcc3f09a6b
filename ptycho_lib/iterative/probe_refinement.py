"""Probe modes of a partially coherent beam, refined from the training patterns of a measurement alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import IterativeConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.evaluation.alignment import align
from ptycho_lib.evaluation.comparison import comparison_mask
from ptycho_lib.iterative.reconstruction import iterate
from ptycho_lib.physics.diffraction import shifted
from ptycho_lib.physics.probes import mode_shares, orthogonal_modes


def refine_probe(train: PtychoDataset, number: int, *, updates: int, seed: int) -> PtychoDataset:
    """Return a training set whose probe was refined into incoherent modes on its own patterns.

    Pty-chi (LSQML) refines object and probe together: the object from a flat one, the probe from that of the
    dataset and weak Hermite-Gauss-like modes of it. Shift and phase ramp, which patterns trade between probe and
    object, are then set such that the modes belong to the dataset's object.

    Parameters
    ----------
    train : PtychoDataset
    number : int
        Of modes.
    updates : int
        Of the object.
    seed : int
        Of the order of the patterns.

    Returns
    -------
    PtychoDataset
        With `probe` (number, N, N), orthogonal, strongest first, and a line of history.

    Raises
    ------
    InputError
        If the extra `iterative` is not installed.
    """
    # All updates: weak modes grow long after the loss hardly falls.
    settings = IterativeConfig(updates=updates, tolerance=0.0, refine_probe=True, probe_modes=number)
    found = iterate(train, settings, seed=seed)
    modes = in_frame_of(train, found.obj, orthogonal_modes(found.probe))
    shares = ", ".join(f"{100 * share:.1f}" for share in mode_shares(modes))
    note = (
        f"probe: {number} incoherent modes with {shares} % of the light, refined with Pty-chi (LSQML, "
        f"{int(found.history['updates'].iloc[-1])} updates, seed {seed}) on the {len(train)} training patterns alone"
    )
    return replace(train, probe=modes, history=(*train.history, note))


def in_frame_of(
    dataset: PtychoDataset, obj: NDArray[np.complex64], modes: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Return modes that give with the dataset's object the patterns which they give with their own.

    If O(r) = c exp(-i k r) O'(r - s), then P(r) = exp(i k r) P'(r - s) / |c|.

    Parameters
    ----------
    dataset : PtychoDataset
    obj : (H, W) complex64
        The object O' that was reconstructed together with the modes.
    modes : (m, N, N) complex64

    Returns
    -------
    (m, N, N) complex64 array
        The modes as they are where the objects cannot be aligned.
    """
    mask = comparison_mask(dataset.positions_px, modes, dataset.obj.shape, coverage=dataset.coverage) & (obj != 0)
    fit = align(dataset.obj, obj, mask)
    if fit.reason:
        return modes
    moved = shifted(modes, np.array([fit.shift_px]))[0]
    rows, columns = np.indices(moved.shape[1:])
    ramp = np.exp(1j * (fit.ramp_rad_per_px[0] * rows + fit.ramp_rad_per_px[1] * columns))
    return (moved * ramp / fit.amplitude_scale).astype(np.complex64)
