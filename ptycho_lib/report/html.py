"""HTML: figures in notebooks, each with a description for those who cannot see it, and the report file."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import nbformat
from IPython.display import HTML, display
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from ptycho_lib.errors import Fault, InputError
from ptycho_lib.study.files import write_atomically
from ptycho_lib.study.manifest import read_manifest
from ptycho_lib.study.summary import SUMMARY

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "nbconvert"
DPI = 100
"""Pixels an inch of a picture in a notebook; 183 mm become 720 pixels."""


def png_bytes(figure: Figure, *, dpi: int = DPI, metadata: dict[str, str] | None = None) -> bytes:
    """Return the figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return buffer.getvalue()


def image_html(figure: Figure, alt: str, *, dpi: int = DPI) -> str:
    """Return an ``<img>`` element that holds the figure itself.

    Parameters
    ----------
    figure : Figure
    alt : str
        What the picture shows, for readers who do not see it.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in one sentence what the picture shows")
    data = base64.b64encode(png_bytes(figure, dpi=dpi)).decode()
    width = round(figure.get_figwidth() * DPI)
    return (
        '<div class="ptycho-figure" style="overflow-x:auto">'
        f'<img alt="{html.escape(alt, quote=True)}" width="{width}" decoding="sync" '
        f'style="max-width:100%;height:auto;background:white" src="data:image/png;base64,{data}"></div>'
    )


def show(figure: Figure, *, alt: str, dpi: int = DPI) -> None:
    """Display a figure once, as an image with alternative text, in any notebook front end."""
    display(HTML(image_html(figure, alt, dpi=dpi)))


def show_html(*parts: str) -> None:
    """Display pieces of HTML (from `narrative`, `tables`) as one output; empty ones are left out."""
    content = "".join(parts)
    if content:
        display(HTML(content))


def write_report(study_dir: str | Path) -> Path:
    """Turn the executed `summary.ipynb` of a study into `report.html`: one file, no network, no script.

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
    notebook = _executed(folder / SUMMARY)
    exporter = HTMLExporter(
        template_name="report", extra_template_basedirs=[str(TEMPLATES)], exclude_anchor_links=True
    )
    title = f"Generalization study {read_manifest(folder).config.name}"
    body, _ = exporter.from_notebook_node(notebook, resources={"report_title": title})
    write_atomically(folder / REPORT, body)
    return folder / REPORT


def _executed(path: Path) -> NotebookNode:
    mend = "Run `ptycho-study report`, which executes the summary first."
    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as error:
        raise InputError(
            Fault(str(path), "", error.strerror or str(error), "the executed summary", mend)
        ) from None
    except nbformat.reader.NotJSONError:
        raise InputError(Fault(str(path), "", "a damaged notebook", "the executed summary", mend)) from None
    failed = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    if failed:
        found = f"an error: {failed[0].ename}: {failed[0].evalue}"
        raise InputError(Fault(str(path), "", found, "a summary that ran to its end", mend))
    return notebook
