"""A trained network as a file: found in a run folder, described without TensorFlow, refused with a reason."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ptycho_lib.config import EvaluationConfig, NetworkConfig
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256
from ptycho_lib.model_names import NETWORKS
from ptycho_lib.settings_problems import with_names_of_today
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import MANIFEST, read_manifest
from ptycho_lib.study.folder.record import RECORD, CorruptRecordError, RunRecord, read_record
from ptycho_lib.study.folder.status import State, run_status

MODEL_FILE = "model.keras"
"""As `networks.training` names it."""
CLASSES = {"ptycho_lib>PtychoPINN": "pinn", "ptycho_lib>SupervisedBaseline": "baseline"}
"""Registered names of the networks that are trained, and the model that each is."""
PROBE = "first_guess/vars/0"
"""Where the weights keep the probe of the training scan, (m, N, N, 2)."""
FIX = "Give a run folder (n_train_…), a model folder (pinn_run), or a model.keras."


@dataclass(frozen=True, eq=False)
class ModelFile:
    """What a file says of the network that it holds.

    Parameters
    ----------
    path : Path
        The `.keras` file.
    model : str
        ``pinn`` or ``baseline``.
    patch_size : int
        N of its patterns, pixels.
    network : NetworkConfig
    probe : (m, N, N) complex64
        Of the training scan, on a scale of its own.
    record : RunRecord or None
        Of the run that trained it; None if it lies elsewhere.
    """

    path: Path
    model: str
    patch_size: int
    network: NetworkConfig
    probe: NDArray[np.complex64]
    record: RunRecord | None

    @property
    def evaluation(self) -> EvaluationConfig:
        """How its run stitched; the defaults where that is not known."""
        settings = self.record.config.get("evaluation") if self.record else None
        return EvaluationConfig.model_validate(settings or {})

    def sha256(self) -> str:
        """Return the SHA-256 (hex) of the file."""
        return file_sha256(self.path)

    def origin(self) -> str:
        """Return in words what it was trained on."""
        if self.record is None:
            return "a training whose record is not beside the file"
        files = ", ".join((self.record.train_data, *self.record.further_train_data))
        return f"{self.record.n_train} patterns of {files}"


def find_model(place: str | Path, model: str = "") -> ModelFile:
    """Find and describe the network of a run.

    Parameters
    ----------
    place : path
        A run folder, the folder of a model in it, or a `.keras` file.
    model : str
        ``pinn`` or ``baseline``; of a run with both, PtychoPINN is taken by default.

    Returns
    -------
    ModelFile

    Raises
    ------
    InputError
        If there is no trained network, its run is not complete, or a newer version wrote it.
    """
    place = Path(place)
    if model and model not in NETWORKS:
        raise InputError(Problem("--model", "", f"'{model}'", f"one of {', '.join(NETWORKS)}", "Choose one of these."))
    if (place / MANIFEST).is_file():
        raise InputError(_study_problem(place))
    if place.is_dir() and not (place / MODEL_FILE).is_file():
        _refuse_unfinished(place)
        there = [name for name in NETWORKS if (place / f"{name}_run" / MODEL_FILE).is_file()]
        chosen = model or next(iter(there), "")
        if chosen not in there:
            found = f"networks {', '.join(there)}" if there else "no trained network"
            raise InputError(
                Problem(str(place), chosen, found, f"{chosen or 'pinn or baseline'}_run/{MODEL_FILE}", FIX)
            )
        place = place / f"{chosen}_run"
    path = place / MODEL_FILE if place.is_dir() else place
    if path.parent.name.endswith("_run"):
        _refuse_unfinished(path.parent.parent)
    return _described(path, model)


def _study_problem(folder: Path) -> Problem:
    """Say which runs of a study have networks."""
    states = [(run, run_status(run).state) for run in read_manifest(folder).runs(folder) if run.key.is_trained]
    usable = [run.folder.relative_to(folder).as_posix() for run, state in states if state is State.COMPLETE]
    found = f"a study; {len(usable)} of {len(states)} runs are complete"
    running = [run.folder.relative_to(folder).as_posix() for run, state in states if state is State.RUNNING]
    found += f", {', '.join(running)} in progress" if running else ""
    fix = f"Give one of {', '.join(usable[:6])} in this folder." if usable else "Wait for a run of it."
    return Problem(str(folder), "", found, "one run, whose network is applied", fix)


def _refuse_unfinished(folder: Path) -> None:
    """Refuse a run folder that is being computed, or that no run has completed.

    A model folder that belongs to no run passes.
    """
    if locks.is_locked(folder):
        fix = "Wait for it, or give a run that is complete; `ptycho-study status` lists them."
        raise InputError(Problem(str(folder), "", "a run in progress", "a complete run", fix))
    if not (folder / locks.EXECUTION).is_dir():
        return
    try:
        complete = read_record(folder) is not None
        found = "a run that is not complete"
    except CorruptRecordError as error:
        complete, found = False, _record_fault(folder, error)
    if not complete:
        fix = "Finish it: `ptycho-study run` repeats nothing complete."
        raise InputError(Problem(str(folder), RECORD, found, "a complete run of this version", fix))


def _record_fault(folder: Path, error: CorruptRecordError) -> str:
    try:
        written = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("versions", {}).get("ptycho_lib", "")
    except (OSError, ValueError, AttributeError):
        written = ""
    return f"{error}{f' (written by ptycho_lib {written})' if written else ''}"


def _described(path: Path, model: str) -> ModelFile:
    """Read a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("config.json"))
            weights = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(weights) as stored:
            parts = np.asarray(stored[PROBE], np.float32)
        config = content["config"]
        name, settings, size = content["registered_name"], config["settings"], int(config["patch_size"])
    except FileNotFoundError:
        raise InputError(Problem(str(path), "", "no such file", "a trained network", FIX)) from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        found = f"no network of this library ({type(error).__name__}: {error})"
        raise InputError(Problem(str(path), "", found, f"a {MODEL_FILE} that a run wrote", FIX)) from None
    kind = CLASSES.get(name, "")
    if not kind or (model and model != kind):
        found = f"the network {name}"
        raise InputError(Problem(str(path), "class", found, model or "PtychoPINN or the baseline", FIX))
    record = None
    run = path.parent.parent
    if path.parent.name == f"{kind}_run" and (run / RECORD).is_file():
        record = read_record(run)
    modes = np.ascontiguousarray(parts[..., 0] + 1j * parts[..., 1], np.complex64)
    return ModelFile(path.resolve(), kind, size, _settings(path, settings), modes, record)


def _settings(path: Path, settings: dict[str, Any]) -> NetworkConfig:
    try:
        return NetworkConfig.model_validate(with_names_of_today({"network": settings})["network"])
    except ValidationError as error:
        names = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        found = f"settings that this version does not know: {names}"
        fix = "Update ptycho_lib to the version that trained it, or newer."
        raise InputError(Problem(str(path), "network", found, "a network of this version or older", fix)) from None
