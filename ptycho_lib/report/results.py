"""A study folder as figures, tables and widgets want it: plan, state of the runs, numbers, objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.config import HYBRIDS, ITERATIVE, NOMINAL, StudyConfig
from ptycho_lib.data.dataset import OWN_REFERENCE, PtychoDataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.evaluation.alignment import align
from ptycho_lib.evaluation.comparison import phase_frc, phase_images
from ptycho_lib.evaluation.frc import FrcCurve, frc_curve
from ptycho_lib.evaluation.reconstruction import Reconstruction
from ptycho_lib.study.folder.manifest import StudyManifest, read_manifest
from ptycho_lib.study.folder.status import State
from ptycho_lib.study.folder.truth import Truth, read_truth
from ptycho_lib.study.results.aggregate import LoadedRun, load_runs
from ptycho_lib.study.results.tables import StudyTables, compute_tables

Complex2D = NDArray[np.complexfloating]
Mask = NDArray[np.bool_]

RECONSTRUCTION = "reconstruction.npz"
SHARED_MODELS = ("untrained", "iterative")
"""Models that depend on no training size: one reconstruction serves all."""
GROUND_TRUTH = "Ground truth"
SAME_KIND = (
    "The reference is itself an iterative reconstruction, as a rule of the very patterns that the iterative "
    "models reconstruct: part of their lead is circular."
)
NOT_TRUE = "The reference is itself, as a rule, an iterative reconstruction of the same patterns."


@dataclass(frozen=True, eq=False)
class StudyResults:
    """What a study folder holds."""

    folder: Path
    manifest: StudyManifest
    runs: tuple[LoadedRun, ...]
    """All planned runs, complete or not, in the order of size and trial."""
    tables: StudyTables
    """Values, outcomes, statistics, paired differences, matched sizes and costs."""
    standard: str = "truth or reference"
    """What the models are compared with, in a word or two of a sentence."""
    reference_note: str = ""
    """What to keep in mind of what the models are compared with; empty if nothing."""
    truth: Truth | None = None
    """The truth of the unchanged test set; None if neither study nor data have it."""

    @property
    def table(self) -> pd.DataFrame:
        """Tidy, columns `metrics_table.COLUMNS`: every value of every complete run."""
        return self.tables.table

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough trials for an interval to be claimed."""
        return bool(self.tables.summary["low"].notna().any())

    @property
    def config(self) -> StudyConfig:
        """The study's configuration."""
        return self.manifest.config

    @property
    def name(self) -> str:
        """The study's name, in words."""
        return self.config.name.replace("_", " ")

    @property
    def complete(self) -> list[LoadedRun]:
        """The runs whose numbers are in the table."""
        return [run for run in self.runs if run.state is State.COMPLETE]

    @property
    def trained(self) -> list[LoadedRun]:
        """The complete runs that trained networks."""
        return [run for run in self.complete if run.key.is_trained]

    @property
    def seconds(self) -> dict[str, float]:
        """Times of reconstructions that do not depend on the size, by model, on the unchanged test set."""
        alone = [run.record for run in self.complete if not run.key.is_trained and run.record]
        made = [pair for record in alone for pair in record.reconstructions.items()]
        return {model: costs[NOMINAL].seconds for model, costs in made if NOMINAL in costs}

    @property
    def collapsed(self) -> pd.DataFrame:
        """Collapsed trainings, rows of `tables.outcomes`; their numbers are in the table."""
        return self.tables.outcomes[self.tables.outcomes["collapsed"]]

    def answer(self, *, metric: str = "ssim", component: str = "phase") -> list[str]:
        """Return what the study answers, a sentence each (`StudyTables.answer`).

        Parameters
        ----------
        metric, component : str
            Which values.

        Returns
        -------
        list of str
        """
        return self.tables.answer(metric=metric, component=component)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over the fingerprints of all runs in the table."""
        fingerprints = sorted(run.record.fingerprint for run in self.complete if run.record)
        return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()

    def run(self, n_train: int, trial: int = 1, model: str = "") -> LoadedRun:
        """Return one planned run.

        Parameters
        ----------
        n_train, trial : int
        model : str
            Any of its models; needed where several runs depend on no training size.

        Raises
        ------
        InputError
            If the study has no such run.
        """
        for run in self.runs:
            if (run.n_train, run.trial) == (n_train, trial) and (not model or model in run.models):
                return run
        there = ", ".join(str(run.key) for run in self.runs)
        found = f"no run with n_train {n_train}, trial {trial}"
        raise InputError(Problem(str(self.folder), "run", found, f"one of {there}", "Choose one of these."))


def read_results(study_dir: str | Path, tables: StudyTables | None = None) -> StudyResults:
    """Read a study folder; runs that are missing, failed or stale are named, not an obstacle.

    Nothing is written. The tables are computed, unless they are given.

    Raises
    ------
    InputError
        If the folder is not a study, or no run is complete.
    """
    folder = Path(study_dir).resolve()
    manifest = read_manifest(folder)
    tables = tables or compute_tables(folder)
    found = folder, manifest, tuple(load_runs(folder)), tables
    try:
        truth = read_truth(folder, manifest, NOMINAL)
    except InputError:  # of an earlier version, whose data are elsewhere
        return StudyResults(*found, reference_note=_same_kind(manifest.config.models))
    return StudyResults(*found, truth_label(truth).lower(), reference_note(truth, manifest.config.models), truth)


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """Objects of several models on the grid of one truth, aligned to it as the metrics' aligned rows are."""

    truth: Complex2D
    mask: Mask
    """The pixels that were compared."""
    seen: Mask
    """The pixels that every model reconstructed."""
    aligned: dict[str, Complex2D]
    """By model."""
    raw: dict[str, Complex2D]
    """By model: only the global phase removed."""
    pixel_size_m: float | None
    truth_label: str

    @property
    def shared(self) -> dict[str, Complex2D]:
        """The aligned objects that depend on no training size, by model."""
        return {model: obj for model, obj in self.aligned.items() if model in SHARED_MODELS}

    def frc_curves(self) -> dict[str, dict[str, FrcCurve]]:
        """Return the Fourier ring correlation with the truth, by component and model."""
        curves: dict[str, dict[str, FrcCurve]] = {"amplitude": {}, "phase": {}}
        for model, obj in self.aligned.items():
            curves["amplitude"][model] = frc_curve(np.abs(self.truth), np.abs(obj), mask=self.mask)
            curves["phase"][model] = phase_frc(phase_images(self.truth, obj, self.mask), self.mask)
        return curves


def side_by_side(
    test: PtychoDataset | Truth, objects: Mapping[str, Complex2D], mask: Mask, *, max_shift_px: float = 2.0
) -> Reconstructions:
    """Align the objects of several models to the truth of a test set.

    Parameters
    ----------
    test : PtychoDataset or Truth
        Its object is the truth.
    objects : mapping of str to ndarray, (H, W) complex
        As stitched, by model.
    mask : ndarray, (H, W) bool
        The pixels that are compared.
    max_shift_px : float
        Cap of the sub-pixel registration.
    """
    fits = {model: align(test.obj, obj, mask, max_shift_px=max_shift_px) for model, obj in objects.items()}
    aligned = {model: fit.aligned for model, fit in fits.items()}
    raw = {model: fit.raw for model, fit in fits.items()}
    seen = np.logical_and.reduce([obj != 0 for obj in objects.values()])
    return Reconstructions(test.obj, mask, seen, aligned, raw, test.pixel_size_m, truth_label(test))


def score_table(results: Mapping[str, Reconstruction], max_shift_px: float) -> pd.DataFrame:
    """Return every metric of several models' reconstructions of the unchanged test set, tidy."""
    scores = [
        result.compare(max_shift_px=max_shift_px).assign(model=model, condition=NOMINAL)
        for model, result in results.items()
    ]
    return pd.concat(scores, ignore_index=True)


def load_reconstructions(results: StudyResults, n_train: int, trial: int = 1) -> Reconstructions:
    """Read the reconstructions of one complete run, and the iterative one that all sizes share.

    Raises
    ------
    InputError
        If the study has no such run, or it is not complete.
    """
    run = results.run(n_train, trial)
    paths: dict[str, Path] = {}
    paths |= {model: run.folder / f"{model}_run" / RECONSTRUCTION for model in run.models}
    for shared in (other for other in results.complete if run.key.is_trained and not other.key.is_trained):
        paths |= {model: shared.folder / f"{model}_run" / RECONSTRUCTION for model in shared.models}
    there = {model: path for model, path in paths.items() if path.is_file()}
    if run.state is not State.COMPLETE or not there:
        found = f"no {RECONSTRUCTION}" if run.state is State.COMPLETE else f"a {run.state} run"
        fix = "Run `ptycho-study run` again to finish the study."
        raise InputError(Problem(str(run.folder), "", found, "a complete run", fix))
    objects: dict[str, Complex2D] = {}
    for model, path in there.items():
        with np.load(path, allow_pickle=False) as stored:
            objects[model], mask = stored["object"], stored["mask"]
    if results.truth is None:
        found, fix = "no ground truth", "Put the test file back to the place that study.yaml names."
        raise InputError(Problem(str(results.folder), "truth/test.npz", found, "the file", fix))
    return side_by_side(results.truth, objects, mask, max_shift_px=results.config.evaluation.max_shift_px)


def load_by_size(results: StudyResults, trial: int = 1) -> dict[int, Reconstructions]:
    """Read the reconstructions of one trial at every size that is complete."""
    sizes = [run.n_train for run in results.trained if run.trial == trial]
    return {size: load_reconstructions(results, size, trial) for size in sizes}


def truth_label(dataset: PtychoDataset | Truth) -> str:
    """Return what to call the object: ground truth if simulated, else a reference, and whether it is ours."""
    return {"": GROUND_TRUTH, OWN_REFERENCE: "Iterative reference"}.get(dataset.standard, "Reference")


def reference_note(test: PtychoDataset | Truth, models: Iterable[str]) -> str:
    """Return what to keep in mind of what the models are compared with; empty if it is a ground truth."""
    if not test.standard:
        return ""
    made = f"{test.reference[:1].upper()}{test.reference[1:]}." if test.reference else ""
    return " ".join(filter(None, (made, _same_kind(models)))) or NOT_TRUE


def _same_kind(models: Iterable[str]) -> str:
    return SAME_KIND if {ITERATIVE, *HYBRIDS} & set(models) else ""
