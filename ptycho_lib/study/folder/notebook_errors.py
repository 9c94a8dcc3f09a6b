"""What an executed, or half executed, notebook says of its progress and its failure."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from typing import Any

from ptycho_lib.io.files import write_atomically
from ptycho_lib.study.folder.progress import current_cell

SHOWN_LENGTH = 60
_HEADING = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)
_ERROR_LINE = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", re.MULTILINE)


def read_notebook(path: Path) -> dict[str, Any] | None:
    """Return a notebook's JSON, or None if it is missing or damaged."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return notebook if isinstance(notebook, dict) and isinstance(notebook.get("cells"), list) else None


def is_whole(path: Path) -> bool:
    """Return whether a notebook begins and ends as one; a missing file does, too: it may lie elsewhere.

    Cheap enough for a thousand runs. It finds what was cut off or overwritten.
    """
    try:
        with path.open("rb") as stream:
            first = stream.read(1)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 16))
            return first == b"{" and stream.read().rstrip().endswith(b"\n}")
    except FileNotFoundError:
        return True


def cell_error(notebook: dict[str, Any]) -> str:
    """Return cell and error line of the first cell that raised, or an empty text."""
    for index, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                first = (str(output.get("evalue", "")).strip().splitlines() or [""])[0]
                return f"{name_cell(notebook, index)}: {output.get('ename', 'Error')}: {first}"
        if cell.get("metadata", {}).get("papermill", {}).get("exception"):
            return f"{name_cell(notebook, index)}: {_printed_error(cell)}"
    return ""


def _printed_error(cell: dict[str, Any]) -> str:
    """Return the error line that a kernel printed because it could not send it, as when memory ran out."""
    streams = [output for output in cell.get("outputs", []) if output.get("output_type") == "stream"]
    found = _ERROR_LINE.search("".join("".join(stream.get("text", [])) for stream in streams))
    return found.group(1) if found else "an error that the kernel could not report"


def name_cell(notebook: dict[str, Any], index: int) -> str:
    """Return a cell's number as Jupyter counts, such as `In [4]`, and its first line of code."""
    cells = notebook["cells"]
    if not 0 <= index < len(cells):
        return "an unknown cell"
    count = sum(cell.get("cell_type") == "code" for cell in cells[: index + 1])
    lines = [line.strip() for line in "".join(cells[index].get("source", [])).splitlines()]
    code = next((line for line in lines if line and not line.startswith("#")), "")
    shown = code if len(code) <= SHOWN_LENGTH else f"{code[: SHOWN_LENGTH - 1]}…"
    return f"In [{count}] {shown}".rstrip()


def heading_of(notebook: dict[str, Any], number: int) -> str:
    """Return the heading under which a cell stands; empty before the first one.

    Parameters
    ----------
    notebook : dict
        As `read_notebook` returns it.
    number : int
        Of the cell, from 1, all kinds of cells counted.
    """
    for cell in reversed(notebook["cells"][:number]):
        if cell.get("cell_type") == "markdown":
            headings = _HEADING.findall("".join(cell.get("source", [])))
            if headings:
                return str(headings[-1])
    return ""


def step_of(folder: Path, partial: Path) -> str:
    """Return what a notebook in execution does: the heading above its current cell, or `starting`.

    Parameters
    ----------
    folder : Path
        Of the run.
    partial : Path
        The notebook as papermill writes it meanwhile.
    """
    cell = current_cell(folder)
    if cell is None:
        return "starting"
    notebook = read_notebook(partial)
    return (heading_of(notebook, cell) if notebook else "") or f"cell {cell}"


def write_failed_notebook(partial: Path, failed: Path, reason: str, *, interrupted: bool = False) -> None:
    """Turn a partial notebook into `failed`, with the reason in a first cell.

    A damaged file, as a kill during saving leaves it, is replaced by a notebook that holds the reason alone.

    Parameters
    ----------
    partial, failed : Path
        The notebook that is there, and the one that is written.
    reason : str
    interrupted : bool
        Whether somebody stopped the run.
    """
    notebook = read_notebook(partial) or {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    ending = "was interrupted" if interrupted else "failed"
    text = f"**This run {ending}.** {html.escape(reason, quote=False)}"
    notice = {"cell_type": "markdown", "id": "run-failed", "metadata": {}, "source": text}
    notebook["cells"].insert(0, notice)
    write_atomically(failed, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    partial.unlink(missing_ok=True)


def where_it_stopped(folder: Path, partial: Path) -> str:
    """Return the cell that was executed last, for a sentence such as `the kernel died at In [3] train()`.

    Parameters
    ----------
    folder : Path
        Of the run.
    partial : Path
        The notebook as papermill left it.
    """
    cell = current_cell(folder)
    if cell is None:
        return " before the first cell"
    notebook = read_notebook(partial)
    return f" at {name_cell(notebook, cell - 1)}" if notebook else f" at cell {cell}"
