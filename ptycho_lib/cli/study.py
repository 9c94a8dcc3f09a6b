"""The commands that plan and run a study.

Each imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ptycho_lib.cli.results import FAILED, execute_report, file_argument, write_tables
from ptycho_lib.errors import InputError, Problem

if TYPE_CHECKING:
    from ptycho_lib.config import StudyConfig
    from ptycho_lib.study.execution.plan import StudyPlan
    from ptycho_lib.study.execution.runner import StudyOutcome
    from ptycho_lib.study.folder.manifest import PlannedRun

INTERRUPTED = 130
CLUSTERS = ("local", "slurm", "pbs", "sge", "lsf", "oar", "htcondor")


class DividedFiles(click.Command):
    """A command that allows `--` between its files: options may follow it all the same."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments without the divider."""
        return super().parse_args(ctx, [word for word in args if word != "--"])


def study_input(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments that say which study it is."""
    for decorate in reversed(
        (
            click.argument("train_files", nargs=-1, type=click.Path(path_type=Path)),
            file_argument("test_file"),
            file_argument("out_dir"),
            click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings."),
            click.option("--n-train-sizes", metavar='"INTEGER …"', help='Training sizes, as in "32 64 128".'),
            click.option("--n-test-images", type=int, help="Test patterns.  [default: 500, or all there are]"),
            click.option("--trials", type=int, help="Repetitions of each size."),
            click.option("--models", metavar='"MODEL …"', help='Models to compare, as in "pinn baseline iterative".'),
            click.option("--name", help="Short name of the study, for titles."),
            click.option(
                "--allow-leakage",
                is_flag=True,
                default=None,
                help="Run although the test data are known from training; every output says so.",
            ),
            click.option("--template", type=click.Path(path_type=Path), help="Another notebook for the runs."),
            click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time."),
        )
    ):
        command = decorate(command)
    return command


@click.command(cls=DividedFiles)
@study_input
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Limit of one run.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.  [default: all cores, up to 8]")
@click.option("--replace-stale", "stale", flag_value="replace", help="Compute runs of other settings or data anew.")
@click.option("--keep-stale", "stale", flag_value="keep", help="Leave runs of other settings or data as they are.")
@click.option("--no-report", is_flag=True, help="Stop before the summary notebook and the report.")
@click.option("--scheduler", metavar="ADDRESS", help="Send the runs to this Dask scheduler.")
@click.option("--cluster", type=click.Choice(CLUSTERS), help="Start Dask workers on this batch system.")
@click.option("--cluster-config", type=click.Path(path_type=Path), help="YAML of dask-jobqueue options.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="With --cluster.")
def run(
    train_files: tuple[Path, ...],
    test_file: Path,
    out_dir: Path,
    *,
    jobs: int,
    timeout: float | None,
    threads: int | None,
    stale: Literal["replace", "keep"] | None,
    no_report: bool,
    scheduler: str | None,
    cluster: str | None,
    cluster_config: Path | None,
    workers: int,
    **settings: Any,
) -> None:
    """Run a study: train and evaluate at each size, then summarise. Complete runs are not repeated."""
    from contextlib import ExitStack

    from rich.console import Console

    from ptycho_lib.study.execution.display import watcher_for
    from ptycho_lib.study.execution.runner import run_study

    plan = _plan(train_files, test_file, out_dir, settings)
    _announce(plan)
    with ExitStack() as stack:
        launch = None
        if scheduler or cluster:
            connect, cluster_launch = _dask()
            client = stack.enter_context(connect(scheduler, cluster, cluster_config, workers=workers))
            click.echo(f"  on Dask, dashboard {client.dashboard_link}")
            launch, jobs = cluster_launch(plan, client, timeout_s=timeout, threads=threads), len(plan.runs)
        else:
            click.echo(_sharing(jobs, threads))
        watcher = stack.enter_context(watcher_for(Console()))
        outcome = run_study(
            plan,
            watcher,
            jobs=jobs,
            timeout_s=timeout,
            threads=threads,
            stale=stale or "refuse",
            launch=launch,
        )
    code = _conclude(outcome)
    if outcome.interrupted:
        sys.exit(INTERRUPTED)
    if any(result.succeeded and not result.stale for result in outcome.outcomes):
        write_tables(plan.out_dir)
        code = code if no_report else execute_report(plan.out_dir) or code
    sys.exit(code)


@click.command(cls=DividedFiles)
@study_input
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.  [default: all cores, up to 8]")
@click.option("--estimate", is_flag=True, help="Measure time, memory and disk by short trainings on this machine.")
@click.option("--commands", is_flag=True, help="Prepare the folders and print one command a run, no more.")
@click.option("--replace-stale", is_flag=True, help="With --commands: compute stale runs anew.")
def plan(
    train_files: tuple[Path, ...],
    test_file: Path,
    out_dir: Path,
    *,
    jobs: int,
    threads: int | None,
    estimate: bool,
    commands: bool,
    replace_stale: bool,
    **settings: Any,
) -> None:
    """Show what a study would run, what it costs, and the command of each run.

    Costs come from runs of this study on this machine, or are measured with --estimate. With --commands: one line
    for each run neither complete nor in progress, for job arrays and `xargs -P`.
    """
    from ptycho_lib.study.execution.jobs import default_threads
    from ptycho_lib.study.execution.kernel_environment import Resources
    from ptycho_lib.study.execution.runner import refuse_stale
    from ptycho_lib.study.folder.status import State, run_status

    study = _plan(train_files, test_file, out_dir, settings)
    states = [(planned, run_status(planned)) for planned in study.runs]
    ahead = [(planned, found) for planned, found in states if found.state is not State.COMPLETE]
    if commands:
        if not replace_stale:
            refuse_stale(study)
        idle = [planned for planned, found in ahead if found.state is not State.RUNNING]
        if len(idle) < len(ahead):
            click.echo(f"{len(ahead) - len(idle)} runs are in progress and left out", err=True)
        _print_commands(study, idle, threads)
        return
    _announce(study)
    resources = Resources(threads or default_threads())
    for planned, found in states:
        note = f" ({found.detail})" if found.detail else ""
        click.echo(f"\n{planned.name}: {found.state}{note}")
        if found.state in (State.MISSING, State.PARTIAL, State.FAILED, State.INTERRUPTED):
            click.echo(study.shell_line(planned, resources, prepared=False))
    if any(found.state is State.STALE for _, found in states):
        click.echo("\n`run` refuses to replace stale runs without --replace-stale.")
    if ahead:
        _predict(study, [planned for planned, _ in ahead], jobs, threads, estimate=estimate)


def _plan(train_files: tuple[Path, ...], test_file: Path, out_dir: Path, settings: dict[str, Any]) -> StudyPlan:
    from ptycho_lib.study.execution.plan import plan_study

    template = settings.pop("template")
    return plan_study(train_files, test_file, out_dir, _config(**settings), template=template)


def _config(
    config: Path | None,
    n_train_sizes: str | None,
    n_test_images: int | None,
    trials: int | None,
    models: str | None,
    name: str | None,
    allow_leakage: bool | None,
) -> StudyConfig:
    """Read the configuration; options of the command line replace its values."""
    from ptycho_lib.config import load_config

    words = (n_train_sizes or "").replace(",", " ").split()
    sizes: list[int | str] = [int(word) if word.lstrip("-").isdigit() else word for word in words]
    if all(isinstance(size, int) for size in sizes):
        sizes = sorted(set(sizes), key=int)
    return load_config(
        config,
        n_train_sizes=sizes if n_train_sizes is not None else None,
        n_test_images=n_test_images,
        trials=trials,
        models=models.replace(",", " ").split() if models is not None else None,
        name=name,
        allow_leakage=allow_leakage,
    )


def _announce(plan: StudyPlan) -> None:
    """Say what the study consists of and which test count holds."""
    config, manifest = plan.manifest.config, plan.manifest
    sizes = ", ".join(map(str, config.n_train_sizes))
    origin = "as asked for" if config.n_test_images else "the default: 500, or all there are"
    click.echo(f"Study '{config.name}' in {plan.out_dir}: {len(plan.runs)} runs")
    click.echo(f"  training sizes {sizes} of {manifest.n_training_patterns} patterns; trials {config.trials}")
    click.echo(f"  test patterns {manifest.n_test} of {manifest.test.n_patterns} ({origin})")
    click.echo(f"  models {', '.join(config.models)}")
    for warning in filter(None, (manifest.leakage, *manifest.warnings)):
        click.secho(f"  Warning: {warning}", fg="yellow")


def _sharing(jobs: int, threads: int | None) -> str:
    """Return how the runs in progress share the cores of this machine."""
    from ptycho_lib.resource_usage import available_cores
    from ptycho_lib.study.execution.jobs import default_threads

    cores, threads = available_cores(), threads or default_threads()
    text = f"  runs at a time {jobs}, threads of each {threads}, cores {cores}"
    if jobs == 1 or jobs * threads <= cores:
        return text
    return f"{text}; --threads {max(1, cores // jobs)} would divide the cores, with other last digits"


def _print_commands(plan: StudyPlan, ahead: list[PlannedRun], threads: int | None) -> None:
    """Write study.yaml and the runs' parameter files, and print what executes each run."""
    from ptycho_lib.study.execution.jobs import default_threads
    from ptycho_lib.study.execution.kernel_environment import Resources
    from ptycho_lib.study.execution.plan import prepare_run
    from ptycho_lib.study.execution.runner import claim

    claim(plan)
    resources = Resources(threads or default_threads())
    for run in ahead:
        prepare_run(plan, run)
        click.echo(plan.shell_line(run, resources))


def _predict(plan: StudyPlan, ahead: list[PlannedRun], jobs: int, threads: int | None, *, estimate: bool) -> None:
    """Print the schedule as recorded runs or a calibration predict it; refuse what cannot fit."""
    from rich.console import Console

    from ptycho_lib.study.execution import forecast
    from ptycho_lib.study.execution.display import watcher_for

    if estimate:
        click.echo("\nCalibration:")
        with watcher_for(Console()) as watcher:
            samples = forecast.calibrate(plan, watcher, jobs=jobs, threads=threads)
    else:
        samples = forecast.recorded(plan)
    if missing := forecast.unknown(ahead, samples):
        click.echo(f"\nNo run on this machine shows the cost of {', '.join(missing)}; --estimate measures it.")
        return
    costs = forecast.predict(plan, samples)
    click.echo("\n" + "\n".join(forecast.table(forecast.schedule(ahead, costs, jobs), costs)))
    forecast.require_room(plan, ahead, costs, jobs)


def _conclude(outcome: StudyOutcome) -> int:
    """Say which runs failed and why; return the exit code."""
    complete = len(outcome.outcomes) - len(outcome.failures)
    click.echo(f"{complete} of {len(outcome.outcomes)} runs complete")
    for failure in outcome.failures:
        how = "interrupted" if failure.interrupted else "failed"
        click.echo(f"{failure.run.name}: {how}: {failure.reason}  [{failure.run.folder}]", err=True)
    if outcome.interrupted:
        click.echo("Stopped; the same command continues the study.", err=True)
    return FAILED if outcome.failures else 0


def _dask() -> tuple[Any, Any]:
    """Import what needs the extra `cluster`."""
    try:
        from ptycho_lib.study.execution.dask_cluster import cluster_launch, connect
    except ImportError as error:
        fix = "Install it with `pip install 'ptycho-lib[cluster]'`."
        raise InputError(Problem("--scheduler/--cluster", "", str(error), "Dask", fix)) from None
    return connect, cluster_launch
