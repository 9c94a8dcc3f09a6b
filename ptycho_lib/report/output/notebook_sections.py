"""Sections of an executed notebook: those that show nothing are left out of what people read."""

from __future__ import annotations

import re

from nbformat import NotebookNode

SHOWN = {"display_data", "execute_result", "stream", "error"}


def without_empty_sections(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook without the prose of sections whose code showed nothing; code cells all stay.

    A section is a heading with all that follows up to the next heading of its level or above. The title, and
    sections without code, are kept.

    Parameters
    ----------
    notebook : NotebookNode
        Executed; left unchanged. A heading begins its markdown cell.

    Returns
    -------
    NotebookNode
        Shares its cells with `notebook`.
    """
    cells, levels = notebook.cells, [_level(cell) for cell in notebook.cells]
    dropped: set[int] = set()
    for start, level in enumerate(levels):
        if level < 2:
            continue
        following = range(start + 1, len(cells))
        end = next((k for k in following if 0 < levels[k] <= level), len(cells))
        code = [cells[k] for k in range(start, end) if cells[k].cell_type == "code"]
        if code and not any(output.output_type in SHOWN for cell in code for output in cell.outputs):
            dropped |= {k for k in range(start, end) if cells[k].cell_type == "markdown"}
    kept = [cell for k, cell in enumerate(cells) if k not in dropped]
    return NotebookNode({**notebook, "cells": kept})


def _level(cell: NotebookNode) -> int:
    """Return the level of the heading that begins a markdown cell; 0 if none does."""
    found = re.match(r"#{1,6}(?=\s)", cell.source) if cell.cell_type == "markdown" else None
    return len(found[0]) if found else 0
