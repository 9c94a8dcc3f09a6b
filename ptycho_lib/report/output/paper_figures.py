"""A study's figures for a paper: chosen metrics and models, format, width, font size, style sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from matplotlib import rc_params_from_file
from matplotlib.figure import Figure

from ptycho_lib.config import NOMINAL
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.report.figures.cost import time_figure
from ptycho_lib.report.figures.generalization import generalization_figure
from ptycho_lib.report.figures.study import STUDY_METRICS, study_figure
from ptycho_lib.report.output.publication import FIGURE, FORMATS, GAP_FIGURE, TIME_FIGURE, save_figure
from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.report.style import COLUMN_WIDTH, FULL_WIDTH, MM, SETTINGS, scale_fonts, style_sheet
from ptycho_lib.report.text.generalization import has_training_scan

WIDTHS = {"single": COLUMN_WIDTH, "double": FULL_WIDTH}


@dataclass(frozen=True)
class PaperOptions:
    """How the figures of a paper look.

    Parameters
    ----------
    formats : tuple of str
        Any of png, pdf, svg.
    width : str
        ``single`` (89 mm) or ``double`` (183 mm), or a number of millimetres.
    font_size_pt : float
        Of axis labels; all other texts keep their proportion to it.
    metrics, components, models : tuple of str
        What is shown; empty for the usual metrics, both components, all models.
    style : Path, optional
        A matplotlib style sheet that overrides the library's settings.
    """

    formats: tuple[str, ...] = ("pdf",)
    width: str = "double"
    font_size_pt: float = 8.0
    metrics: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    style: Path | None = None

    @property
    def width_inches(self) -> float:
        """Width of the figures, inches."""
        return WIDTHS[self.width] if self.width in WIDTHS else float(self.width) * MM


def write_paper_figures(study_dir: str | Path, folder: str | Path, options: PaperOptions) -> list[Path]:
    """Write the study figure, quality against time and, where it was measured, the generalization gap.

    Parameters
    ----------
    study_dir : path
        Study folder.
    folder : path
        Receives the files; made if missing.
    options : PaperOptions

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        With all problems of the options, before anything is written; or if no run is complete.
    """
    results = read_results(study_dir)
    if problems := list(option_problems(results.table, options)):
        raise InputError(problems)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with style_sheet(options.style):
        for name, figure in _figures(results, options).items():
            scale_fonts(figure, options.font_size_pt / SETTINGS["font.size"])
            written += [save_figure(figure, folder / f"{name}.{ending}", results) for ending in options.formats]
    return written


def _figures(results: StudyResults, options: PaperOptions) -> dict[str, Figure]:
    """Draw the figures, by file name."""
    table, costs, width = results.table, results.tables.costs, options.width_inches
    if options.models:
        table = table[table["model"].isin(options.models)]
    components = options.components or ("amplitude", "phase")
    metrics = options.metrics or STUDY_METRICS
    matched = results.tables.matched_sizes
    both = {"pinn", "baseline"} <= set(table["model"])
    main = study_figure(
        table, results.tables.summary, matched if both else None, metrics=metrics, components=components, width=width
    )
    drawn = {FIGURE: main}
    if not costs.empty:
        metric = "ssim" if not options.metrics else metrics[0]
        drawn[TIME_FIGURE] = time_figure(table, costs, metric=metric, component=components[-1], width=width)
    if has_training_scan(table):
        shown = options.metrics or ("ssim", "frc50")
        drawn[GAP_FIGURE] = generalization_figure(table, metrics=shown, components=components, width=width)
    return drawn


def option_problems(table: pd.DataFrame, options: PaperOptions) -> Iterator[Problem]:
    """Yield what is wrong with the options, for this study."""
    nominal = table[table["condition"] == NOMINAL]
    known = {
        "formats": [ending[1:] for ending in FORMATS],
        "metrics": sorted(nominal["metric"].unique()),
        "components": sorted(nominal["component"].unique()),
        "models": sorted(nominal["model"].unique()),
    }
    for field in fields(options):
        for name in getattr(options, field.name) if field.name in known else ():
            if name not in known[field.name]:
                expected = f"one of {', '.join(known[field.name])}"
                yield Problem(f"--{field.name}", "", f"'{name}'", expected, "Choose from these.")
    try:
        wide = options.width_inches / MM
    except ValueError:
        wide = 0.0
    if not 40 <= wide <= 400:
        yield Problem("--width", "", f"'{options.width}'", "single, double, or 40 to 400 (mm)", "Give one of these.")
    if not 4 <= options.font_size_pt <= 24:
        yield Problem("--font-size", "", f"{options.font_size_pt:g}", "4 to 24 (pt)", "Give a size in this range.")
    if options.style is not None and not options.style.is_file():
        fix = "Give the path of a matplotlib style sheet (.mplstyle)."
        yield Problem("--style", "", f"no file {options.style}", "a style sheet", fix)
    elif options.style is not None and not rc_params_from_file(options.style, use_default_template=False):
        fix = "Write lines such as `axes.grid: True`."
        yield Problem("--style", "", f"no setting in {options.style}", "a matplotlib style sheet", fix)
