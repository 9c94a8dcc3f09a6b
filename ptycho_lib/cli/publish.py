"""The command that packs a study for publication, and the options that point a moved study to its data."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


def moved_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add --train and --test: where the data of a moved study are now. Study folder is the argument `out_dir`."""

    @click.option(
        "--train", "moved_train", type=PATH, multiple=True, help="The training file, if it moved; its content decides."
    )
    @click.option("--test", "moved_test", type=PATH, help="The test file, if it moved; its content decides.")
    @wraps(command)
    def located(
        out_dir: Path, *arguments: Any, moved_train: tuple[Path, ...], moved_test: Path | None, **options: Any
    ) -> None:
        if moved_train or moved_test:
            from ptycho_lib.study.folder.relocation import relocate

            for sentence in relocate(out_dir, train=moved_train, test=moved_test):
                click.echo(sentence)
        command(out_dir, *arguments, **options)

    return located


@click.command()
@click.argument("out_dir", type=PATH)
@click.argument("archive", type=PATH, required=False)
@click.option("--license", "licence", default="", help="SPDX identifier, such as CC-BY-4.0; there is no default.")
@click.option("--author", "authors", multiple=True, help="'Jane Doe <0000-0002-1825-0097>'; once for each.")
@click.option("--description", default="", help="One sentence.  [default: what the study answers]")
@click.option("--with-data", is_flag=True, help="Put the training and the test file into the archive, too.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier archive.")
@moved_data
def pack(
    out_dir: Path,
    archive: Path | None,
    *,
    licence: str,
    authors: tuple[str, ...],
    description: str,
    with_data: bool,
    overwrite: bool,
) -> None:
    """Pack a study as an RO-Crate, ready for Zenodo: results, licence, authors, software, data fingerprints.

    ARCHIVE is a zip file.  [default: beside the study folder, with its name]
    """
    from ptycho_lib.report.output.research_object import Publication, pack_study

    folder = out_dir.resolve()
    target = archive or folder.with_name(f"{folder.name}.zip")
    publication = Publication(licence, authors, description)
    click.echo(str(pack_study(folder, target, publication, with_data=with_data, overwrite=overwrite)))
