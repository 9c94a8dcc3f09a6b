"""Foreign files -> PtychoDataset: one function a layout, behind one `open_dataset`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_lib.data.dataset import PtychoDataset, check_dataset
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.readers import cxi, nexus, npz_formats, ptypy
from ptycho_lib.data.readers.convert import complete
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import AnyStore, Hdf5Store, MatStore, NpzStore, open_store
from ptycho_lib.errors import InputError, Problem

__all__ = ["RawScan", "open_dataset", "read_file", "read_parts", "read_scan"]

KEYS = ("diffraction_key", "positions_key", "x_key", "y_key", "probe_key", "object_key")
"""Options that name arrays."""
PATTERNS = ("patterns", "pattern_index", "quantity", "dc", "bad_pixels", "dark", "detector_pixel_m")
"""What comes along when the patterns are taken from another file."""
OBJECT_FRAME = ("obj", "pixel_size_m", "origin_m", "coverage")
"""What comes along when the object is taken from another file."""


def open_dataset(path: str | Path, **options: Any) -> PtychoDataset:
    """Open any known file as a dataset; large arrays stay on disk, conversions happen as they are read.

    Parameters
    ----------
    path : str or Path
        npz of the contract, PtychoPINN npz, tike npz, CXI, ptypy .ptyd or .ptyr, ptychodus product or
        diffraction file (npz or HDF5), Eiger master, or any npz, HDF5 or MATLAB file whose arrays the options
        name. The layout is recognised by content, not by the file's ending.
    **options
        Fields of `ReadOptions`.

    Returns
    -------
    PtychoDataset
        Fulfils the contract; its history lists each conversion.

    Raises
    ------
    InputError
        With every problem of the file.
    """
    dataset = read_file(path, parse_options(ReadOptions, "options", options))
    problems = check_dataset(dataset)
    if problems:
        raise InputError(problems)
    return dataset


def read_file(path: str | Path, options: ReadOptions) -> PtychoDataset:
    """Read and convert a file without checking the values."""
    return complete(read_parts(path, options), options)


def read_parts(path: str | Path, options: ReadOptions) -> RawScan:
    """Read a file, and from the files that the options name what they replace, unconverted.

    A key belongs to the file that holds its array: `diffraction_key` to `patterns_file` if there is one, …
    """
    companions = (
        (options.patterns_file, "diffraction_key", PATTERNS),
        (options.probe_file, "probe_key", ("probe",)),
        (options.object_file, "object_key", OBJECT_FRAME),
    )
    elsewhere = {key for file, key, _ in companions if file is not None}
    raw = read_scan(path, _with_keys(options, *(key for key in KEYS if key not in elsewhere)))
    for companion, key, names in companions:
        if companion is not None:
            other = read_scan(companion, _with_keys(options, key))
            if getattr(other, names[0]) is None:
                fix = f"Name another file, or the array in it with `--{key.replace('_', '-')}`."
                raise InputError(Problem(companion, names[0], f"none in this {other.program}", f"the {names[0]}", fix))
            if names is OBJECT_FRAME:  # what belonged to the other object goes with it
                raw = replace(raw, coverage=None, patches=None)
            raw = raw.taking(other, names)
            raw = replace(raw, history=(*raw.history, f"{names[0]}: from {Path(companion).name}"))
    return raw


def _with_keys(options: ReadOptions, *kept: str) -> ReadOptions:
    """Return the options without the names of arrays, except those that are kept."""
    return options.model_copy(update={key: None for key in KEYS if key not in kept})


def read_scan(path: str | Path, options: ReadOptions) -> RawScan:
    """Read what a file holds, in its own conventions; arrays that the options name replace the layout's.

    Raises
    ------
    InputError
        If the layout is unknown and no array is named, or an array cannot be read.
    """
    store = open_store(path)
    plain = RawScan(source=str(path), program="file with named arrays")
    known = None if options.diffraction_key is not None else _read_known(store)
    if any(getattr(options, key) for key in KEYS):
        return npz_formats.with_named(known or plain, store, options)
    if known is not None:
        return known
    arrays = "; ".join(list(store.describe())[:12]) or "nothing"
    fix = "Name the arrays with `--diffraction-key`, `--positions-key`, `--probe-key` and `--object-key`."
    raise InputError(Problem(str(path), "", f"an unknown layout ({arrays})", "a known layout", fix))


def _read_known(store: AnyStore) -> RawScan | None:
    if npz_formats.is_ptychodus_product(store):
        return npz_formats.read_ptychodus_product(store)
    known = _read_hdf5(store) if isinstance(store, Hdf5Store) else _read_npz(store)
    if known is None and npz_formats.is_ptychodus_patterns(store):
        return npz_formats.read_ptychodus_patterns(store)
    return known


def _read_npz(store: NpzStore | MatStore) -> RawScan | None:
    if npz_formats.is_ptychopinn(store):
        return npz_formats.read_ptychopinn(store)
    if npz_formats.is_tike(store):
        return npz_formats.read_tike(store)
    return None


def _read_hdf5(store: Hdf5Store) -> RawScan | None:
    if cxi.is_cxi(store):
        return cxi.read_cxi(store)
    if ptypy.is_ptyd(store):
        return ptypy.read_ptyd(store)
    if ptypy.is_ptyr(store):
        return ptypy.read_ptyr(store)
    if nexus.is_nexus(store):
        return nexus.read_nexus(store)
    return None
