"""The commands that put a trained network to work: reconstruct, fine-tune.

Each imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptycho_lib.cli.data import ReadCommand, given
from ptycho_lib.cli.results import FAILED

if TYPE_CHECKING:
    from ptycho_lib.application.launch import NotebookJob

INTERRUPTED = 130
PATH = click.Path(path_type=Path)
LINE_EVERY_S = 10.0


@click.command(cls=ReadCommand)
@click.argument("run_or_model", type=PATH)
@click.argument("scan", type=PATH)
@click.argument("out_dir", type=PATH, required=False)
@click.option("--model", "network", default="", help="pinn or baseline of a run folder.  [default: pinn]")
@click.option("--crop", is_flag=True, help="Cut or pad the patterns to the size of the network.")
@click.option("--watch", is_flag=True, help="SCAN is a folder in which files of a scan arrive: follow it.")
@click.option("--expected", type=click.IntRange(min=0), default=0, help="With --watch: number of patterns that end it.")
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: end after so long without a new pattern.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the process.  [default: all cores, up to 8]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier reconstruction in OUT_DIR.")
def reconstruct(
    run_or_model: Path,
    scan: Path,
    out_dir: Path | None,
    *,
    network: str,
    crop: bool,
    watch: bool,
    expected: int,
    idle: float,
    threads: int | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Reconstruct a new scan with a trained network; the scan needs no object.

    RUN_OR_MODEL is a run folder (n_train_512), a model folder in it, or a model.keras. SCAN is a file that `check`
    reads, or a folder of files that are parts of one scan. OUT_DIR receives reconstruction.npz, .png and .json and
    report.html.  [default: beside SCAN]
    """
    from ptycho_lib.application.launch import plan_reconstruction

    job = plan_reconstruction(
        run_or_model,
        scan,
        out_dir,
        network=network,
        options=given(options),
        crop=crop,
        watch=watch,
        expected=expected,
        idle_s=idle,
        overwrite=overwrite,
    )
    for note in job.notes:
        click.echo(note)
    if watch:
        click.echo("Ctrl-C ends the scan and reconstructs what has come.")
    sys.exit(conclude(job, "reconstruction", threads=threads, stop_ends=watch))


@click.command("fine-tune", cls=ReadCommand)
@click.argument("run_or_model", type=PATH)
@click.argument("scan", type=PATH)
@click.argument("out_dir", type=PATH)
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help="Gradient steps.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=5e-4,
    show_default=True,
    help="Peak of the schedule; trainings of a study have 2e-3.",
)
@click.option("--patterns", type=click.IntRange(min=0), default=0, help="Patterns to train with.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of their choice and order.")
@click.option("--model", "network", default="", help="pinn or baseline of a run folder.  [default: pinn]")
@click.option("--crop", is_flag=True, help="Cut or pad the patterns to the size of the network.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the process.  [default: all cores, up to 8]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier fine-tuning in OUT_DIR.")
def fine_tune(
    run_or_model: Path,
    scan: Path,
    out_dir: Path,
    *,
    steps: int,
    learning_rate: float,
    patterns: int,
    seed: int,
    network: str,
    crop: bool,
    threads: int | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Continue the training of a PtychoPINN with a new scan, which needs no object.

    OUT_DIR receives model.keras, which `reconstruct` takes, the reconstructions before and after, and report.html.
    """
    from ptycho_lib.application.launch import plan_fine_tuning

    job = plan_fine_tuning(
        run_or_model,
        scan,
        out_dir,
        steps=steps,
        network=network,
        options=given(options),
        overwrite=overwrite,
        crop=crop,
        learning_rate=learning_rate,
        patterns=patterns,
        seed=seed,
    )
    for note in job.notes:
        click.echo(note)
    sys.exit(conclude(job, "fine-tuning", threads=threads))


def conclude(job: NotebookJob, what: str, *, threads: int | None = None, stop_ends: bool = False) -> int:
    """Execute a job with live progress, write its report, and print what it gave; return the exit code.

    Parameters
    ----------
    job : NotebookJob
    what : str
        What it does, for messages and the title of the report.
    threads : int, optional
        Of the process.
    stop_ends : bool
        See `launch.execute`.

    Returns
    -------
    int
    """
    from ptycho_lib.application.launch import execute
    from ptycho_lib.report.output.html_report import REPORT, notebook_report

    with live_progress(what) as show:
        ending = execute(job, on_progress=show, threads=threads, stop_ends=stop_ends)
    if not ending.succeeded:
        click.echo(f"{what} {'interrupted' if ending.interrupted else 'failed'}: {ending.reason}", err=True)
        return INTERRUPTED if ending.interrupted else FAILED
    if job.record.endswith(".json"):
        _print_facts(job)
    click.echo(str(notebook_report(job.notebook, job.folder / REPORT, f"{what.capitalize()} {job.folder.name}")))
    return 0


def _print_facts(job: NotebookJob) -> None:
    import json

    facts = json.loads((job.folder / job.record).read_text(encoding="utf-8"))
    if "sentence" in facts:
        click.echo(facts["sentence"])
        click.echo(str(job.folder / "model.keras"))
        return
    for sentence in facts.get("notes", []):
        if sentence not in job.notes:
            click.echo(sentence)
    click.echo(
        f"{facts['n_patterns']} patterns in {facts['seconds']:.2f} s of prediction and stitching; "
        f"residual {facts['residual']:.3f}, of a flat object {facts['residual_of_a_flat_object']:.3f}"
    )
    for name in ("reconstruction.npz", "reconstruction.png"):
        click.echo(str(job.folder / name))


@contextmanager
def live_progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a job has come: a bar in a terminal, a line now and then elsewhere."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    if not console.is_terminal:
        shown = [0.0, 0]

        def line(step: str, done: int, total: int) -> None:
            if done != shown[1] and (time.monotonic() - shown[0] > LINE_EVERY_S or done == total):
                click.echo(f"{step}: {done} of {total}")
                shown[:] = [time.monotonic(), done]

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{what}: starting", total=None)

        def update(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield update
