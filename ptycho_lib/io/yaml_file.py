"""YAML files of settings: read without executing anything, or told why not."""

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
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(Problem(str(path), "", found, "a readable YAML file", fix)) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        found = f"text that is not YAML ({' '.join(str(error).split())})"
        raise InputError(Problem(str(path), "", found, "YAML", fix)) from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(Problem(str(path), "", type(settings).__name__, "a mapping of settings", fix))
    return settings
