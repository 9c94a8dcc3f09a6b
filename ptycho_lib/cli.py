"""The `ptycho-study` command.

Each command imports what it needs when it is called: help must not wait for numpy or TensorFlow.
Exit codes: 0 success, 1 a run failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ptycho_lib
from ptycho_lib import cli_data
from ptycho_lib.errors import Fault, InputError

if TYPE_CHECKING:
    from ptycho_lib.config import StudyConfig
    from ptycho_lib.study.manifest import PlannedRun
    from ptycho_lib.study.plan import StudyPlan
    from ptycho_lib.study.runner import StudyOutcome

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

CLUSTERS = ("local", "slurm", "pbs", "sge", "lsf", "oar", "htcondor")


class StudyGroup(click.Group):
    """Commands that tell bad input in plain paragraphs and end with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no traceback for what the user can mend."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(str(error), err=True)
            ctx.exit(BAD_INPUT)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output went away; nothing is left to be said
            ctx.exit(FAILED)


@click.group(
    cls=StudyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(ptycho_lib.__version__)
def main() -> None:
    """Generalization studies in ptychography: how many patterns a network needs."""


main.add_command(cli_data.check)
main.add_command(cli_data.prepare)
main.add_command(cli_data.simulate)


def _file(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.argument(name, type=click.Path(path_type=Path))


def study_input(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments that say which study it is."""
    for decorate in reversed(
        (
            _file("train_file"),
            _file("test_file"),
            _file("out_dir"),
            click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings."),
            click.option("--n-train-sizes", metavar='"N …"', help='Training sizes, as in "32 64 128".'),
            click.option(
                "--n-test-images", type=int, help="Test patterns.  [default: 500, or all there are]"
            ),
            click.option("--trials", type=int, help="Repetitions of each size."),
            click.option("--arms", metavar='"ARM …"', help='Models to train, as in "pinn baseline".'),
            click.option("--name", help="Short name of the study, for titles."),
            click.option(
                "--allow-leakage",
                is_flag=True,
                default=None,
                help="Run although the test data are known from training; every output says so.",
            ),
            click.option(
                "--template", type=click.Path(path_type=Path), help="Another notebook for the runs."
            ),
            click.option(
                "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time."
            ),
        )
    ):
        command = decorate(command)
    return command


@main.command()
@study_input
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Limit of one run.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.  [default: cores / jobs]")
@click.option("--keep-stale", is_flag=True, help="Keep complete runs of another configuration, data or code.")
@click.option("--no-report", is_flag=True, help="Stop before the summary notebook and the report.")
@click.option("--scheduler", metavar="ADDRESS", help="Send the runs to this Dask scheduler.")
@click.option("--cluster", type=click.Choice(CLUSTERS), help="Start Dask workers on this batch system.")
@click.option("--cluster-config", type=click.Path(path_type=Path), help="YAML of dask-jobqueue options.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="With --cluster.")
def run(
    train_file: Path,
    test_file: Path,
    out_dir: Path,
    *,
    jobs: int,
    timeout: float | None,
    threads: int | None,
    keep_stale: bool,
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

    from ptycho_lib.study.board import watcher_for
    from ptycho_lib.study.runner import run_study

    plan = _plan(train_file, test_file, out_dir, settings)
    _announce(plan)
    with ExitStack() as stack:
        launch = None
        if scheduler or cluster:
            connect, cluster_launch = _dask()
            client = stack.enter_context(connect(scheduler, cluster, cluster_config, workers=workers))
            click.echo(f"  on Dask, dashboard {client.dashboard_link}")
            launch, jobs = cluster_launch(plan, client, timeout_s=timeout, threads=threads), len(plan.runs)
        watcher = stack.enter_context(watcher_for(Console()))
        outcome = run_study(
            plan,
            watcher,
            jobs=jobs,
            timeout_s=timeout,
            threads=threads,
            rerun_stale=not keep_stale,
            launch=launch,
        )
    code = _conclude(outcome)
    if outcome.interrupted:
        sys.exit(INTERRUPTED)
    if any(result.succeeded for result in outcome.outcomes):
        _join_runs(plan.out_dir)
        code = code if no_report else _report(plan.out_dir) or code
    sys.exit(code)


@main.command()
@study_input
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.  [default: cores / jobs]")
@click.option("--calibration/--no-calibration", default=True, help="Predict time, memory and disk.")
@click.option("--commands", is_flag=True, help="Prepare the folders and print one command a run, no more.")
def plan(
    train_file: Path,
    test_file: Path,
    out_dir: Path,
    *,
    jobs: int,
    threads: int | None,
    calibration: bool,
    commands: bool,
    **settings: Any,
) -> None:
    """Show what a study would run, what it costs, and the exact papermill command of each run.

    With --commands: one line a run that is not complete, for job arrays and `xargs -P`.
    """
    import shlex

    from ptycho_lib.study.status import State, run_status

    study = _plan(train_file, test_file, out_dir, settings)
    states = [run_status(planned) for planned in study.runs]
    ahead = [run for run, found in zip(study.runs, states, strict=True) if found.state != State.COMPLETE]
    if commands:
        _print_commands(study, ahead, jobs, threads)
        return
    _announce(study)
    for planned, found in zip(study.runs, states, strict=True):
        note = f" ({found.detail})" if found.detail else ""
        click.echo(f"\n{planned.name}: {found.state}{note}\n  {shlex.join(study.command(planned))}")
    if calibration and ahead:
        _predict(study, ahead, jobs, threads)


@main.command()
@_file("out_dir")
@click.option("--watch", is_flag=True, help="Look again every two seconds until no run is in progress.")
def status(out_dir: Path, watch: bool) -> None:
    """List the runs of a study: complete, running, failed, stale or missing."""
    from rich.console import Console

    from ptycho_lib.study.status_table import print_status, watch_status

    if watch:
        watch_status(out_dir, Console())
    else:
        print_status(out_dir, Console())


@main.command()
@_file("out_dir")
@click.option("--output-plot", type=click.Path(path_type=Path), help="Write the figure to this file, too.")
def aggregate(out_dir: Path, output_plot: Path | None) -> None:
    """Join all complete runs into tables, with their statistics, and draw the study's figure."""
    from ptycho_lib.report.publication import write_study_figure

    _join_runs(out_dir)
    for path in write_study_figure(out_dir, output_plot):
        click.echo(str(path))


@main.command()
@_file("out_dir")
def report(out_dir: Path) -> None:
    """Execute the summary notebook and write report.html, one self-contained file."""
    _join_runs(out_dir)
    sys.exit(_report(out_dir))


@main.command()
@_file("out_dir")
def verify(out_dir: Path) -> None:
    """Recompute metrics and tables, and compare them with what is published.

    Exit code 1 if anything differs; each mismatch is named.
    """
    from ptycho_lib.evaluation.comparison import compare_objects
    from ptycho_lib.study.verify import verify_study

    result = verify_study(out_dir, compare_objects)
    for mismatch in result.mismatches:
        click.echo(str(mismatch), err=True)
    for remark in result.unverified:
        click.echo(f"not verified: {remark}", err=True)
    click.echo(str(result))
    sys.exit(0 if result.ok else FAILED)


def _plan(train_file: Path, test_file: Path, out_dir: Path, settings: dict[str, Any]) -> StudyPlan:
    from ptycho_lib.study.plan import plan_study

    template = settings.pop("template")
    return plan_study(train_file, test_file, out_dir, _config(**settings), template=template)


def _config(
    config: Path | None,
    n_train_sizes: str | None,
    n_test_images: int | None,
    trials: int | None,
    arms: str | None,
    name: str | None,
    allow_leakage: bool | None,
) -> StudyConfig:
    """Read the configuration; options of the command line replace its values."""
    from ptycho_lib.config import load_config

    words = (n_train_sizes or "").replace(",", " ").split()
    sizes = [int(word) if word.lstrip("-").isdigit() else word for word in words]
    return load_config(
        config,
        n_train_sizes=sizes if n_train_sizes is not None else None,
        n_test_images=n_test_images,
        trials=trials,
        arms=arms.replace(",", " ").split() if arms is not None else None,
        name=name,
        allow_leakage=allow_leakage,
    )


def _announce(plan: StudyPlan) -> None:
    """Say what the study consists of and which test count holds."""
    config, manifest = plan.manifest.config, plan.manifest
    sizes = ", ".join(map(str, config.n_train_sizes))
    origin = "as asked for" if config.n_test_images else "the default: 500, or all there are"
    click.echo(f"Study '{config.name}' in {plan.out_dir}: {len(plan.runs)} runs")
    click.echo(f"  training sizes {sizes} of {manifest.train.n_patterns} patterns; trials {config.trials}")
    click.echo(f"  test patterns {manifest.n_test} of {manifest.test.n_patterns} ({origin})")
    click.echo(f"  models {', '.join(config.arms)}")
    for warning in filter(None, (manifest.leakage, *manifest.warnings)):
        click.secho(f"  Warning: {warning}", fg="yellow")


def _print_commands(plan: StudyPlan, ahead: list[PlannedRun], jobs: int, threads: int | None) -> None:
    """Write study.yaml and the runs' parameter files, and print what executes each run."""
    from ptycho_lib.study.plan import prepare_run
    from ptycho_lib.study.process import Resources
    from ptycho_lib.study.runner import available_cores, claim

    claim(plan)
    resources = Resources(threads or max(1, available_cores() // jobs))
    for run in ahead:
        prepare_run(plan, run)
        click.echo(plan.shell_line(run, resources))


def _predict(plan: StudyPlan, ahead: list[PlannedRun], jobs: int, threads: int | None) -> None:
    """Calibrate, print the schedule, refuse what cannot fit."""
    from rich.console import Console

    from ptycho_lib.study import cost
    from ptycho_lib.study.board import watcher_for

    click.echo("\nCalibration:")
    with watcher_for(Console()) as watcher:
        samples = cost.calibrate(plan, watcher, jobs=jobs, threads=threads)
    costs = cost.predict(plan, samples)
    click.echo("\n" + "\n".join(cost.table(cost.schedule(ahead, costs, jobs), costs)))
    cost.require_room(plan, ahead, costs, jobs)


def _conclude(outcome: StudyOutcome) -> int:
    """Say which runs failed and why; return the exit code."""
    complete = len(outcome.outcomes) - len(outcome.failures)
    click.echo(f"{complete} of {len(outcome.outcomes)} runs complete")
    for failure in outcome.failures:
        click.echo(f"{failure.run.name}: {failure.reason}  [{failure.run.folder}]", err=True)
    if outcome.interrupted:
        click.echo("Stopped; the same command continues the study.", err=True)
    return FAILED if outcome.failures else 0


def _dask() -> tuple[Any, Any]:
    """Import what needs the extra `cluster`."""
    try:
        from ptycho_lib.study.cluster import cluster_launch, connect
    except ImportError as error:
        mend = "Install it with `pip install 'ptycho-lib[cluster]'`."
        raise InputError(Fault("--scheduler/--cluster", "", str(error), "Dask", mend)) from None
    return connect, cluster_launch


def _join_runs(out_dir: Path) -> None:
    """Write aggregated_metrics.csv and the statistics of the trials; say what they hold."""
    from ptycho_lib.study.evidence import AGGREGATED, SUMMARY, write_evidence

    evidence = write_evidence(out_dir)
    table = evidence.table
    click.echo(f"{out_dir / AGGREGATED}: {len(table)} values of {table['run'].nunique()} runs")
    click.echo(f"{out_dir / SUMMARY}: {len(evidence.summary)} means")
    click.echo(evidence.headline())


def _report(out_dir: Path) -> int:
    """Execute the summary notebook and write the report; return the exit code."""
    from ptycho_lib.report.html import write_report
    from ptycho_lib.study.summary import SUMMARY, execute_summary

    ending = execute_summary(out_dir)
    if not ending.succeeded:
        click.echo(f"{out_dir / SUMMARY} failed: {ending.reason}", err=True)
        return FAILED
    click.echo(str(out_dir / SUMMARY))
    click.echo(str(write_report(out_dir)))
    return 0


if __name__ == "__main__":
    main()
