"""Large arrays that several processes need: computed once, kept under a name that says what they are made from.

An entry is `NAME.npy` and, written last, `NAME.json` with its digest. It counts only if both agree: what is half
written or damaged is computed again. The folder may be removed at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ptycho_lib.io.files import file_sha256, replacing, write_atomically
from ptycho_lib.io.lazy_stack import Array

PATIENCE_S = 600.0
"""How long to wait for another process that computes the same entry, before computing it, too."""

Blocks = Callable[[], Iterable[Array]]
"""Returns the blocks of an array, in order; may be called again."""


@dataclass(frozen=True)
class Kept:
    """An entry as it was found, or as it was just made."""

    values: Array
    """Mapped from the disk, read only."""
    seconds: float
    """What computing it took, whoever did."""
    found: bool
    """Whether it was there before."""


class ArrayCache:
    """Arrays in one folder, safe where several processes and machines share it.

    Parameters
    ----------
    folder : Path
        Created when the first entry is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def array(
        self, name: str, shape: tuple[int, ...], dtype: Any, blocks: Blocks, seconds: Callable[[], float]
    ) -> Kept | None:
        """Return an entry, made from its blocks if it is not there.

        Parameters
        ----------
        name : str
            Of the entry: a digest of everything that its values depend on.
        shape, dtype
            Of the whole array.
        blocks : callable
            Returns the blocks (b, ...) of the array in order.
        seconds : callable
            Returns what computing the blocks took; asked after the last.

        Returns
        -------
        Kept or None
            None where nothing can be kept: a full disk, a folder that is read only, or another process that
            has been computing the entry for `PATIENCE_S`.
        """
        try:
            kept = self._read(name, shape, dtype)
            if kept is not None:
                return kept
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.folder / f"{name}.lock"
            if lock.is_symlink():
                lock.unlink()  # whatever it leads to is not ours
            with FileLock(lock, timeout=PATIENCE_S):
                kept = self._read(name, shape, dtype)  # another process may have made it meanwhile
                return kept or self._make(name, shape, dtype, blocks, seconds)
        except (OSError, Timeout):
            return None

    def _read(self, name: str, shape: tuple[int, ...], dtype: Any) -> Kept | None:
        """Return an entry that is whole, or None."""
        path = self.folder / f"{name}.npy"
        try:
            note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            whole = note["sha256"] == file_sha256(path)
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            seconds = float(note["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        expected = values.shape == tuple(shape) and values.dtype == np.dtype(dtype)
        return Kept(values, seconds, found=True) if whole and expected else None

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: Any, blocks: Blocks, seconds: Callable[[], float]
    ) -> Kept | None:
        path = self.folder / f"{name}.npy"
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        # Written as a stream: a full disk is then an error, where a mapped file would end the process.
        with replacing(path) as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for block in blocks():
                stream.write(np.ascontiguousarray(block, dtype).data)
        note = {"sha256": file_sha256(path), "seconds": round(seconds(), 4)}
        write_atomically(path.with_suffix(".json"), json.dumps(note) + "\n")
        kept = self._read(name, shape, dtype)
        return None if kept is None else Kept(kept.values, kept.seconds, found=False)
