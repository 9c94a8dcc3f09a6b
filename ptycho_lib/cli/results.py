"""The commands that show what a study gave.

Each imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptycho_lib.cli.publish import moved_data

if TYPE_CHECKING:
    from ptycho_lib.study.results.tables import StudyTables

FAILED = 1


def file_argument(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator that adds a path to a command."""
    return click.argument(name, type=click.Path(path_type=Path))


target_option = click.option(
    "--target",
    metavar="'COMPONENT METRIC VALUE'",
    help="Also report how many patterns reach a value, such as 'phase ssim 0.9'; kept in the study folder.",
)


@click.command()
@file_argument("out_dir")
@click.option("--watch", is_flag=True, help="Look again every two seconds until no run is in progress.")
@moved_data
def status(out_dir: Path, watch: bool) -> None:
    """List the runs of a study: complete, running, failed, stale or missing."""
    from rich.console import Console

    from ptycho_lib.cli.status_display import print_status, watch_status

    if watch:
        watch_status(out_dir, Console())
    else:
        print_status(out_dir, Console())


@click.command()
@file_argument("out_dir")
@click.option("--output-plot", type=click.Path(path_type=Path), help="Write the figure to this file, too.")
@click.option("--no-figures", is_flag=True, help="Write the tables alone.")
@target_option
@moved_data
def aggregate(out_dir: Path, output_plot: Path | None, no_figures: bool, target: str | None) -> None:
    """Join all complete runs into tables, with their statistics, and draw the study's figures."""
    if no_figures and output_plot:
        raise click.UsageError("--no-figures draws nothing that --output-plot could write; give one of them")
    tables = write_tables(out_dir, target)
    if no_figures:
        return
    from ptycho_lib.report.output.publication import write_study_figure

    for path in write_study_figure(out_dir, output_plot, tables):
        click.echo(str(path))


@click.command()
@file_argument("out_dir")
@click.option("--pdf", is_flag=True, help="Print it to report.pdf, too, with a Chromium of this machine.")
@target_option
@moved_data
def report(out_dir: Path, pdf: bool, target: str | None) -> None:
    """Execute the summary notebook and write report.html, one self-contained file."""
    from ptycho_lib.report.output.html_report import REPORT
    from ptycho_lib.report.output.pdf import write_pdf

    write_tables(out_dir, target)
    code = execute_report(out_dir)
    if pdf and code == 0:
        click.echo(str(write_pdf(out_dir / REPORT)))
    sys.exit(code)


@click.command()
@file_argument("out_dir")
@moved_data
def verify(out_dir: Path) -> None:
    """Recompute metrics and tables, and compare them with what is published.

    Exit code 1 if anything differs; each mismatch is named.
    """
    from ptycho_lib.study.results.verify import verify_study

    result = verify_study(out_dir)
    for mismatch in result.mismatches:
        click.echo(str(mismatch), err=True)
    for remark in result.unverified:
        click.echo(f"not verified: {remark}", err=True)
    click.echo(str(result))
    sys.exit(0 if result.ok else FAILED)


def write_tables(out_dir: Path, target: str | None = None) -> StudyTables:
    """Write the tables of a study and print what they answer.

    Parameters
    ----------
    out_dir : Path
        Study folder.
    target : str, optional
        A value to be reached, such as ``phase ssim 0.9``.

    Returns
    -------
    StudyTables

    Raises
    ------
    InputError
        If the target names no metric, before anything is read; else as `compute_tables`.
    """
    from ptycho_lib.study.results.tables import AGGREGATED, SUMMARY, write_study_tables
    from ptycho_lib.study.results.target import parse_target

    tables = write_study_tables(out_dir, target=parse_target(target) if target else None)
    click.echo(f"{out_dir / AGGREGATED}: {len(tables.table)} values of {tables.table['run'].nunique()} runs")
    click.echo(f"{out_dir / SUMMARY}: {len(tables.summary)} means")
    once = tables.outcomes["model"].where(tables.outcomes["n_train"] == 0, "")
    runs = tables.outcomes.assign(once=once).drop_duplicates(["n_train", "trial", "once"])
    if left_out := int((runs["state"] != "complete").sum()):
        what = "1 run is not complete and is" if left_out == 1 else f"{left_out} runs are not complete and are"
        click.echo(f"{what} left out: `ptycho-study status {out_dir}` says why.")
    for sentence in tables.answer():
        click.echo(sentence)
    return tables


def execute_report(out_dir: Path) -> int:
    """Execute the summary notebook and write the report; return the exit code."""
    from ptycho_lib.report.output.html_report import write_report
    from ptycho_lib.study.execution.summary import SUMMARY, execute_summary

    ending = execute_summary(out_dir)
    if not ending.succeeded:
        click.echo(f"{out_dir / SUMMARY} failed: {ending.reason}", err=True)
        return FAILED
    click.echo(str(out_dir / SUMMARY))
    click.echo(str(write_report(out_dir)))
    return 0
