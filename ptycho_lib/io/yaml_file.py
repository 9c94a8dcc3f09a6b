"""YAML settings, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ptycho_lib.errors import InputError, Problem


def read_settings(path: str | Path, fix: str) -> dict[str, Any]:
    """Read the mapping that a YAML file holds; an empty file holds an empty one.

    Parameters
    ----------
    path : str or Path
    fix : str
        A full sentence that says which file is expected.

    Raises
    ------
    InputError
        If the file cannot be read, is no YAML, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(Problem(str(path), "", f"text that is not YAML ({error})", "YAML", fix)) from None
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(Problem(str(path), "", found, "a readable YAML file", fix)) from None
    return parse_yaml(text, str(path), fix)


def parse_yaml(text: str, source: str, fix: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; see `read_settings`.

    Parameters
    ----------
    text : str
    source, fix : str
        Where the text comes from, and what is expected there.

    Raises
    ------
    InputError
        If the text is no YAML, or holds something else.
    """
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        found = f"text that is not YAML ({' '.join(str(error).split())})"
        raise InputError(Problem(source, "", found, "YAML", fix)) from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(Problem(source, "", type(settings).__name__, "a mapping of settings", fix))
    return settings
