"""What a study will run: checked against the data, with the exact papermill command of each run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from papermill import inspect_notebook

from ptycho_lib.config import MLFLOW_STORE, StudyConfig, load_config
from ptycho_lib.data.check.pair import check_pair
from ptycho_lib.data.conditions import refuse_conditions
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.leakage import refuse_leakage
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import require_inside, write_atomically
from ptycho_lib.optional_dependencies import extra_problem
from ptycho_lib.study.execution.kernel_environment import Resources, environment
from ptycho_lib.study.folder import provenance
from ptycho_lib.study.folder.code_fingerprint import code_fingerprints
from ptycho_lib.study.folder.locks import EXECUTION
from ptycho_lib.study.folder.manifest import (
    MANIFEST,
    DataFile,
    PlannedRun,
    StudyManifest,
    condition_files,
    now_utc,
    read_manifest,
)
from ptycho_lib.study.folder.progress import FAILURE
from ptycho_lib.study.folder.record import RECORD
from ptycho_lib.study.folder.run_key import TRAIN_AND_COMPARE
from ptycho_lib.study.folder.status import State, content_status
from ptycho_lib.study.folder.templates import execution_name, template_path
from ptycho_lib.study.selection import (
    Files,
    check_counts,
    default_n_test,
    listed_files,
    load_scans,
    test_subset,
    training_warning,
)

PARAMETERS = f"{EXECUTION}/parameters.yaml"
CONFIG = f"{EXECUTION}/config.yaml"
TEMPLATE_PARAMETERS = ("train_data", "test_data", "output_dir", "n_train", "n_test", "trial", "config")
KERNEL = "python3"
START_TIMEOUT_S = 120


@dataclass(frozen=True)
class StudyPlan:
    """A study that can start: everything it needs is there."""

    out_dir: Path
    manifest: StudyManifest
    runs: tuple[PlannedRun, ...]
    template: Path
    kernel: str = KERNEL
    start_timeout_s: int = START_TIMEOUT_S

    def command(self, run: PlannedRun) -> list[str]:
        """Return the exact papermill command of a run; its notebook gets the final name on success."""
        return self._command(run, execution_name(run.key.template, "partial"))

    def template_of(self, run: PlannedRun) -> Path:
        """Return the notebook that computes a run: the plan's own where networks are trained."""
        return self.template if run.key.is_trained else template_path(run.key.template)

    def shell_line(self, run: PlannedRun, resources: Resources, *, prepared: bool = True) -> str:
        """Return one line that executes a run from a shell, `xargs` or a job array.

        Parameters
        ----------
        run : PlannedRun
        resources : Resources
            Threads and GPU.
        prepared : bool
            Whether `prepare_run` has written the parameter file. Otherwise the line holds all settings and
            creates the folder itself.
        """
        variables = environment(resources, self.template_of(run)).items()
        settings = [f"{name}={value}" for name, value in variables]
        if prepared:
            return shlex.join(["env", *settings, *self._command(run, run.key.template)])
        differing = run.config.model_dump(mode="json", exclude_defaults=True)
        parameters = run.parameters(json.dumps(differing) if differing else "")
        command = papermill_command(
            self.template_of(run),
            run.folder / run.key.template,
            json.dumps(parameters),
            self.kernel,
            self.start_timeout_s,
        )
        return f"mkdir -p {shlex.quote(str(run.folder))} && {shlex.join(['env', *settings, *command])}"

    def _command(self, run: PlannedRun, notebook: str) -> list[str]:
        template, parameters = self.template_of(run), run.folder / PARAMETERS
        return papermill_command(template, run.folder / notebook, parameters, self.kernel, self.start_timeout_s)


def plan_study(
    train_path: Files,
    test_path: str | Path,
    out_dir: str | Path,
    config: StudyConfig | None = None,
    *,
    template: Path | None = None,
    kernel: str = KERNEL,
    start_timeout_s: int = START_TIMEOUT_S,
) -> StudyPlan:
    """Check data, configuration and folder, and list the runs. Nothing is written.

    Parameters
    ----------
    train_path : path, or several
        Training files of the dataset contract; empty takes those of the configuration.
    test_path : path
        Test file.
    out_dir : path
        The study folder; need not exist.
    config : StudyConfig, optional
        Sizes, trials and all other settings; the defaults if left out.
    template : Path, optional
        Notebook to execute for each run; the shipped one if left out.
    kernel : str
        Name of the Jupyter kernel.
    start_timeout_s : int
        Seconds that the kernel may take to start.

    Raises
    ------
    InputError
        With every problem: of either file, of the sizes, of the folder, of the template's parameters; or if
        the test data are known from training.
    """
    config = (config or load_config()).anchored(Path())  # a kernel has another working directory
    out_dir = Path(out_dir).resolve()
    template = (template or template_path(TRAIN_AND_COMPARE)).resolve()
    problems = [*_folder_problems(out_dir), *_template_problems(template)]
    needed = ["networks"] if set(config.models) - {"iterative"} else []
    needed += ["mlflow"] if config.training.tracker == "mlflow" else []
    needed += ["iterative"] if any("iterative" in model for model in config.models) else []
    missing = [extra_problem(extra, "models") for extra in needed]
    problems += [problem for problem in missing if problem]
    if config.training.tracker == "mlflow" and not os.environ.get(MLFLOW_STORE):
        fix = f"Set it, such as `export {MLFLOW_STORE}=http://localhost:5000`, or leave the tracker out."
        problems.append(Problem(MLFLOW_STORE, "training.tracker", "no store", "the address of an MLflow server", fix))
    given = listed_files(train_path)
    files, file_problems = given or listed_files(config.train_data), _file_problems(given, config)
    problems += file_problems
    loaded: list[tuple[PtychoDataset, ...]] = []
    for load in (lambda: load_scans(files, config), lambda: (load_dataset(test_path),)):
        try:
            loaded.append(load())
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    scans, (test,) = loaded
    n_test = default_n_test(config, len(test))
    check_counts(files, sum(map(len, scans)), config.n_train_sizes, test_path, len(test), n_test)
    leakage = refuse_pair(scans, test, allow_leakage=config.allow_leakage)
    refuse_conditions(test.select(test_subset(test, config, n_test)), config)
    described = [
        DataFile.describe(file, scan.fingerprint(), len(scan), out_dir) for file, scan in zip(files, scans, strict=True)
    ]
    manifest = StudyManifest(
        created=_created(out_dir),
        train=described[0],
        further_train=tuple(described[1:]),
        test=DataFile.describe(Path(test_path), test.fingerprint(), len(test), out_dir),
        n_test=n_test,
        leakage=leakage,
        warnings=tuple(filter(None, (training_warning(scans, config, n) for n in config.n_train_sizes))),
        conditions=condition_files(config),
        template=str(template),
        versions=provenance.library_versions(),
        commit=provenance.git_commit(),
        config=config,
        code=code_fingerprints(template),
    )
    runs = tuple(manifest.runs(out_dir))
    for run in runs:
        require_inside(run.folder / EXECUTION, out_dir)
    return StudyPlan(out_dir, manifest, runs, template, kernel, start_timeout_s)


def refuse_pair(scans: Sequence[PtychoDataset], test: PtychoDataset, *, allow_leakage: bool) -> str:
    """Refuse files that do not belong together; return what leakage was allowed, or an empty text.

    Parameters
    ----------
    scans : sequence of PtychoDataset
        The training scans.
    test : PtychoDataset
    allow_leakage : bool

    Raises
    ------
    InputError
        With everything that `ptycho-study check TRAIN TEST` calls an error, for each training scan.
    """
    problems = [
        Problem(f"{train.source} and {test.source}", found.code, found.message, "files that belong together", found.fix)
        for train in scans
        for found in check_pair(train, test)
        if found.severity == "error" and not found.code.startswith("pair-leak")
    ]
    if problems:
        raise InputError(problems)
    return refuse_leakage(scans, test, allow=allow_leakage)


def prepare_run(plan: StudyPlan, run: PlannedRun) -> None:
    """Create a run's folder with its parameter file.

    From here on an earlier record no longer holds, unless it is that of a run with fewer models or conditions,
    whose results the notebook keeps.

    Parameters
    ----------
    plan : StudyPlan
    run : PlannedRun
        Of the plan.

    Raises
    ------
    InputError
        If a link leads out of the study folder.
    """
    execution = require_inside(run.folder / EXECUTION, plan.out_dir)
    execution.mkdir(parents=True, exist_ok=True)
    grows = content_status(run).state is State.PARTIAL
    for name in (FAILURE, run.key.template, *(() if grows else (RECORD,))):
        (run.folder / name).unlink(missing_ok=True)
    write_atomically(run.folder / CONFIG, run.config.to_yaml())
    parameters = run.parameters(str(run.folder / CONFIG))
    write_atomically(run.folder / PARAMETERS, yaml.safe_dump(parameters, sort_keys=False))


def papermill_command(
    template: Path,
    notebook: Path,
    parameters: Path | str,
    kernel: str = KERNEL,
    start_timeout_s: int = START_TIMEOUT_S,
) -> list[str]:
    """Return the command that executes `template` to `notebook`, by this very interpreter.

    Parameters
    ----------
    template, notebook : Path
    parameters : Path or str
        A YAML file, or YAML itself.
    kernel : str
        Name of the Jupyter kernel.
    start_timeout_s : int
        Seconds that it may take to start.
    """
    return [
        sys.executable,
        *("-m", "papermill"),
        _literal(template),
        _literal(notebook),
        "--parameters_yaml" if isinstance(parameters, str) else "--parameters_file",
        str(parameters),
        *("--kernel", kernel),
        *("--start-timeout", str(start_timeout_s)),
        *("--autosave-cell-every", "30"),
        "--log-output",
        "--no-progress-bar",
    ]


def free_disk_bytes(folder: Path) -> int:
    """Return the free space on the disk that holds `folder`, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def _literal(path: Path) -> str:
    """Keep papermill from reading `{name}` in a path as a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _file_problems(given: tuple[Path, ...], config: StudyConfig) -> list[Problem]:
    """Return what is wrong with the places that training files are named in."""
    how = "Name them before the test file, or in the configuration: `train_data: [a.npz, b.npz]`."
    if not given and not config.train_data:
        return [Problem("command line", "train_data", "no training file", "at least one", how)]
    if given and config.train_data and given != listed_files(config.train_data):
        found = f"{', '.join(map(str, given))} beside train_data {', '.join(config.train_data)} in the configuration"
        return [Problem("command line", "train_data", found, "training files in one place", how)]
    return []


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _folder_problems(out_dir: Path) -> list[Problem]:
    place = _existing(out_dir)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return []
    found = f"{place}, which is {'not writable' if place.is_dir() else 'a file'}"
    fix = "Choose a folder that you may write to."
    return [Problem(str(out_dir), "", found, "a writable output folder", fix)]


def _template_problems(template: Path) -> list[Problem]:
    if not template.is_file():
        fix = "Give the path of a notebook with a cell tagged 'parameters'."
        return [Problem(str(template), "", "no such file", "a template notebook", fix)]
    declared = set(inspect_notebook(_literal(template)))
    missing = [name for name in TEMPLATE_PARAMETERS if name not in declared]
    if not missing:
        return []
    found = f"a 'parameters' cell without {', '.join(missing)}"
    fix = "Declare each in the cell tagged 'parameters', one a line, with a comment free of '='."
    return [Problem(str(template), "parameters", found, ", ".join(TEMPLATE_PARAMETERS), fix)]


def _created(out_dir: Path) -> str:
    """Keep the time of the first start when a study is started again."""
    if not (out_dir / MANIFEST).is_file():
        return now_utc()
    try:
        return read_manifest(out_dir).created
    except InputError:
        return now_utc()
