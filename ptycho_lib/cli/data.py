"""The data commands of `ptycho-study`: check, prepare, simulate.

Their options are the fields of `ReadOptions` and `PrepareOptions`: one list, one wording, made into
command-line options when a command is used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

    from ptycho_lib.data.check.file import CheckReport
    from ptycho_lib.data.check.findings import Finding
    from ptycho_lib.data.dataset import PtychoDataset
    from ptycho_lib.data.options import PrepareOptions

FAILED = 1
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


class ModelCommand(click.Command):
    """A command with one more option for each field of a settings model, read only when it is needed."""

    model: Callable[[], type[BaseModel]]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the declared parameters, then those of the model."""
        declared = super().get_params(ctx)
        known = {parameter.name for parameter in declared}
        extra = [option for option in model_options(self.model()) if option.name not in known]
        return [*declared[:-1], *extra, declared[-1]]  # --help stays last


def model_options(model: type[BaseModel]) -> list[click.Option]:
    """Return click options for the fields of a settings model."""
    options = []
    for name, field in model.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        choices = _choices(field.annotation)
        settings: dict[str, Any] = {"help": field.description, "default": None}
        if field.annotation is bool:
            settings |= {"is_flag": True, "default": False}
        elif choices:
            settings |= {"type": click.Choice(choices)}
        elif kind := _number(field.annotation):
            settings |= {"metavar": kind}
        if field.default is not None and field.annotation is not bool:
            settings["help"] = f"{field.description}  [default: {field.default}]"
        options.append(click.Option([flag, name], **settings))
    return options


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; the model knows the defaults."""
    return {name: value for name, value in values.items() if value is not None and value is not False}


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _number(annotation: Any) -> str:
    """Return what help calls the value of a number, optional or not; empty for others. The model checks it."""
    kinds = set(get_args(annotation) or (annotation,)) - {type(None)}
    return {frozenset({int}): "INTEGER", frozenset({float}): "FLOAT"}.get(frozenset(kinds), "")


def _read_model() -> type[BaseModel]:
    from ptycho_lib.data.options import ReadOptions

    return ReadOptions


def _prepare_model() -> type[BaseModel]:
    from ptycho_lib.data.options import PrepareOptions

    return PrepareOptions


class ReadCommand(ModelCommand):
    """A command with the options of reading."""

    model = staticmethod(_read_model)


class PrepareCommand(ModelCommand):
    """`prepare` with the options of reading and preparing."""

    model = staticmethod(_prepare_model)


@click.command(cls=ReadCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Write a picture page of the first file, with what was found.",
)
def check(files: tuple[Path, ...], plot: Path | None, **options: Any) -> None:
    """Say what is wrong with data files, and how to fix it.

    Of several files the first is the training file, the others are tests: each is compared with it. Exit code
    1 if there is an error.
    """
    from rich.console import Console

    from ptycho_lib.data.check.file import check_file
    from ptycho_lib.data.check.pair import check_pair

    console = Console()
    reports = [check_file(path, **given(options)) for path in files]
    for report in reports:
        _print_report(console, report)
    failed = not all(report.ok for report in reports)
    train, *tests = reports
    for test in tests:
        if train.dataset is not None and test.dataset is not None and train.ok and test.ok:
            findings = check_pair(train.dataset, test.dataset)
            console.print(f"\n[bold]{train.source} to train, {test.source} to test[/]", highlight=False, soft_wrap=True)
            _print_findings(console, findings)
            failed |= any(finding.severity == "error" for finding in findings)
    if plot is not None:
        _plot(reports[0], plot, given(options))
    sys.exit(FAILED if failed else 0)


@click.command(cls=PrepareCommand)
@click.argument("raw_file", type=click.Path(path_type=Path))
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
def prepare(raw_file: Path, out_dir: Path, *, dry_run: bool, overwrite: bool, **options: Any) -> None:
    """Convert a measurement into training and test files; print and record every step, then check the result."""
    from rich.console import Console

    from ptycho_lib.data.check.file import quick_check
    from ptycho_lib.data.dataset import load_dataset, save_dataset
    from ptycho_lib.data.prepare.pipeline import plan_preparation

    reconstruct = _Reconstruct(raw_file, out_dir, dry_run=dry_run, overwrite=overwrite)
    plan = plan_preparation(
        raw_file,
        out_dir,
        overwrite=overwrite,
        reconstruct=reconstruct,
        refine_probe=reconstruct.refine_probe,
        reconstruct_apart=reconstruct.apart,
        **given(options),
    )
    common = [line for line in plan[0].dataset.history if all(line in item.dataset.history for item in plan)]
    for line in common:
        click.echo(f"  {line}")
    for item in plan:
        click.echo(f"{item.path}: {len(item.dataset)} patterns")
        for line in item.dataset.history[len(common) :]:
            click.echo(f"  {line}")
        if not dry_run:
            save_dataset(item.dataset, item.path, overwrite=overwrite)
    if dry_run:
        click.echo("Dry run: nothing was written.")
        return
    console = Console()
    for item in plan:
        console.print(f"[bold]check of {item.path}[/]", highlight=False, soft_wrap=True)
        _print_findings(console, quick_check(load_dataset(item.path)))


class _Reconstruct:
    """Reconstruct the reference of a preparation and keep what belongs to it beside the prepared files."""

    def __init__(self, raw_file: Path, out_dir: Path, *, dry_run: bool, overwrite: bool) -> None:
        self.dry_run, self.overwrite = dry_run, overwrite
        name = raw_file.stem.removesuffix("_raw")
        self.path, self.probe_path = out_dir / f"{name}_reference.npz", out_dir / f"{name}_probe_modes.npz"

    def __call__(self, dataset: PtychoDataset, options: PrepareOptions) -> PtychoDataset:
        from dataclasses import replace

        from ptycho_lib.data.dataset import REFERENCE
        from ptycho_lib.errors import InputError
        from ptycho_lib.iterative.reference import reconstruct_reference
        from ptycho_lib.optional_dependencies import extra_problem

        if problem := extra_problem("iterative", "--reference"):
            raise InputError(problem)
        if self.dry_run:
            note = f"{REFERENCE}would be reconstructed iteratively from these {len(dataset)} patterns"
            return replace(dataset, history=(*dataset.history, note))
        reference = reconstruct_reference(dataset, options)
        click.echo(f"{reference.save(self.path, overwrite=self.overwrite)}: object, probe modes, halves")
        return reference.dataset

    def apart(self, parts: tuple[PtychoDataset, ...], options: PrepareOptions) -> tuple[PtychoDataset, ...]:
        """Reconstruct the objects of training and test apart; keep them in a file that `--reference-file` reads."""
        from dataclasses import replace

        from ptycho_lib.data.dataset import REFERENCE
        from ptycho_lib.data.prepare.kept_reference import save_reference
        from ptycho_lib.errors import InputError
        from ptycho_lib.iterative.reference import reconstruct_apart
        from ptycho_lib.optional_dependencies import extra_problem

        if problem := extra_problem("iterative", "--reference"):
            raise InputError(problem)
        if self.dry_run:
            note = f"{REFERENCE}would be reconstructed iteratively from the patterns of this part"
            return tuple(replace(part, history=(*part.history, note)) for part in parts)
        done = tuple(reference.dataset for reference in reconstruct_apart(parts, options))
        click.echo(f"{save_reference(self.path, done, overwrite=self.overwrite)}: objects of both parts, probe modes")
        return done

    def refine_probe(self, train: PtychoDataset, options: PrepareOptions) -> PtychoDataset:
        """Refine the probe's modes on the training patterns, and keep them in a file that `--probe-file` reads."""
        from dataclasses import replace

        import numpy as np

        from ptycho_lib.errors import InputError
        from ptycho_lib.io.npz import write_npz
        from ptycho_lib.iterative.probe_refinement import refine_probe
        from ptycho_lib.optional_dependencies import extra_problem

        if problem := extra_problem("iterative", "--probe-modes"):
            raise InputError(problem)
        number = options.probe_modes or 1
        if self.dry_run:
            note = f"probe: would be refined into {number} modes on these {len(train)} patterns"
            return replace(train, history=(*train.history, note))
        refined = refine_probe(train, number, updates=options.probe_updates, seed=options.seed)
        arrays = {"probeGuess": refined.probe, "history": np.array(refined.history[-1])}
        click.echo(f"{write_npz(self.probe_path, arrays, overwrite=self.overwrite)}: {number} probe modes")
        return refined


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
def simulate(config: Path, out_dir: Path, *, overwrite: bool) -> None:
    """Simulate training and test files from a YAML file, as studies/lines/simulation.yaml."""
    from ptycho_lib.data.simulation.study import simulate_study

    for path in simulate_study(config, out_dir, overwrite=overwrite):
        click.echo(str(path))


def _print_report(console: Console, report: CheckReport) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(f"\n[bold]{report.source}[/]", highlight=False, soft_wrap=True)
    if report.numbers:
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in report.numbers.items():
            table.add_row(f"  {name}", "none: patches lie outside" if value == math.inf else str(value))
        console.print(table)
    for line in report.dataset.history if report.dataset is not None else ():
        console.print(Text(f"  {line}"), no_wrap=True, overflow="ellipsis")
    _print_findings(console, report.findings)


def _print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    from rich.text import Text

    for finding in findings:
        text = Text(finding.severity, style=COLOURS[finding.severity])
        text.append(f" [{finding.code}] {finding.message}. {finding.fix}".rstrip(), style="default")
        console.print(text, soft_wrap=True)
    if not any(finding.severity != "note" for finding in findings):
        console.print("[green]nothing wrong found[/]")


def _plot(report: CheckReport, path: Path, options: dict[str, Any]) -> None:
    """Draw the file as read and, where corrections of reading were found, as they make it."""
    from ptycho_lib.data.options import ReadOptions, parse_options
    from ptycho_lib.data.readers import read_file
    from ptycho_lib.errors import InputError
    from ptycho_lib.report.figures.check import write_check_figure

    if report.dataset is None:
        click.echo(f"{path}: no picture, the file could not be read", err=True)
        return
    changes = {name: value for found in report.findings for name, value in found.options.items()}
    reading = {name: value for name, value in changes.items() if name in ReadOptions.model_fields}
    corrected = None
    if reading:
        try:
            corrected = read_file(report.source, parse_options(ReadOptions, "options", options | reading))
        except InputError as error:
            click.echo(f"the corrected file is not shown: {error}", err=True)
    click.echo(str(write_check_figure(report.dataset, path, corrected, report.findings)))
