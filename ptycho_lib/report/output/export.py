"""Results of a run for other programs: what each model reconstructed, with probe, positions and mask."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.config import NOMINAL
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.npz import NpzArchive
from ptycho_lib.report.output.result_files import Result, write_result
from ptycho_lib.study.folder.manifest import MANIFEST, PlannedRun, StudyManifest, read_manifest
from ptycho_lib.study.folder.record import RECORD, reconstruction_name
from ptycho_lib.study.folder.truth import TEST, scan_of
from ptycho_lib.study.selection import test_subset

FOLDER = "export"
"""Where exported files go, in the study folder."""


def export_run(
    run: str | Path,
    to: str,
    *,
    out_dir: str | Path | None = None,
    model: str | None = None,
    condition: str = NOMINAL,
    pixel_size_m: float | None = None,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write the reconstructions of a complete run in the format of other programs.

    Parameters
    ----------
    run : str or Path
        Folder of a run, such as ``results/n_train_256``, or of one model in it, ``results/n_train_256/pinn_run``.
    to : {'cxi', 'ptychodus', 'nexus', 'tiff'}
    out_dir : str or Path, optional
        ``export/`` in the study folder by default.
    model : str, optional
        One model of the run; all of them by default.
    condition : str
        Test condition, `nominal` or the name of one that has test data of its own.
    pixel_size_m : float, optional
        Object pixel, where the test file does not know it.
    overwrite : bool
        Without it existing files are refused.

    Returns
    -------
    tuple of Path
        One a model.

    Raises
    ------
    InputError
        If the folder is no complete run, the model or the test data are missing, or a file exists.
    """
    folder = Path(run).resolve()
    if folder.name.endswith("_run") and not (folder / RECORD).is_file():
        folder, model = folder.parent, model or folder.name.removesuffix("_run")
    study, manifest, planned = _find(folder)
    _require_own_scan(study, manifest, condition)
    found = {path.parent.name.removesuffix("_run"): path for path in _reconstructions(folder, condition)}
    chosen = found if model is None else {name: path for name, path in found.items() if name == model}
    if not chosen:
        there = ", ".join(found) or "none"
        fix = "Choose one of these, or another run or condition."
        raise InputError(Problem(str(folder), model or condition, "no reconstruction", f"one of: {there}", fix))
    test = _scan(study, manifest, condition)
    test = test.select(test_subset(test, manifest.config, planned.identity.n_test))
    target = Path(out_dir) if out_dir is not None else study / FOLDER
    written = []
    for name, path in sorted(chosen.items()):
        result = _result(path, test, f"{manifest.config.name}, {planned.key}, {name}, {condition}", pixel_size_m)
        parts = (manifest.config.name, *_slug(planned), name, *(() if condition == NOMINAL else (condition,)))
        written.append(write_result(result, target / "_".join(parts), to, overwrite=overwrite))
    return tuple(written)


def _find(folder: Path) -> tuple[Path, StudyManifest, PlannedRun]:
    """Return the study folder that holds a complete run, its manifest, and the run."""
    study = next((parent for parent in folder.parents if (parent / MANIFEST).is_file()), None)
    if study is None or not (folder / RECORD).is_file():
        found = f"no {RECORD}" if study is not None else f"no study above it ({MANIFEST})"
        found = "a study" if (folder / MANIFEST).is_file() else found
        fix = (
            "Give the folder of a complete run, such as OUT_DIR/n_train_256; `ptycho-study status OUT_DIR` lists them."
        )
        raise InputError(Problem(str(folder), "", found, "the folder of a complete run", fix))
    manifest = read_manifest(study)
    for planned in manifest.runs(study):
        if planned.folder == folder:
            return study, manifest, planned
    fix = "`ptycho-study status OUT_DIR` lists the runs of a study."
    raise InputError(Problem(str(folder), "", f"no run of {study / MANIFEST}", "one of its runs", fix))


def _reconstructions(folder: Path, condition: str) -> list[Path]:
    return sorted(folder.glob(f"*_run/{reconstruction_name(condition)}"))


def _own_scans(manifest: StudyManifest) -> dict[str, str]:
    """Return the test files of the conditions that have one."""
    return {one.name: str(one.test_data) for one in manifest.config.conditions if one.test_data is not None}


def _require_own_scan(study: Path, manifest: StudyManifest, condition: str) -> None:
    """Refuse conditions that change a scan: only a test file says what positions and probe were."""
    own = _own_scans(manifest)
    if condition != NOMINAL and condition not in own:
        fix = f"Choose one of: {', '.join((NOMINAL, *own))}."
        found = f"the condition '{condition}'"
        raise InputError(Problem(str(study), condition, found, "a condition with test data of its own", fix))


def _scan(study: Path, manifest: StudyManifest, condition: str) -> PtychoDataset:
    """Return the scan that a condition shows."""
    own = _own_scans(manifest)
    path = manifest.test.locate(study) if scan_of(manifest.config, condition) == TEST else Path(own[condition])
    if not path.is_file():
        fix = "Its probe and positions are needed: put it back, or run `ptycho-study status OUT_DIR --test FILE`."
        raise InputError(Problem(str(study), "test", f"no file {path}", "the test file", fix))
    return load_dataset(path)


def _result(path: Path, test: PtychoDataset, title: str, pixel_size_m: float | None) -> Result:
    archive = NpzArchive(path)
    return Result(
        title=title,
        obj=archive.load("object"),
        mask=archive.load("mask"),
        probe_modes=test.probe_modes,
        positions_px=test.positions_px,
        pixel_size_m=pixel_size_m or test.pixel_size_m,
        wavelength_m=test.wavelength_m,
        detector_distance_m=test.detector_distance_m,
    )


def _slug(planned: PlannedRun) -> tuple[str, ...]:
    """Return the words of a file name for a run."""
    return (f"n{planned.n_train}", f"trial{planned.trial}") if planned.key.is_trained else (planned.key.kind,)
