"""One way to look into npz and HDF5 files: keys, and arrays that stay on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import psutil

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.io.npz import HOW_TO_CONVERT, NpzArchive, file_kind, open_binary

HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError, MemoryError)
"""What h5py raises on damaged files."""


class Store(Protocol):
    """A file as a mapping from keys to arrays."""

    path: Path

    def __contains__(self, key: str) -> bool:
        """Return whether an array of this key can be read."""

    def describe(self) -> Iterator[str]:
        """Yield a line for each array: key, shape, dtype."""

    def stack(self, key: str) -> Any:
        """Return an array that may stay on disk."""

    def array(self, key: str) -> Array:
        """Return an array in memory."""

    def attribute(self, key: str, name: str) -> Any:
        """Return an HDF5 attribute, or None."""


class NpzStore:
    """An npz archive as a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = NpzArchive(path)

    @property
    def ignored(self) -> dict[str, str]:
        """Members that are never read, with the reason."""
        return self._archive.ignored

    def __contains__(self, key: str) -> bool:
        return key in self._archive.members

    def describe(self) -> Iterator[str]:
        """Yield a line for each array."""
        return (f"{key} {member.shape} {member.dtype}" for key, member in self._archive.members.items())

    def stack(self, key: str) -> Any:
        """Return an array: mapped from the file if it is stored uncompressed."""
        self._refuse_unknown(key)
        return self._archive.read(key)

    def array(self, key: str) -> Array:
        """Return an array in memory."""
        self._refuse_unknown(key)
        return self._archive.load(key)

    def _refuse_unknown(self, key: str) -> None:
        if key not in self:
            raise InputError(_missing(self, key, self.ignored.get(key, "no such array")))

    def attribute(self, key: str, name: str) -> Any:
        """Return None: npz has no attributes."""
        return None


class Hdf5Stack:
    """A dataset of an HDF5 file, read where it is indexed; keeps the file open."""

    def __init__(self, file: h5py.File, dataset: h5py.Dataset) -> None:
        self._file, self._dataset = file, dataset
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, key: Any) -> Array:
        try:
            return np.asarray(self._dataset[key])
        except HDF5_ERRORS as error:
            raise InputError(_damaged(self._file.filename, self._dataset.name, error)) from None


class Hdf5Store:
    """An HDF5 file as a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except HDF5_ERRORS as error:
            raise InputError(_damaged(str(path), "", error)) from None

    def __contains__(self, key: str) -> bool:
        try:
            return isinstance(self._file.get(key), h5py.Dataset)
        except HDF5_ERRORS:
            return False

    def groups(self, key: str) -> list[str]:
        """Return the names inside a group, sorted, numbers by value; empty if there is no such group."""
        try:
            group = self._file.get(key)
            # A damaged name that is not text comes as bytes.
            names = [name for name in group if isinstance(name, str)] if isinstance(group, h5py.Group) else []
        except HDF5_ERRORS:
            return []
        return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))

    def describe(self) -> Iterator[str]:
        """Yield a line for each dataset."""
        lines: list[str] = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                lines.append(f"{name} {item.shape} {item.dtype}")

        try:
            self._file.visititems(visit)
        except HDF5_ERRORS as error:
            lines.append(f"… unreadable from here on ({error})")
        return iter(lines)

    def stack(self, key: str) -> Any:
        """Return a dataset that stays on disk."""
        dataset = self._dataset(key)
        if dataset.dtype.kind not in "fiubc":
            found = f"dtype {dataset.dtype}"
            raise InputError(Problem(str(self.path), key, found, "numbers", "Name the array of the patterns."))
        chunk = int(np.prod(dataset.chunks or (1,), dtype=object)) * dataset.dtype.itemsize
        if chunk > psutil.virtual_memory().available // 4:
            found = f"chunks of {chunk / 1e9:.1f} GB, each read whole even for one pattern"
            fix = "Write it in chunks of one pattern, with h5repack for instance."
            raise InputError(Problem(str(self.path), key, found, "chunks that fit in memory", fix))
        return Hdf5Stack(self._file, dataset)

    def array(self, key: str) -> Array:
        """Return a dataset in memory; refuses one that would fill it."""
        dataset = self._dataset(key)
        free = psutil.virtual_memory().available
        try:
            nbytes = int(np.prod(dataset.shape or (), dtype=object)) * dataset.dtype.itemsize
            if nbytes <= free // 2:
                return np.asarray(dataset[()])
        except HDF5_ERRORS as error:
            raise InputError(_damaged(str(self.path), key, error)) from None
        found = f"{nbytes / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory are free"
        fix = "This array is read whole; give a smaller one."
        raise InputError(Problem(str(self.path), key, found, "an array that fits in memory", fix))

    def attribute(self, key: str, name: str) -> Any:
        """Return an attribute of a dataset, a group or (key '/') the file; None if there is none."""
        try:
            return self._file[key].attrs.get(name)
        except HDF5_ERRORS:
            return None

    def _dataset(self, key: str) -> h5py.Dataset:
        try:
            item = self._file.get(key)
        except HDF5_ERRORS as error:
            raise InputError(_damaged(str(self.path), key, error)) from None
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            return item
        found = "a group" if isinstance(item, h5py.Group) else "no such array"
        raise InputError(_missing(self, key, found))


def open_store(path: str | Path) -> NpzStore | Hdf5Store:
    """Open an npz or HDF5 file by its first bytes, not by its name."""
    path = Path(path)
    with open_binary(path) as stream:
        kind = file_kind(stream)
    if kind == "zip":
        return NpzStore(path)
    if kind == "an HDF5 file":
        return Hdf5Store(path)
    raise InputError(Problem(str(path), "", kind, "an npz or HDF5 file", HOW_TO_CONVERT))


def scalar(store: Store, key: str) -> float | None:
    """Return the number stored under a key (the first, if there are several); None if there is none."""
    return as_number(store.array(key)) if key in store else None


def as_number(value: Any) -> float | None:
    """Return a real number, or the first of an array of them; None for anything else."""
    array = np.asarray(value)
    return float(array.reshape(-1)[0]) if array.dtype.kind in "fiu" and array.size else None


def positive(value: Any) -> float | None:
    """Return a finite positive number; None for anything else."""
    number = as_number(value)
    return number if number is not None and np.isfinite(number) and number > 0 else None


def _missing(store: Store, key: str, found: str) -> Problem:
    fix = f"The file holds: {'; '.join(list(store.describe())[:12]) or 'nothing'}."
    return Problem(str(store.path), key, found, "an array", fix)


def _damaged(path: str, key: str, error: BaseException) -> Problem:
    found = f"unreadable data ({' '.join(str(error).split()) or type(error).__name__})"
    return Problem(path, key, found, "a complete HDF5 file", "Copy or export the file again.")
