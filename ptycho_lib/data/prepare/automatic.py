"""Corrections that `check` is certain of, as options of `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_lib.data.check.conventions import command
from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.options import PrepareOptions, ReadOptions, parse_options

ROUNDS = 4
"""Times that a file is checked again with what was found before."""


def automatic_options(path: str | Path, settings: PrepareOptions) -> tuple[PrepareOptions, tuple[str, ...]]:
    """Return the options with every certain correction of `check`, and a line for each.

    The file is checked with the options in force; what is found is added, and the file is checked again, until
    nothing new is found.

    Parameters
    ----------
    path : str or Path
    settings : PrepareOptions

    Returns
    -------
    settings : PrepareOptions
    notes : tuple of str
        For the history.

    Raises
    ------
    InputError
        If corrections contradict each other.
    """
    notes: list[str] = []
    for _ in range(ROUNDS):
        values: dict[str, Any] = settings.model_dump()
        reading = {name: value for name, value in values.items() if name in ReadOptions.model_fields}
        before = dict(values)
        for found in check_file(path, **reading).findings:
            new = {name: value for name, value in found.options.items() if before[name] != value}
            if new and not (found.code == "outlier-pixels" and values["bad_pixels"] != "keep"):
                values |= new
                notes.append(f"auto: {command(new) or 'options taken back'} ({found.code}: {found.message})")
        if values == before:
            break
        settings = parse_options(PrepareOptions, "options", values)
    return settings, tuple(notes)
