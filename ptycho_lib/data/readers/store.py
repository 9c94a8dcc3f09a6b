"""One way to look into npz and HDF5 files: keys, and arrays that stay on disk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import hdf5plugin  # noqa: F401  (registers the filters of detectors: bitshuffle, LZ4, Zstandard, Blosc)
import numpy as np
import psutil
import scipy.io

from ptycho_lib.data.readers.views import Exchanged
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, blocks
from ptycho_lib.io.npz import HOW_TO_CONVERT, NpzArchive, file_kind, open_binary

HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError, MemoryError)
"""What h5py raises on damaged files."""
MATLAB_ERRORS = (*HDF5_ERRORS, scipy.io.matlab.MatReadError, NotImplementedError, EOFError, IndexError, zlib.error)
"""What scipy raises on damaged files."""


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


class MatStore:
    """A MATLAB file of version 5 to 7.2 as a store; read whole. Images come as (..., rows, columns)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ignored: dict[str, str] = {}
        try:
            content = scipy.io.loadmat(path, squeeze_me=False)
        except MATLAB_ERRORS as error:
            fix = "Copy or export the file again."
            found = f"unreadable data ({str(error) or type(error).__name__})"
            raise InputError(Problem(str(path), "", found, "a complete MATLAB file", fix)) from None
        self._arrays = {key: _first_axes(value) for key, value in content.items() if _is_numeric(value)}

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def describe(self) -> Iterator[str]:
        """Yield a line for each array."""
        return (f"{key} {array.shape} {array.dtype}" for key, array in self._arrays.items())

    def array(self, key: str) -> Array:
        """Return an array in memory."""
        if key not in self:
            raise InputError(_missing(self, key, "no such array"))
        return self._arrays[key]

    def stack(self, key: str) -> Any:
        """Return an array in memory."""
        return self.array(key)

    def attribute(self, key: str, name: str) -> Any:
        """Return None: MATLAB files have no attributes."""
        return None


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiubc"


def _first_axes(array: Array) -> Array:
    """Return (rows, columns, n, m) of MATLAB as (m, n, rows, columns)."""
    if array.ndim < 3:
        return array
    return np.ascontiguousarray(array.transpose(*range(array.ndim - 1, 1, -1), 0, 1))


class Hdf5Stack:
    """A dataset of an HDF5 file, read where it is indexed; keeps the file open."""

    def __init__(self, file: h5py.File, dataset: h5py.Dataset) -> None:
        self._file, self._dataset = file, dataset
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, key: Any) -> Array:
        try:
            return np.asarray(self._dataset[key])
        except HDF5_ERRORS as error:
            raise InputError(_unreadable(self._dataset, error)) from None


class Hdf5Store:
    """An HDF5 file as a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            self._matlab = self._file.userblock_size > 0 and _starts_with(path, b"MATLAB")
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
        self._refuse_missing_sources(dataset)
        stack = Hdf5Stack(self._file, dataset)
        return Exchanged(stack) if self._matlab and len(stack.shape) > 2 else stack

    def array(self, key: str) -> Array:
        """Return a dataset in memory; refuses one that would fill it."""
        dataset = self._dataset(key)
        free = psutil.virtual_memory().available
        try:
            nbytes = int(np.prod(dataset.shape or (), dtype=object)) * dataset.dtype.itemsize
            if nbytes <= free // 2:
                self._refuse_missing_sources(dataset)
                array = as_complex(np.asarray(dataset[()]))
                return array.swapaxes(-1, -2) if self._matlab and array.ndim > 1 else array
        except HDF5_ERRORS as error:
            raise InputError(_unreadable(dataset, error)) from None
        found = f"{nbytes / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory are free"
        fix = "This array is read whole; give a smaller one."
        raise InputError(Problem(str(self.path), key, found, "an array that fits in memory", fix))

    def attribute(self, key: str, name: str) -> Any:
        """Return an attribute of a dataset, a group or (key '/') the file; None if there is none."""
        try:
            return self._file[key].attrs.get(name)
        except HDF5_ERRORS:
            return None

    def shape_and_kind(self, key: str) -> tuple[tuple[int, ...], str] | None:
        """Return shape and kind of dtype of a dataset ('c' for compound complex numbers); None if there is none."""
        if key not in self:
            return None
        dataset = self._dataset(key)
        return dataset.shape, "c" if dataset.dtype.names else dataset.dtype.kind

    def text(self, key: str) -> str:
        """Return a text that is stored as a dataset; empty if there is none."""
        try:
            value = self._file[key][()] if key in self else ""
        except HDF5_ERRORS:
            return ""
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def _refuse_missing_sources(self, dataset: h5py.Dataset) -> None:
        """Refuse a virtual dataset that would give fill values for source files that are missing."""
        if not dataset.is_virtual:
            return
        names = {source.file_name for source in dataset.virtual_sources()} - {"."}
        missing = sorted(name for name in names if not (self.path.parent / name).exists())
        if missing:
            found = f"links to missing files: {', '.join(missing[:3])}"
            fix = "Copy the data files beside the master file."
            raise InputError(Problem(str(self.path), dataset.name, found, "all linked files", fix))

    def _dataset(self, key: str) -> h5py.Dataset:
        try:
            item = self._file.get(key)
            link = self._file.get(key, getlink=True) if item is None else None
        except HDF5_ERRORS as error:
            raise InputError(_damaged(str(self.path), key, error)) from None
        if isinstance(link, h5py.ExternalLink):
            found = f"a link to {link.filename}, which is missing or holds no {link.path}"
            fix = "Copy the data files beside the master file."
            raise InputError(Problem(str(self.path), key, found, "the linked file", fix))
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            return item
        found = "a group" if isinstance(item, h5py.Group) else "no such array"
        raise InputError(_missing(self, key, found))


AnyStore = NpzStore | Hdf5Store | MatStore


def open_store(path: str | Path) -> AnyStore:
    """Open an npz, HDF5 or MATLAB file by its first bytes, not by its name."""
    path = Path(path)
    with open_binary(path) as stream:
        kind = file_kind(stream)
    if kind == "zip":
        return NpzStore(path)
    if kind == "an HDF5 file":
        return Hdf5Store(path)
    if kind == "a MATLAB 5 file":
        return MatStore(path)
    raise InputError(Problem(str(path), "", kind, "an npz, HDF5 or MATLAB file", HOW_TO_CONVERT))


def first_of(store: Store, *keys: str) -> str | None:
    """Return the first key that the store holds."""
    return next((key for key in keys if key and key in store), None)


def as_complex(array: Array) -> Array:
    """Return compound (real, imaginary) records, as MATLAB and others store complex numbers, as complex numbers."""
    if array.dtype.names and len(array.dtype.names) == 2:
        real, imaginary = array.dtype.names
        return np.asarray(array[real] + 1j * array[imaginary])
    return array


def frame_mask(
    store: Store, key: str, *, good_is_nonzero: bool = False, bad_bits: int = -1
) -> tuple[Array | None, tuple[str, ...]]:
    """Return the bad pixels that a mask names, also one for each frame, and lines for the history.

    Parameters
    ----------
    store : Store
    key : str
        Of a mask (rows, columns) or (n, rows, columns).
    good_is_nonzero : bool
        Weights: zero marks a bad pixel; else anything but zero does.
    bad_bits : int
        Bits that count.

    Returns
    -------
    bad : (rows, columns) bool array or None
        Bad in any frame; None if there is no such mask.
    notes : tuple of str
    """
    if key not in store:
        return None, ()
    stack = store.stack(key)
    if len(stack.shape) not in (2, 3) or np.dtype(stack.dtype).kind not in "biuf" or 0 in stack.shape:
        return None, ()

    def bad_of(block: Array) -> Array:
        if good_is_nonzero:
            return np.asarray(block == 0)
        return np.asarray((block.astype(np.int64) & bad_bits) != 0)

    if len(stack.shape) == 2:
        return bad_of(store.array(key)), ()
    ever, always = np.zeros(stack.shape[1:], bool), np.ones(stack.shape[1:], bool)
    for _, block in blocks(stack):
        bad = bad_of(block)
        ever |= bad.any(axis=0)
        always &= bad.all(axis=0)
    if np.array_equal(ever, always):
        return ever, ()
    return ever, ("mask: it changes from frame to frame; a pixel counts as unmeasured if any frame masks it",)


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


def _unreadable(dataset: h5py.Dataset, error: BaseException) -> Problem:
    """Say whether a compression filter is missing, or the data are damaged."""
    path, key = str(dataset.file.filename), str(dataset.name)
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    unknown = [
        f"{number} ({name.decode(errors='replace')})"
        for number, _, _, name in filters
        if not h5py.h5z.filter_avail(number)
    ]
    if unknown:
        found = f"data compressed with the HDF5 filter {', '.join(unknown)}, which is not installed"
        fix = "Install a plugin for this filter, or write the file again with h5repack and another compression."
        return Problem(path, key, found, "a filter that hdf5plugin knows", fix)
    return _damaged(path, key, error)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
