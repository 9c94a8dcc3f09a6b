"""Start a notebook of this subpackage in a process of its own, after all that can be refused has been."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ptycho_lib.application.model_file import ModelFile, find_model
from ptycho_lib.application.new_scan import NewScan, open_scan
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import require_writable, write_atomically
from ptycho_lib.study.execution.jobs import TICK_S, default_threads
from ptycho_lib.study.execution.kernel_environment import Resources
from ptycho_lib.study.execution.notebook_process import Ending, NotebookProcess
from ptycho_lib.study.execution.plan import papermill_command
from ptycho_lib.study.execution.signals import stop_signals
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.progress import FAILURE, PROGRESS
from ptycho_lib.study.folder.templates import template_path

STOP = f"{locks.EXECUTION}/stop"
"""A file of this name ends the watch of a folder."""
RECONSTRUCT_SCAN = "reconstruct_scan.ipynb"
RECORD = "reconstruction.json"
FINE_TUNE = "fine_tune.ipynb"
TUNING = "fine_tuning.json"


@dataclass(frozen=True)
class NotebookJob:
    """A notebook, its parameters and its folder.

    Parameters
    ----------
    template : str
        Name of a shipped notebook.
    folder : Path
        Receives the executed notebook and all results.
    parameters : mapping
        Plain values.
    record : str
        The file, in the folder, that proves success.
    notes : tuple of str
        What was found while the input was checked.
    """

    template: str
    folder: Path
    parameters: Mapping[str, Any]
    record: str
    notes: tuple[str, ...] = ()

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.folder / self.template


def plan_reconstruction(
    model: str | Path,
    scan: str | Path,
    out_dir: str | Path | None = None,
    *,
    network: str = "",
    options: Mapping[str, Any] | None = None,
    crop: bool = False,
    watch: bool = False,
    expected: int = 0,
    idle_s: float = 60.0,
    overwrite: bool = False,
) -> NotebookJob:
    """Check the input of a reconstruction; nothing is written.

    Parameters
    ----------
    model : path
        Run folder, model folder or `.keras` file.
    scan : path
        File of the scan, or the folder of its parts.
    out_dir : path, optional
        By default, beside the scan, its name with ``_reconstruction``.
    network : str
        ``pinn`` or ``baseline`` of a run folder.
    options : mapping, optional
        Fields of `ReadOptions`.
    crop : bool
        Cut or pad the patterns to the network's size.
    watch, expected, idle_s
        See `watched_folder.follow`.
    overwrite : bool
        Replace an earlier reconstruction in the folder.

    Raises
    ------
    InputError
        With every problem of network, scan and folder.
    """
    scan = Path(scan)
    folder = Path(out_dir) if out_dir else scan.with_name(f"{scan.stem}_reconstruction")
    settings = parse_options(ReadOptions, "options", dict(options or {}))
    problems = folder_problems(folder, RECORD, overwrite=overwrite)
    notes: tuple[str, ...] = ()
    file, found = described(model, network)
    problems += found
    if watch and not scan.is_dir():
        fix = "Give the folder in which files of the scan arrive."
        problems.append(Problem(str(scan), "--watch", "no folder", "a folder", fix))
    elif file is not None and not watch:
        checked, found = readable(scan, file, settings, crop=crop)
        problems += found
        notes = checked.notes if checked else ()
    if problems or file is None:
        raise InputError(problems)
    parameters = {
        "model": str(file.path),
        "scan": str(scan.resolve()),
        "output_dir": str(folder.resolve()),
        "network": file.model,
        "options": yaml.safe_dump(_absolute(settings)) if settings != ReadOptions() else "",
        "crop": crop,
        "watch": watch,
        "expected": expected,
        "idle_s": idle_s,
    }
    return NotebookJob(RECONSTRUCT_SCAN, folder.resolve(), parameters, RECORD, notes)


def plan_fine_tuning(
    model: str | Path,
    scan: str | Path,
    out_dir: str | Path,
    *,
    steps: int,
    network: str = "",
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    crop: bool = False,
    **settings: Any,
) -> NotebookJob:
    """Check the input of a continued training; nothing is written.

    Parameters
    ----------
    model, scan, network, options, crop, overwrite
        As for `plan_reconstruction`.
    out_dir : path
        Receives the network.
    steps : int
        Gradient steps.
    **settings
        `learning_rate`, `patterns`, `seed` of `fine_tuning.fine_tune`.

    Raises
    ------
    InputError
        With every problem of network, scan and folder.
    """
    folder, place = Path(out_dir), Path(scan)
    reading = parse_options(ReadOptions, "options", dict(options or {}))
    problems = folder_problems(folder, TUNING, overwrite=overwrite)
    if not problems and (folder / "model.keras").exists() and not (folder / TUNING).exists():
        fix = "Give a folder of its own: that network would be replaced."
        problems.append(Problem(str(folder), "model.keras", "another network", "a new folder", fix))
    file, found = described(model, network)
    problems += found
    checked = None
    if file is not None:
        problems += refuse_baseline(file)
        checked, found = readable(place, file, reading, crop=crop)
        problems += found
        wanted = settings.get("patterns", 0)
        if checked is not None and wanted > len(checked.dataset):
            fix = "Ask for fewer, or for all: leave it out."
            expected = f"at most {len(checked.dataset)}"
            problems.append(Problem(str(scan), "--patterns", f"{wanted}", expected, fix))
    if problems or file is None:
        raise InputError(problems)
    parameters = {
        "model": str(file.path),
        "scan": str(place.resolve()),
        "output_dir": str(folder.resolve()),
        "steps": steps,
        "options": yaml.safe_dump(_absolute(reading)) if reading != ReadOptions() else "",
        "crop": crop,
        **settings,
    }
    return NotebookJob(FINE_TUNE, folder.resolve(), parameters, TUNING, checked.notes if checked else ())


def refuse_baseline(file: ModelFile) -> list[Problem]:
    """Return why the training of a network cannot continue without an object."""
    if file.model == "pinn":
        return []
    found = "the supervised baseline, which learns from a known object"
    fix = "Give the PtychoPINN of the run: it learns from the patterns alone."
    return [Problem(str(file.path), "model", found, "PtychoPINN", fix)]


def _absolute(settings: ReadOptions) -> dict[str, Any]:
    """Return the options that differ from the defaults; files by their absolute path, for another folder."""
    values = settings.model_dump(exclude_defaults=True)
    return {key: str(Path(value).resolve()) if key.endswith("_file") else value for key, value in values.items()}


def described(model: str | Path, network: str) -> tuple[ModelFile | None, list[Problem]]:
    """Return the network of a run, or the problems that keep it from being used."""
    try:
        return find_model(model, network), []
    except InputError as error:
        return None, list(error.problems)


def readable(
    scan: Path, file: ModelFile, options: ReadOptions, *, crop: bool = False
) -> tuple[NewScan | None, list[Problem]]:
    """Return the scan, or its problems."""
    try:
        return open_scan(scan, file, options, crop=crop), []
    except InputError as error:
        return None, list(error.problems)


def folder_problems(folder: Path, record: str, *, overwrite: bool) -> list[Problem]:
    """Return why results cannot go into a folder."""
    if folder.exists() and not folder.is_dir():
        return [Problem(str(folder), "", "a file", "a folder for the results", "Give another output folder.")]
    if locks.is_locked(folder):
        fix = "Wait for it, or give another output folder."
        return [Problem(str(folder), "", "another process at work there", "a free folder", fix)]
    if (folder / record).exists() and not overwrite:
        fix = "Give another output folder, or --overwrite."
        return [Problem(str(folder), record, "an earlier result", "a new folder", fix)]
    return []


def execute(
    job: NotebookJob,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
    threads: int | None = None,
    stop_ends: bool = False,
) -> Ending:
    """Execute the notebook of a job, and follow it.

    Parameters
    ----------
    job : NotebookJob
    on_progress : callable, optional
        Gets what is being done, and how much of how much.
    threads : int, optional
        Of the process; all cores, up to 8, by default.
    stop_ends : bool
        The first Ctrl-C asks the notebook to conclude (the watch of a folder ends) instead of stopping it.

    Raises
    ------
    InputError
        If the folder cannot be written, or another process works in it.
    """
    folder = require_writable(job.folder)
    lock = locks.take_lock(folder, "runner")
    if lock is None:
        raise InputError(folder_problems(folder, job.record, overwrite=True))
    try:
        for name in (STOP, job.record, PROGRESS):
            (folder / name).unlink(missing_ok=True)
        parameters = folder / locks.EXECUTION / "parameters.yaml"
        write_atomically(parameters, yaml.safe_dump(dict(job.parameters), sort_keys=False))
        template = template_path(job.template)
        name = job.template.removesuffix(".ipynb")
        process = NotebookProcess(
            command=papermill_command(template, folder / f"{name}.partial.ipynb", parameters),
            folder=folder,
            name=name,
            template=template,
            resources=Resources(threads or default_threads()),
            timeout_s=None,
            verify=lambda: "" if (folder / job.record).is_file() else f"no {job.record} was written",
        )
        ending = _watch(process, on_progress, stop_ends=stop_ends)
        if ending.succeeded:
            (folder / FAILURE).unlink(missing_ok=True)
        return ending
    finally:
        lock.release()


def _watch(process: NotebookProcess, on_progress: Callable[[str, int, int], None] | None, *, stop_ends: bool) -> Ending:
    asked = False
    with stop_signals() as signals:
        process.start()
        while (ending := process.poll()) is None:
            if signals and stop_ends and not asked:
                write_atomically(process.folder / STOP, "")
                asked = True
                signals.clear()
            elif signals:
                return process.stop(f"interrupted by {signals[0]}")
            if on_progress is not None and (found := last_progress(process.folder / PROGRESS)):
                on_progress(*found)
            time.sleep(TICK_S)
    return ending


def last_progress(path: Path) -> tuple[str, int, int] | None:
    """Return what a job does, and how much of how much is done; None before it says so."""
    try:
        line = path.read_text(encoding="utf-8").splitlines()[-1]
        fields = json.loads(line)
        return str(fields["model"]), int(fields["epoch"]), int(fields["epochs"])
    except (OSError, ValueError, KeyError, IndexError):
        return None
