"""Files for a paper: the figures (PNG and PDF), their captions, the table in LaTeX.

Each figure file carries the study's fingerprint, so that it can be traced to the runs it shows.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.report.figures.conditions import condition_figure, condition_series_figure
from ptycho_lib.report.figures.cost import time_figure
from ptycho_lib.report.figures.generalization import generalization_figure
from ptycho_lib.report.figures.study import study_figure
from ptycho_lib.report.output.notebook_display import png_bytes
from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.report.text.condition_series import series_alt, study_series
from ptycho_lib.report.text.cost import time_alt
from ptycho_lib.report.text.generalization import generalization_alt, has_training_scan
from ptycho_lib.report.text.latex import to_latex
from ptycho_lib.report.text.study import caption, condition_alt
from ptycho_lib.report.text.tables import study_table
from ptycho_lib.study.results.tables import StudyTables

FIGURE = "generalization_study_results"
CONDITION_FIGURE = "other_test_conditions"
GAP_FIGURE = "generalization_gap"
TIME_FIGURE, SWEEP_FIGURE = "quality_versus_time", "quality_along_conditions"
PRINT_DPI = 300
FORMATS = (".png", ".pdf", ".svg")


def publish(results: StudyResults, figure: Figure | None = None) -> list[Path]:
    """Write figure, caption and table into the study folder; the figure is drawn, unless it is given.

    Returns
    -------
    list of Path
        The files: figures as .png and .pdf, each with its _caption.txt, and _table.tex.
    """
    tables = results.tables
    figure = figure or publication_figure(results)
    written = [save_figure(figure, results.folder / f"{FIGURE}{ending}", results) for ending in (".png", ".pdf")]
    written += [
        save_figure(extra, results.folder / f"{name}{ending}", results)
        for name, extra in further_figures(results).items()
        for ending in (".png", ".pdf")
    ]
    table = study_table(tables.table, tables.summary)
    for name, content in (
        (f"{FIGURE}_caption.txt", caption(results) + "\n"),
        (f"{FIGURE}_table.tex", to_latex(table, note=results.reference_note)),
        *((f"{name}_caption.txt", f"{text}\n") for name, text in further_captions(results).items()),
    ):
        write_atomically(results.folder / name, content)
        written.append(results.folder / name)
    return written


def publication_figure(results: StudyResults) -> Figure:
    """Return the main figure of a study, with intervals and matched sizes where they exist."""
    tables = results.tables
    return study_figure(tables.table, tables.summary, tables.matched_sizes, seconds=results.seconds)


def further_figures(results: StudyResults) -> dict[str, Figure]:
    """Return, by file name, quality against time, and under other test conditions where there are such."""
    tables = results.tables
    found = {} if tables.costs.empty else {TIME_FIGURE: time_figure(tables.table, tables.costs)}
    if has_training_scan(results.table):
        found[GAP_FIGURE] = generalization_figure(results.table)
    if results.config.conditions:
        found[CONDITION_FIGURE] = condition_figure(results.table)
    if sweeps := study_series(results):
        found[SWEEP_FIGURE] = condition_series_figure(tables.table, tables.costs, sweeps)
    return found


def further_captions(results: StudyResults) -> dict[str, str]:
    """Return the captions of `further_figures`, by file name, as plain text."""
    found = {} if results.tables.costs.empty else {TIME_FIGURE: time_alt(results)}
    if has_training_scan(results.table):
        found[GAP_FIGURE] = generalization_alt(results.table)
    if results.config.conditions:
        found[CONDITION_FIGURE] = condition_alt(results)
    if study_series(results):
        found[SWEEP_FIGURE] = series_alt(results)
    return {name: f"{text} {results.reference_note}".strip() for name, text in found.items()}


def write_study_figure(
    out_dir: str | Path, output_plot: str | Path | None = None, tables: StudyTables | None = None
) -> list[Path]:
    """Draw the publication figure of a study folder, there and, if asked for, at `output_plot`, too.

    Raises
    ------
    InputError
        If no run is complete, or the ending of `output_plot` is not that of a figure.
    """
    results = read_results(out_dir, tables)
    figure = publication_figure(results)
    written = publish(results, figure)
    if output_plot is not None:
        path = Path(output_plot)
        if path.suffix.lower() not in FORMATS:
            fix = "Give a file name with one of these endings."
            raise InputError(Problem(str(path), "--output-plot", f"'{path.suffix}'", ", ".join(FORMATS), fix))
        written.append(save_figure(figure, path, results))
    return written


def save_figure(figure: Figure, path: Path, results: StudyResults) -> Path:
    """Write a figure for print, with title and fingerprint in its metadata and no time of day."""
    title, fingerprint = f"Generalization study '{results.config.name}'", results.fingerprint()
    ending = path.suffix.lower()
    if ending == ".png":
        metadata = {"Title": title, "Study fingerprint": fingerprint}
        write_atomically(path, png_bytes(figure, dpi=PRINT_DPI, metadata=metadata))
        return path
    facts: dict[str, object] = {"Title": title}
    if ending == ".pdf":
        facts |= {"Keywords": f"study fingerprint {fingerprint}", "CreationDate": None}
    else:
        facts |= {"Description": f"study fingerprint {fingerprint}", "Date": None}
    content = io.BytesIO()
    figure.savefig(content, format=ending[1:], metadata=facts)
    write_atomically(path, content.getvalue())
    return path
