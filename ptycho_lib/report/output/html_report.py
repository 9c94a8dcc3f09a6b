"""`report.html`: the executed summary of a study as one file for readers without Python and network."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.report.output.notebook_sections import without_empty_sections
from ptycho_lib.study.execution.summary import SUMMARY, execute_summary
from ptycho_lib.study.folder.manifest import read_manifest

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "nbconvert"


def make_report(study_dir: str | Path) -> Path:
    """Execute the summary notebook of a study and turn it into `report.html`.

    Raises
    ------
    InputError
        If the summary does not run to its end, with the reason; a study without a complete run is one.
    """
    folder = Path(study_dir).resolve()
    ending = execute_summary(folder)
    if not ending.succeeded:
        fix = "See `ptycho-study status`; `ptycho-study run` finishes a study and repeats nothing complete."
        found = f"an error: {ending.reason}"
        raise InputError(Problem(str(folder / SUMMARY), "", found, "a summary that runs to its end", fix))
    return write_report(folder)


def write_report(study_dir: str | Path) -> Path:
    """Turn the executed `summary.ipynb` of a study into `report.html`: one file, no network, no script.

    Sections that show nothing are left out.

    Parameters
    ----------
    study_dir : path
        The study folder.

    Raises
    ------
    InputError
        If there is no executed summary, or it holds an error.
    """
    folder = Path(study_dir).resolve()
    title = f"Generalization study {read_manifest(folder).config.name}"
    return notebook_report(folder / SUMMARY, folder / REPORT, title)


def notebook_report(executed: Path, path: Path, title: str) -> Path:
    """Turn an executed notebook into one HTML file: no network, no script, no code, no section that shows nothing.

    Parameters
    ----------
    executed, path : Path
        The notebook, and the file to be written.
    title : str
        Of the page.

    Raises
    ------
    InputError
        If there is no executed notebook, or it holds an error.
    """
    notebook = _executed(executed)
    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)], exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(without_empty_sections(notebook), resources={"report_title": title})
    write_atomically(path, body)
    return path


def _executed(path: Path) -> NotebookNode:
    fix = "Run `ptycho-study report`, which executes the summary first."
    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as error:
        raise InputError(Problem(str(path), "", error.strerror or str(error), "the executed summary", fix)) from None
    except nbformat.reader.NotJSONError:
        raise InputError(Problem(str(path), "", "a damaged notebook", "the executed summary", fix)) from None
    failed = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    if failed:
        found = f"an error: {failed[0].ename}: {failed[0].evalue}"
        raise InputError(Problem(str(path), "", found, "a summary that ran to its end", fix))
    return notebook
