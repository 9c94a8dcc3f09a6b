"""A reference for measured data without one: object, probe modes, and halves that give its resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import IterativeConfig
from ptycho_lib.data.dataset import REFERENCE, PtychoDataset
from ptycho_lib.data.options import PrepareOptions
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.evaluation.comparison import compare_halves
from ptycho_lib.evaluation.frc import FrcCurve
from ptycho_lib.io.npz import write_npz
from ptycho_lib.iterative.reconstruction import iterate
from ptycho_lib.physics.scan import illumination

COVERED = 0.1
"""Least illumination, relative to the largest, where a reference may be compared."""


@dataclass(frozen=True, eq=False)
class Reference:
    """An object reconstructed from a dataset's own patterns.

    Parameters
    ----------
    dataset : PtychoDataset
        With the object, the probe modes, the coverage, and a line of history about it.
    probe_modes : (modes, N, N) complex64
        On the scale of the counts.
    halves : (2, H, W) complex64
        Reconstructions from every other pattern of an even order, independent of each other.
    curve : FrcCurve
        Between the halves.
    """

    dataset: PtychoDataset
    probe_modes: NDArray[np.complex64]
    halves: NDArray[np.complex64]
    curve: FrcCurve

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write object, probe modes, halves and curve to an npz; return its path."""
        arrays = {
            "object": self.dataset.obj,
            "probe_modes": self.probe_modes,
            "object_halves": self.halves,
            "frc_frequency": self.curve.frequency,
            "frc_correlation": self.curve.correlation,
            "history": np.array(self.dataset.history[-1]),
        }
        return write_npz(path, arrays, overwrite=overwrite)


def reconstruct_apart(parts: Sequence[PtychoDataset], options: PrepareOptions) -> tuple[Reference, ...]:
    """Reconstruct the object of each part of a scan from the patterns of that part alone.

    The probe is refined on the first part, the training, together with its object; the others take it as known.
    All objects and the probe are so in one frame and on one scale.

    Parameters
    ----------
    parts : sequence of PtychoDataset
    options : PrepareOptions
        As for `reconstruct_reference`.

    Returns
    -------
    tuple of Reference

    Raises
    ------
    InputError
        If the extra `iterative` is not installed.
    """
    first = reconstruct_reference(parts[0], options)
    modes = first.dataset.probe
    rest = [reconstruct_reference(replace(part, probe=modes), options, known_probe=True) for part in parts[1:]]
    return (first, *rest)


def reconstruct_reference(dataset: PtychoDataset, options: PrepareOptions, *, known_probe: bool = False) -> Reference:
    """Reconstruct the object of measured patterns; the object of the dataset is not used.

    Parameters
    ----------
    dataset : PtychoDataset
    options : PrepareOptions
        Its fields `reference_*` and `seed`.
    known_probe : bool
        Keep the probe of the dataset, on its scale; otherwise it is refined together with the object.

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If the extra `iterative` is not installed.
    """
    settings = IterativeConfig(
        algorithm=options.reference_algorithm,
        updates=options.reference_updates,
        refine_probe=not known_probe,
        probe_modes=options.reference_modes,
    )
    whole = iterate(dataset, settings, seed=options.seed)
    order = subset_order(dataset.positions_px, "representative", options.seed)
    parts = [np.sort(order[start::2]) for start in (0, 1)]
    pair = [iterate(dataset.select(part), settings, seed=options.seed) for part in parts]
    light = illumination(whole.probe, dataset.positions_px, dataset.obj.shape)
    coverage = light >= COVERED * light.max()
    compared = coverage & (pair[0].obj != 0) & (pair[1].obj != 0)
    curve, resolution = compare_halves(pair[0].obj, pair[1].obj, compared)
    done_updates = int(whole.history["updates"].iloc[-1])
    note = _note(settings, done_updates, len(dataset), resolution["one_seventh"].value)
    obj, probe = whole.obj, whole.probe if len(whole.probe) > 1 else whole.probe[0]
    if known_probe:  # the engine has scaled it to the counts
        obj, probe = obj * (np.linalg.norm(probe) / np.linalg.norm(dataset.probe)), dataset.probe
    done = replace(
        dataset,
        obj=np.where(obj == 0, 1, obj).astype(np.complex64),
        probe=probe,
        patches=None,
        coverage=coverage if dataset.coverage is None else coverage & dataset.coverage,
        history=(*dataset.history, note),
    )
    halves = np.stack([half.obj for half in pair])
    return Reference(done, whole.probe, halves, curve)


def _note(settings: IterativeConfig, updates: int, count: int, resolved: float) -> str:
    what = "object and probe are" if settings.refine_probe else "the object is, under a known probe,"
    return (
        f"{REFERENCE}{what} an iterative reconstruction of these {count} patterns (Pty-chi, "
        f"{settings.algorithm.upper()}, {updates} updates, {settings.probe_modes} probe modes), "
        f"not independent of them and not a ground truth; halves of the data agree up to {resolved:.3f} "
        "cycles/px (FRC 1/7)"
    )
