"""Where the notebook templates are, and which of their cells can change a result."""

from __future__ import annotations

import json
from pathlib import Path

import ptycho_lib
from ptycho_lib.errors import InputError, Problem

SUMMARIZE_STUDY = "summarize_study.ipynb"
DISPLAY = "display"
"""Tag of cells that show what others computed."""

TEMPLATE_VARIABLE = "PTYCHO_STUDY_TEMPLATE"
"""Environment variable that names the template which a kernel executes, if it is not the shipped one."""


def template_path(name: str) -> Path:
    """Return the absolute path of a shipped template.

    An installed package carries the templates in `ptycho_lib/_templates`; in a checkout they
    stand beside the package.

    Raises
    ------
    InputError
        If neither place has it.
    """
    package = Path(ptycho_lib.__file__).resolve().parent
    places = (package.parent / "templates", package / "_templates")
    for place in places:
        if (place / name).is_file():
            return place / name
    raise InputError(
        Problem(
            name,
            "",
            "no such template",
            f"the file in {places[0]} or {places[1]}",
            "Install the package from a complete checkout with `make setup`.",
        )
    )


def execution_name(notebook: str, stage: str) -> str:
    """Return the name of a notebook while it is executed (`partial`) or after it failed (`failed`)."""
    return f"{notebook.removesuffix('.ipynb')}.{stage}.ipynb"


def computing_cells(path: Path) -> list[str]:
    """Return the sources of a notebook's code cells, without those tagged `display`.

    Raises
    ------
    OSError, ValueError, KeyError
        If the file cannot be read as a notebook.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in cells if DISPLAY not in cell.get("metadata", {}).get("tags", ())]
