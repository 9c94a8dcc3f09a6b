"""What an executed, or half executed, notebook says of its failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptycho_lib.study.files import write_atomically


def read_notebook(path: Path) -> dict[str, Any] | None:
    """Return a notebook's JSON, or None if it is missing or damaged."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return notebook if isinstance(notebook, dict) and isinstance(notebook.get("cells"), list) else None


def cell_error(notebook: dict[str, Any]) -> tuple[int, str] | None:
    """Return number (from 1) and error line of the first cell that raised, or None."""
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                first = (str(output.get("evalue", "")).strip().splitlines() or [""])[0]
                return number, f"{output.get('ename', 'Error')}: {first}"
    return None


def write_failed_notebook(partial: Path, failed: Path, reason: str) -> None:
    """Turn a partial notebook into `failed`, with the reason in a first cell.

    A kill in the middle of papermill's saving leaves a damaged file; a notebook that holds only the
    reason takes its place.
    """
    notebook = read_notebook(partial) or {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    text = f"**This run failed.** {reason}"
    notice = {"cell_type": "markdown", "id": "run-failed", "metadata": {}, "source": _as_code(text)}
    notebook["cells"].insert(0, notice)
    write_atomically(failed, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    partial.unlink(missing_ok=True)


def _as_code(text: str) -> str:
    """Keep error messages from being read as HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
