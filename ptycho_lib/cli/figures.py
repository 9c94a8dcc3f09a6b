"""The command that draws a study's figures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Split names at commas or spaces."""
    del context, parameter
    return tuple(value.replace(",", " ").split())


@click.command()
@click.argument("out_dir", type=PATH)
@click.option("--output", type=PATH, help="Folder for the files.  [default: OUT_DIR/figures]")
@click.option("--formats", "--format", default="pdf", show_default=True, callback=_names, help="Any of svg,pdf,png.")
@click.option("--width", default="double", show_default=True, help="single (89 mm), double (183 mm), or millimetres.")
@click.option(
    "--font-size", "font_size_pt", type=float, default=8.0, show_default=True, help="Size of axis labels, pt."
)
@click.option("--metrics", default="", callback=_names, help="Metrics to show, such as ssim,frc50.  [default: all]")
@click.option("--components", default="", callback=_names, help="amplitude, phase, or both.  [default: both]")
@click.option("--models", default="", callback=_names, help="Models to show, such as pinn,untrained.  [default: all]")
@click.option("--style", type=PATH, help="A matplotlib style sheet that overrides the library's settings.")
def figures(out_dir: Path, output: Path | None, **options: Any) -> None:
    """Draw a study's figures for a paper: chosen metrics and models, width, font size and format."""
    from ptycho_lib.report.output.paper_figures import PaperOptions, write_paper_figures

    for path in write_paper_figures(out_dir, output or out_dir / "figures", PaperOptions(**options)):
        click.echo(str(path))
