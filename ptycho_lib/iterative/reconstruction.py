"""Iterative reconstruction of the patterns of a scan, as a user would do it without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.config import IterativeConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.errors import InputError
from ptycho_lib.io.files import note_progress
from ptycho_lib.io.lazy_stack import read_patterns
from ptycho_lib.iterative.engine_process import EngineRoom
from ptycho_lib.optional_dependencies import extra_problem
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import ENOUGH_LIGHT, orthogonal_modes, significant_modes
from ptycho_lib.physics.scan import illumination
from ptycho_lib.resource_usage import Usage

SEEN = 1e-2
"""Least illumination, relative to the largest, of a pixel that counts as reconstructed."""

ASSUMED_PHOTONS = 1e6
"""Mean photons of a pattern where the file does not know them."""

SCALE_SAMPLE = 512
"""Patterns, spread over the scan, on which the probe's scale is fitted."""

CONVERGENCE_UPDATES = 100
"""Updates over which the loss is averaged to judge convergence."""

NOTES = 100
"""About as many lines does a reconstruction write to its progress file, however many epochs it takes."""

Watch = Callable[[int, NDArray[np.complex64]], Mapping[str, float]]
"""Takes the updates so far (0 before the first) and the object, zero where nothing was seen; returns columns
of the history."""


@dataclass(frozen=True)
class IterationOutcome:
    """How an iterative reconstruction ended, with the fields of a training's outcome."""

    reason: str
    """Why it counts as collapsed; empty if it does not."""
    seconds: float = 0.0
    peak_memory_bytes: int | None = None

    @property
    def collapsed(self) -> bool:
        """Whether the iteration diverged."""
        return bool(self.reason)


@dataclass(frozen=True, eq=False)
class Iterated:
    """An object reconstructed iteratively.

    Parameters
    ----------
    obj : (H, W) complex64
        On the grid of the dataset's object, not aligned; zero where the scan did not see it.
    probe : (modes, N, N) complex64
        On the scale of the counts.
    positions_px : (n, 2) float64
        (row, column); those of the dataset unless they were corrected.
    history : DataFrame
        One row an epoch: epoch, updates and seconds since the start, loss (Pty-chi's), and what `watch`
        returned.
    usage : Usage
        Its seconds are those of set-up and epochs, without the import of PyTorch and without `watch`.
    device : str
        What it was computed on.
    converged : bool
        Whether the loss ceased to fall before the last update that the settings allow.
    """

    obj: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    history: pd.DataFrame
    usage: Usage
    device: str
    converged: bool

    @property
    def outcome(self) -> IterationOutcome:
        """How it ended, as a run records it."""
        finite = bool(np.isfinite(self.obj).all())
        return IterationOutcome("" if finite else "the iteration diverged: the object is not finite")


def iterate(
    dataset: PtychoDataset,
    settings: IterativeConfig,
    *,
    seed: int,
    start: NDArray[np.complexfloating] | None = None,
    probe: NDArray[np.complexfloating] | None = None,
    watch: Watch | None = None,
    progress_file: str | Path | None = None,
    history_file: str | Path | None = None,
    model: str = "iterative",
    room: EngineRoom | None = None,
) -> Iterated:
    """Reconstruct the object of a dataset's patterns; the object of the dataset is not used.

    Parameters
    ----------
    dataset : PtychoDataset
        Patterns, positions and probe; its object gives nothing but the shape of the grid.
    settings : IterativeConfig
    seed : int
        Of the order of the patterns.
    start : (H, W) complex, optional
        Starting guess, such as a network's stitched object; where it is zero its mean is taken. A flat object
        of modulus 1 by default.
    probe : (N, N) or (m, N, N) complex, optional
        Starting guess, or known probe; that of the dataset by default. Its modes are limited as those of the
        networks are (`networks.batches`). Its scale is free: it is fitted to the measured counts.
    watch : callable, optional
        Asked before the first and after every epoch; its time does not count.
    progress_file : path, optional
        JSON lines are appended to it: time, model, epoch, epochs, loss.
    history_file : path, optional
        Receives the history as CSV; its folder is created.
    model : str
        Its name in the progress file.
    room : EngineRoom, optional
        Of several reconstructions: PyTorch is then loaded once for all of them.

    Raises
    ------
    InputError
        If the extra `iterative` is not installed.
    """
    problem = extra_problem("iterative", "models")
    if problem is not None:
        raise InputError(problem)
    with EngineRoom() if room is None else nullcontext(room) as engines:
        engines.open()
        begun = time.perf_counter()
        obj = np.ones(dataset.obj.shape, np.complex64) if start is None else filled(start)
        counts = _counts(dataset)
        modes = modes_in_use(dataset.probe if probe is None else probe, settings.probe_modes)
        guess = scaled_probe(counts, dataset.positions_px, modes, obj, dataset.mask)
        lit = illumination(guess, dataset.positions_px, (obj.shape[0], obj.shape[1]))
        seen = lit >= SEEN * lit.max()
        engine = engines.engine(counts, dataset.positions_px, guess, obj, settings, seed, dataset.mask)
        clock = time.perf_counter() - begun
        rows: list[dict[str, float]] = []
        if watch is not None:
            begin = {"epoch": 0, "updates": 0, "seconds": clock, "loss": np.nan}
            rows.append({**begin, **watch(0, np.where(seen, obj, 0))})
        epochs, pace = settings.epochs(len(dataset)), settings.updates_per_epoch(len(dataset))
        losses: list[float] = []
        for epoch in range(1, epochs + 1):
            begun = time.perf_counter()
            losses.append(engine.epoch())
            clock += time.perf_counter() - begun
            done = has_converged(losses, pace, settings.tolerance)
            extra = {} if watch is None else watch(epoch * pace, np.where(seen, engine.obj, 0))
            rows.append({"epoch": epoch, "updates": epoch * pace, "seconds": clock, "loss": losses[-1], **extra})
            if progress_file is not None and (done or epoch % -(-epochs // NOTES) == 0 or epoch == epochs):
                note_progress(Path(progress_file), model, epoch, epochs, loss=losses[-1])
            if done:
                break
        result = Iterated(
            obj=np.where(seen, engine.obj, 0).astype(np.complex64),
            probe=engine.probe,
            positions_px=engine.positions_px if settings.correct_positions else dataset.positions_px,
            history=pd.DataFrame(rows),
            usage=replace(engine.usage, seconds=clock),
            device=engine.device,
            converged=done,
        )
    if history_file is not None:
        Path(history_file).parent.mkdir(parents=True, exist_ok=True)
        result.history.to_csv(history_file, index=False)
    return result


def modes_in_use(probe: NDArray[np.complexfloating], most: int | None) -> NDArray[np.complexfloating]:
    """Return the orthogonal modes (k, N, N) that a reconstruction uses: the strongest, or all that matter.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    most : int or None
        Largest number of modes; None for the fewest that hold 99 % of the light.
    """
    return significant_modes(orthogonal_modes(probe), share=ENOUGH_LIGHT if most is None else 1.0, most=most)


def has_converged(losses: Sequence[float], updates_per_epoch: int, tolerance: float) -> bool:
    """Return whether the loss has ceased to fall.

    Parameters
    ----------
    losses : sequence of float
        One an epoch.
    updates_per_epoch : int
    tolerance : float
        The mean over the last `CONVERGENCE_UPDATES` updates must be lower than that over as many before by
        this share; 0 never stops.
    """
    window = max(2, -(-CONVERGENCE_UPDATES // updates_per_epoch))
    if tolerance == 0 or len(losses) < 2 * window:
        return False
    before, after = (float(np.mean(part)) for part in (losses[-2 * window : -window], losses[-window:]))
    return before - after < tolerance * before  # NaN never stops


def filled(obj: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
    """Return an object whose empty pixels (zero, or not finite) hold the mean of the others."""
    known = np.isfinite(obj) & (obj != 0)
    mean = obj[known].mean() if known.any() else 1.0
    return np.where(known, obj, mean).astype(np.complex64)


def scaled_probe(
    counts: NDArray[np.float32],
    positions_px: NDArray[np.float64],
    probe: NDArray[np.complexfloating],
    obj: NDArray[np.complex64],
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.complex64]:
    """Return the probe with which an object diffracts as many photons as were counted on measured pixels.

    Parameters
    ----------
    counts : (n, N, N) float32
    positions_px : (n, 2) float64
    probe : (N, N) or (m, N, N) complex
    obj : (H, W) complex64
    mask : (N, N) bool, optional
        Measured pixels; all by default.

    Returns
    -------
    complex64 array
        Of the shape of `probe`.

    Raises
    ------
    ValueError
        If a patch reaches outside the object.
    """
    chosen = spread_indices(len(counts), SCALE_SAMPLE)
    predicted = np.square(diffract(obj, probe, positions_px[chosen]), dtype=np.float64)
    seen = np.ones(counts.shape[1:], bool) if mask is None else mask
    factor = np.sqrt(counts[chosen][:, seen].sum(dtype=np.float64) / predicted[:, seen].sum())
    return (probe * factor).astype(np.complex64)


def _counts(dataset: PtychoDataset) -> NDArray[np.float32]:
    measured = read_patterns(dataset.diffraction, np.arange(len(dataset)))
    intensity = np.square(measured, dtype=np.float32)
    if dataset.mask is not None:
        intensity *= dataset.mask
    photons = dataset.photons_per_pattern or ASSUMED_PHOTONS
    return intensity * np.float32(photons * len(dataset) / intensity.sum(dtype=np.float64))
