"""The command that writes reconstructions for other programs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["cxi", "ptychodus", "nexus", "tiff"]),
    help="CXI 1.6, ptychodus product (HDF5), NeXus, or a folder of TIFF images with positions.csv.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder.  [default: export/ in the study folder]")
@click.option("--model", help="One model of the run.  [default: all]")
@click.option("--condition", default="nominal", show_default=True, help="A condition with test data of its own.")
@click.option("--pixel-size-m", type=click.FloatRange(min=0, min_open=True), help="Object pixel, if unknown.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def export(
    run: Path,
    to: str,
    output: Path | None,
    model: str | None,
    condition: str,
    pixel_size_m: float | None,
    overwrite: bool,
) -> None:
    """Write what the models of a run reconstructed, with probe modes, positions and mask, for other programs.

    RUN is the folder of a run, such as results/n_train_256, or of one model in it (.../pinn_run).
    """
    from ptycho_lib.report.output.export import export_run

    written = export_run(
        run,
        to,
        out_dir=output,
        model=model,
        condition=condition,
        pixel_size_m=pixel_size_m,
        overwrite=overwrite,
    )
    for path in written:
        click.echo(str(path))
