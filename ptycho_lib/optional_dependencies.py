"""Optional extras: whether one is there, and one sentence on how to get it."""

from __future__ import annotations

from importlib.util import find_spec

from ptycho_lib.errors import Problem

ITERATIVE = ("torch", "torchvision", "ptychi")


def iterative_problem(where: str = "models") -> Problem | None:
    """Return why iterative reconstructions cannot be made here, or None if they can.

    Parameters
    ----------
    where : str
        The setting or option that asks for them.
    """
    missing = [name for name in ITERATIVE if find_spec(name) is None]
    if not missing:
        return None
    fix = "Install the extra: `make iterative` in a checkout, else `pip install 'ptycho-lib[iterative]'`."
    found = f"no {', '.join(missing)} in this environment"
    return Problem(where, "iterative", found, "Pty-chi with PyTorch and torchvision", fix)
