"""HDF5 layouts: CXI, ptypy's .ptyd and .ptyr."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptycho_lib.data.readers.npz_formats import ELECTRON_VOLT_J, detector_mask, optional, wavelength
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import Hdf5Store, positive, scalar
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, read_patterns

CXI_SIGNAL_ONLY = 0x1000
"""Bit of a CXI mask that marks a good pixel with signal; any other bit is a problem of the pixel."""


CXI_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""(x, y, z) along which rows and columns of a CXI detector count where the file does not say: seen along the
beam, z, x points to the left and y up, and pixel (0, 0) is the upper left one."""


class Joined:
    """Several stacks, one after the other, as one."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __getitem__(self, key: Any) -> Array:
        wanted = np.atleast_1d(np.arange(self.shape[0])[key])
        result = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            result[mine] = read_patterns(self._parts[number], wanted[mine] - self._starts[number])
        return result


def is_cxi(store: Hdf5Store) -> bool:
    """Recognise CXI by its first entry."""
    return bool(store.groups("entry_1"))


def read_cxi(store: Hdf5Store) -> RawScan:
    """Read CXI: patterns, translations (x, y, z; metres), geometry, mask; probe and object if present.

    Maia, Nat. Methods 9, 854 (2012). A translation moves the sample, so the probe moves over it by the
    opposite vector, which is projected on the detector's axes: ``basis_vectors``, else `CXI_AXES`, with which
    (row, column) are (y, x) of the translation. ptychodus writes (x, y) of the probe in image axes.
    """
    instrument, detector = "entry_1/instrument_1", "entry_1/instrument_1/detector_1"
    data = _first(store, "entry_1/data_1/data", f"{detector}/data")
    energy = positive(scalar(store, f"{instrument}/source_1/energy"))
    wave = positive(scalar(store, f"{instrument}/source_1/wavelength"))
    mask = detector_mask(store, f"{detector}/mask")
    images = {name: f"entry_1/image_{number}/data" for name, number in (("probe", 1), ("obj", 2))}
    probe = _first(store, f"{instrument}/source_1/illumination", f"{instrument}/source_1/probe", images["probe"])
    obj = _first(store, images["obj"], "entry_1/object_1/data")
    by_ptychodus = bool(store.groups("entry_1/ptychodus"))
    basis = optional(store, f"{detector}/basis_vectors")
    axes, detector_pixel = _detector_axes(basis)
    words = "(y, x), as CXI has them" if basis is None else "projected on the detector's axes"
    notes = [] if by_ptychodus else [f"positions: sample translations {words}"]
    obj_array = None if obj is None else _complex(store.array(obj))
    pixel = positive(scalar(store, "entry_1/ptychodus/object_pixel_width_m"))
    if pixel is None and obj_array is not None:
        extent = positive(scalar(store, "entry_1/image_2/image_size"))
        pixel = None if extent is None else extent / obj_array.shape[-1]
    origin = None
    if by_ptychodus and obj_array is not None and pixel is not None:
        centre = [scalar(store, f"entry_1/ptychodus/object_center_{axis}_m") or 0.0 for axis in ("y", "x")]
        origin = np.asarray(centre) - np.asarray(obj_array.shape[-2:]) / 2 * pixel
    return RawScan(
        source=str(store.path),
        program="CXI file",
        patterns=None if data is None else store.stack(data),
        positions=_translations(store, CXI_AXES if by_ptychodus else axes),
        position_index=optional(store, "entry_1/ptychodus/probe_position_indexes"),
        unit="m",
        origin_m=origin,
        probe=None if probe is None else _complex(store.array(probe)),
        obj=obj_array,
        bad_pixels=None if mask is None else (mask.astype(np.int64) & ~CXI_SIGNAL_ONLY) != 0,
        detector_pixel_m=positive(scalar(store, f"{detector}/x_pixel_size")) or detector_pixel,
        pixel_size_m=pixel,
        wavelength_m=wave if wave is not None or energy is None else wavelength(energy),
        detector_distance_m=positive(scalar(store, f"{detector}/distance")),
        history=tuple(notes),
    )


def is_ptyd(store: Hdf5Store) -> bool:
    """Recognise ptypy's prepared data."""
    return bool(store.groups("chunks"))


def read_ptyd(store: Hdf5Store) -> RawScan:
    """Read ptypy's .ptyd: chunks of intensity and of positions (row, column; metres); energy in keV."""
    chunks = [f"chunks/{name}" for name in store.groups("chunks") if f"chunks/{name}/data" in store]
    if not chunks:
        fix = "The acquisition may have been interrupted: link or copy its chunk files."
        raise InputError(Problem(str(store.path), "chunks", "no chunk with data", "chunks/0/data and so on", fix))
    positions = [store.array(f"{chunk}/positions") for chunk in chunks]
    stacks = [store.stack(f"{chunk}/data") for chunk in chunks]
    for chunk, stack, part in zip(chunks, stacks, positions, strict=True):
        if len(stack.shape) != 3 or stack.shape[1:] != stacks[0].shape[1:]:
            fix = "Write patterns of one size (n, rows, columns) into each chunk."
            raise InputError(
                Problem(str(store.path), f"{chunk}/data", f"shape {stack.shape}", "(n, rows, columns)", fix)
            )
        if part.shape != (stack.shape[0], 2) or part.dtype.kind not in "fiu":
            found, fix = f"shape {part.shape} of {part.dtype}", "Write a position for each pattern."
            raise InputError(Problem(str(store.path), f"{chunk}/positions", found, "(n, 2) numbers", fix))
    meta = {name: _meta(store, name) for name in ("energy", "distance", "psize", "lam")}
    weight = detector_mask(store, _first(store, "common/weight2d", "meta/weight2d") or "")
    energy = meta["energy"]
    return RawScan(
        source=str(store.path),
        program="ptypy .ptyd",
        patterns=Joined(stacks),
        positions=np.concatenate(positions).astype(np.float64),
        unit="m",
        bad_pixels=None if weight is None else weight == 0,
        detector_pixel_m=meta["psize"],
        wavelength_m=meta["lam"] or (None if energy is None else wavelength(energy * 1e3 * ELECTRON_VOLT_J)),
        detector_distance_m=meta["distance"],
    )


def is_ptyr(store: Hdf5Store) -> bool:
    """Recognise ptypy's reconstruction."""
    return bool(store.groups("content/obj"))


def read_ptyr(store: Hdf5Store) -> RawScan:
    """Read ptypy's .ptyr: object, probe modes and positions (metres) of its first storage.

    It holds no patterns. The place of the object's pixel (0, 0) is the first point of its `grids`.
    """
    name = store.groups("content/obj")[0]
    probes = store.groups("content/probe")
    positions = f"content/positions/{name}"
    grids = optional(store, f"content/obj/{name}/grids")
    pixel = _first(store, f"content/obj/{name}/_psize", f"content/obj/{name}/psize")
    others = len(store.groups("content/obj")) - 1
    return RawScan(
        source=str(store.path),
        program="ptypy .ptyr",
        positions=optional(store, positions),
        unit="m",
        origin_m=_first_point(grids),
        probe=optional(store, f"content/probe/{probes[0]}/data") if probes else None,
        obj=optional(store, f"content/obj/{name}/data"),
        pixel_size_m=None if pixel is None else positive(scalar(store, pixel)),
        history=(f"object and probe: storage {name}, {others} more ignored",) if others else (),
    )


def _first_point(grids: Array | None) -> Array | None:
    """Return row and column, metres, of the first pixel of ptypy's coordinate grids (2, layers, H, W)."""
    if grids is None or grids.ndim < 2 or len(grids) < 2 or not grids.size or grids.dtype.kind not in "fiu":
        return None
    return np.asarray(grids.reshape(len(grids), -1).min(axis=1)[:2])


def _first(store: Hdf5Store, *keys: str) -> str | None:
    return next((key for key in keys if key in store), None)


def _meta(store: Hdf5Store, name: str) -> float | None:
    """Return a number of ptypy's metadata, which are in `meta`, or in `info` of older files."""
    return positive(scalar(store, f"meta/{name}")) or positive(scalar(store, f"info/{name}"))


def _complex(array: Array) -> Array:
    """Return compound (r, i) records, as some programs store complex numbers, as complex numbers."""
    if array.dtype.names and len(array.dtype.names) == 2:
        real, imaginary = array.dtype.names
        return np.asarray(array[real] + 1j * array[imaginary])
    return array


def _detector_axes(basis: Array | None) -> tuple[Array, float | None]:
    """Return the unit vectors (2, 3) of the detector's rows and columns, and its pixel, metres, if known."""
    if basis is None or basis.shape not in ((2, 3), (3, 2)) or basis.dtype.kind not in "fiu":
        return CXI_AXES, None
    vectors = np.asarray(basis if basis.shape == (2, 3) else basis.T, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(length).all() and length.all()):
        return CXI_AXES, None
    return vectors / length[:, None], float(length[1])


def _translations(store: Hdf5Store, axes: Array) -> Array | None:
    """Return the probe's positions (row, column), metres: opposite of the translations, along the axes."""
    key = _first(
        store,
        "entry_1/sample_1/geometry_1/translation",
        "entry_1/data_1/translation",
        "entry_1/instrument_1/detector_1/translation",
    )
    if key is None:
        return None
    translation = store.array(key)
    if translation.ndim != 2 or translation.shape[1] not in (2, 3) or translation.dtype.kind not in "fiu":
        found = f"shape {translation.shape} of {translation.dtype}"
        fix = "CXI wants x, y and z of each pattern."
        raise InputError(Problem(str(store.path), key, found, "(n, 3), metres", fix))
    return -translation.astype(np.float64) @ axes[:, : translation.shape[1]].T
