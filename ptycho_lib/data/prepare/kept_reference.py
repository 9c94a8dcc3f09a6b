"""The references of training and test part in one file, which a preparation keeps and another one takes up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.npz import NpzArchive, write_npz

PARTS = ("train", "test")


def save_reference(path: str | Path, parts: Sequence[PtychoDataset], *, overwrite: bool = False) -> Path:
    """Write object, coverage and last line of the history of each part, and their common probe.

    Parameters
    ----------
    path : str or Path
    parts : sequence of PtychoDataset
        Training, test.
    overwrite : bool
        Without it an existing file is refused.

    Returns
    -------
    Path
    """
    arrays = {"probeGuess": parts[0].probe}
    for name, part in zip(PARTS, parts, strict=True):
        coverage = np.ones(part.obj.shape, bool) if part.coverage is None else part.coverage
        arrays |= {
            f"object_{name}": part.obj,
            f"coverage_{name}": coverage,
            f"history_{name}": np.array(part.history[-1]),
        }
    return write_npz(path, arrays, overwrite=overwrite)


def with_reference(parts: Sequence[PtychoDataset], path: str | Path) -> tuple[PtychoDataset, ...]:
    """Return training and test part with the objects and the probe of a file that `save_reference` wrote.

    Raises
    ------
    InputError
        If the file is another one, or of other data.
    """
    archive = NpzArchive(path)
    keys = ["probeGuess", *(f"{what}_{name}" for name in PARTS for what in ("object", "coverage", "history"))]
    fix = "Make it with `ptycho-study prepare --reference iterative-apart`, of the same data with the same options."
    if missing := [key for key in keys if key not in archive.members]:
        raise InputError([Problem(str(path), key, "nothing", "a reference of both parts", fix) for key in missing])
    found = {key: archive.load(key) for key in keys}
    shapes = {f"object_{name}": part.obj.shape for name, part in zip(PARTS, parts, strict=True)}
    shapes["probeGuess"] = parts[0].diffraction.shape[1:]
    if wrong := [key for key, shape in shapes.items() if found[key].shape[-2:] != shape]:
        problems = [Problem(str(path), key, f"{found[key].shape}", f"{shapes[key]}", fix) for key in wrong]
        raise InputError(problems)
    return tuple(
        replace(
            part,
            obj=found[f"object_{name}"],
            coverage=found[f"coverage_{name}"],
            probe=found["probeGuess"],
            patches=None,
            history=(*part.history, str(found[f"history_{name}"])),
        )
        for name, part in zip(PARTS, parts, strict=True)
    )
