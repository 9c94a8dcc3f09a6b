"""Many runs: planning, execution through papermill, the run folder, aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptycho_lib.config import StudyConfig
    from ptycho_lib.study.execution.runner import StudyOutcome


def run(
    train_path: str | Path | Sequence[str | Path],
    test_path: str | Path,
    out_dir: str | Path,
    config: StudyConfig | None = None,
    *,
    jobs: int = 1,
    timeout_s: float | None = None,
    template: Path | None = None,
) -> StudyOutcome:
    """Run a study from a notebook or a script, with the live table of `ptycho-study run`.

    Parameters
    ----------
    train_path : path, or several
        Training files of the dataset contract.
    test_path : path
        Test file.
    out_dir : path
        The study folder; complete runs that it holds are not repeated.
    config : StudyConfig, optional
        From `load_config`; the defaults if left out.
    jobs : int
        Runs at a time.
    timeout_s : float, optional
        Wall-clock limit of one run.
    template : Path, optional
        Another notebook to execute for each run.

    Returns
    -------
    StudyOutcome
        What became of each run; `failures` is empty if all are complete.

    Raises
    ------
    InputError
        With every problem of the input, before anything starts.
    """
    from rich.console import Console  # noqa: PLC0415 - the parts of this subpackage must import without papermill

    from ptycho_lib.study.execution.display import watcher_for  # noqa: PLC0415
    from ptycho_lib.study.execution.plan import plan_study  # noqa: PLC0415
    from ptycho_lib.study.execution.runner import run_study  # noqa: PLC0415

    plan = plan_study(train_path, test_path, out_dir, config, template=template)
    with watcher_for(Console()) as watcher:
        return run_study(plan, watcher, jobs=jobs, timeout_s=timeout_s)
