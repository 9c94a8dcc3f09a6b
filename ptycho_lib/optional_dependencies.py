"""Optional extras: which modules each needs, and one sentence on how to install it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ptycho_lib.errors import Problem

EXTRAS = {
    "networks": ("tensorflow",),
    "study": ("IPython", "ipykernel", "nbconvert", "nbformat", "papermill"),
    "lab": ("ipywidgets", "jupyterlab"),
    "iterative": ("torch", "torchvision", "ptychi"),
    "mlflow": ("mlflow",),
    "cluster": ("dask", "dask_jobqueue", "distributed"),
}
"""Modules that an extra of the package installs, by its name."""


def extra_problem(extra: str, where: str) -> Problem | None:
    """Return why an extra is missing in this environment, or None if it is installed.

    Parameters
    ----------
    extra : str
        A key of `EXTRAS`.
    where : str
        The setting, option or command that needs it.

    Returns
    -------
    Problem or None
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if not missing:
        return None
    target = extra if extra in ("iterative", "cluster") else "setup"
    checkout = "" if extra == "mlflow" else f"`make {target}` in a checkout, else "
    fix = f"Install it: {checkout}`pip install 'ptycho-lib[{extra}]'`."
    return Problem(where, extra, f"no {', '.join(missing)} in this environment", f"the extra `{extra}`", fix)


def extra_of(module: str | None) -> str | None:
    """Return the extra that installs a module, or None if no extra does.

    >>> extra_of("tensorflow.keras"), extra_of("numpy")
    ('networks', None)
    """
    top = (module or "").split(".")[0]
    return next((extra for extra, names in EXTRAS.items() if top in names), None)


def skip_address_grammar() -> None:
    """Spare this process the grammar of web addresses that jsonschema builds when it is imported.

    It takes a second of processor time, in papermill, nbformat and nbconvert alike, and no notebook is checked for
    addresses. jsonschema leaves the check out if `rfc3987_syntax` cannot be imported. Call it before that import.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
