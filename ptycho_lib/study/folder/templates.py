"""Where the notebook templates are, and what in them can change a result."""

from __future__ import annotations

import json
from pathlib import Path

import ptycho_lib
from ptycho_lib.errors import InputError, Problem

TRAIN_AND_COMPARE = "train_and_compare.ipynb"
ITERATE = "iterate.ipynb"
SUMMARIZE_STUDY = "summarize_study.ipynb"
TEMPLATE_VARIABLE = "PTYCHO_STUDY_TEMPLATE"
"""Environment variable that tells a kernel which template it executes, if not the shipped one."""


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


def run_template(n_train: int) -> str:
    """Return the name of the notebook that computes a run; size 0 is the iterative reconstruction."""
    return TRAIN_AND_COMPARE if n_train else ITERATE


def execution_name(notebook: str, stage: str) -> str:
    """Return the name of a notebook while it is executed (`partial`) or after it failed (`failed`)."""
    return f"{notebook.removesuffix('.ipynb')}.{stage}.ipynb"


def notebook_code(path: Path) -> str:
    """Return the sources of a notebook's code cells; prose, outputs and metadata are left out."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)
