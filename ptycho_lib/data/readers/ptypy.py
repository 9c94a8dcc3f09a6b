"""ptypy: prepared data (.ptyd) and reconstructions (.ptyr)."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.readers.npz_formats import detector_mask, optional
from ptycho_lib.data.readers.quantities import ELECTRON_VOLT_J, square_pixel, wavelength
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import Hdf5Store, first_of, frame_mask, positive, scalar
from ptycho_lib.data.readers.views import Joined
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array


def is_ptyd(store: Hdf5Store) -> bool:
    """Recognise ptypy's prepared data."""
    return bool(store.groups("chunks"))


def read_ptyd(store: Hdf5Store) -> RawScan:
    """Read ptypy's .ptyd: chunks of intensity and of positions (row, column; metres); energy in keV.

    Weights of frames mask pixels where they are zero; a `weight2d` does so for all frames.
    """
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
    meta = {name: _meta(store, name) for name in ("energy", "distance", "lam")}
    psize = first_of(store, "meta/psize", "info/psize")
    energy = meta["energy"]
    bad, notes = _bad_pixels(store, chunks)
    return RawScan(
        source=str(store.path),
        program="ptypy .ptyd",
        patterns=Joined(stacks),
        positions=np.concatenate(positions).astype(np.float64),
        unit="m",
        bad_pixels=bad,
        detector_pixel_m=None if psize is None else square_pixel(store, psize, store.array(psize)),
        wavelength_m=meta["lam"] or (None if energy is None else wavelength(energy * 1e3 * ELECTRON_VOLT_J)),
        detector_distance_m=meta["distance"],
        history=notes,
    )


def _bad_pixels(store: Hdf5Store, chunks: list[str]) -> tuple[Array | None, tuple[str, ...]]:
    """Return the pixels whose weight is zero, and lines for the history."""
    weight = detector_mask(store, first_of(store, "common/weight2d", "meta/weight2d") or "")
    bad = None if weight is None else weight == 0
    notes: tuple[str, ...] = ()
    for chunk in chunks:
        more, lines = frame_mask(store, f"{chunk}/weights", good_is_nonzero=True)
        notes += tuple(line for line in lines if line not in notes)
        if more is not None and (bad is None or bad.shape == more.shape):
            bad = more if bad is None else bad | more
    return bad, notes


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
    pixel = first_of(store, f"content/obj/{name}/_psize", f"content/obj/{name}/psize")
    others = len(store.groups("content/obj")) - 1
    return RawScan(
        source=str(store.path),
        program="ptypy .ptyr",
        positions=optional(store, positions),
        unit="m",
        origin_m=_first_point(grids),
        probe=optional(store, f"content/probe/{probes[0]}/data") if probes else None,
        obj=optional(store, f"content/obj/{name}/data"),
        pixel_size_m=None if pixel is None else square_pixel(store, pixel, store.array(pixel)),
        history=(f"object and probe: storage {name}, {others} more ignored",) if others else (),
    )


def _first_point(grids: Array | None) -> Array | None:
    """Return row and column, metres, of the first pixel of ptypy's coordinate grids (2, layers, H, W)."""
    if grids is None or grids.ndim < 2 or len(grids) < 2 or not grids.size or grids.dtype.kind not in "fiu":
        return None
    return np.asarray(grids.reshape(len(grids), -1).min(axis=1)[:2])


def _meta(store: Hdf5Store, name: str) -> float | None:
    """Return a number of ptypy's metadata, which are in `meta`, or in `info` of older files."""
    return positive(scalar(store, f"meta/{name}")) or positive(scalar(store, f"info/{name}"))
