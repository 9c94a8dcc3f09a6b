"""The command that compares studies."""

from __future__ import annotations

import sys
from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("studies", nargs=-1, required=True, type=PATH)
@click.option("--output", type=PATH, help="Folder for report, tables and figure.  [default: comparison_of_A_B here]")
@click.option("--metric", default="ssim", show_default=True, help="Of the sentences.")
@click.option("--component", type=click.Choice(["amplitude", "phase"]), default="phase", show_default=True)
@click.option("--unpaired", is_flag=True, help="Also show studies tested on other pixels, without differences.")
@click.option("--no-report", is_flag=True, help="Print the sentences and write the tables alone.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier comparison in the folder.")
def compare(
    studies: tuple[Path, ...],
    output: Path | None,
    *,
    metric: str,
    component: str,
    unpaired: bool,
    no_report: bool,
    overwrite: bool,
) -> None:
    """Compare studies with the first: what differs, and what that did to the metrics.

    Refuses to pair what was not tested on the same pixels. Differences get an interval from three matching trials on.
    """
    from ptycho_lib.errors import InputError, Problem
    from ptycho_lib.metrics_table import METRICS
    from ptycho_lib.study.results.comparison_of_studies import DIFFERENCES, compare_studies

    folder = output or Path(f"comparison_of_{'_'.join(study.resolve().name for study in studies)}")
    if metric not in METRICS:
        raise InputError(Problem("--metric", "", f"'{metric}'", ", ".join(METRICS), "Choose one of these."))
    if (folder / DIFFERENCES).exists() and not overwrite:
        fix = "Give another folder with --output, or --overwrite."
        raise InputError(Problem(str(folder), DIFFERENCES, "an earlier comparison", "a new folder", fix))
    comparison = compare_studies(studies, unpaired=unpaired)
    for row in comparison.differences.itertuples(index=False):
        click.echo(f"{row[0]}: {row[1]}: {' | '.join(row[2:])}")
    for sentence in comparison.sentences(metric=metric, component=component):
        click.echo(sentence)
    if no_report:
        for path in comparison.write(folder):
            click.echo(str(path))
        return
    from ptycho_lib.application.launch import NotebookJob
    from ptycho_lib.cli.application import conclude

    places = "\n".join(str(study.resolve()) for study in studies)
    chosen = {"metric": metric, "component": component, "unpaired": unpaired}
    parameters = {"studies": places, "output_dir": str(folder.resolve()), **chosen}
    sys.exit(conclude(NotebookJob("compare_studies.ipynb", folder.resolve(), parameters, DIFFERENCES), "comparison"))
