"""CXI and its variants: the standard, NXcxi_ptycho, PyNX, ptychodus."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.readers.npz_formats import optional
from ptycho_lib.data.readers.quantities import (
    DISTANCE_M,
    LENGTHS,
    WAVELENGTH_M,
    photon_energy,
    plausible_length,
    square_pixel,
    unit_of,
    wavelength,
)
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import Hdf5Store, first_of, frame_mask, positive, scalar
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array

SIGNAL_ONLY = 0x1000
"""Bit of a CXI mask that marks a good pixel with signal; any other bit is a problem of the pixel."""
AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""(x, y, z) along which rows and columns of a CXI detector count where the file does not say: seen along the
beam, z, x points to the left and y up, and pixel (0, 0) is the upper left one."""
ENTRY = "entry_1"
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
BEAM = "entry_1/instrument_1/beam_1"
ENERGY_KEYS = (
    f"{BEAM}/incident_beam_energy",
    f"{BEAM}/incident_energy",
    f"{BEAM}/energy",
    f"{SOURCE}/energy",
)
WAVELENGTH_KEYS = (f"{BEAM}/incident_wavelength", f"{BEAM}/wavelength", f"{SOURCE}/wavelength")
PROBE_KEYS = ("illumination", "probe", "initial_image", "data_illumination")
TRANSLATION_KEYS = (
    f"{ENTRY}/sample_1/geometry_1/translation",
    f"{ENTRY}/data_1/translation",
    f"{DETECTOR}/translation",
)


def is_cxi(store: Hdf5Store) -> bool:
    """Recognise CXI by its first entry."""
    return bool(store.groups(ENTRY))


def read_cxi(store: Hdf5Store) -> RawScan:
    """Read CXI: patterns, translations (x, y, z; metres), geometry, mask, dark; probe and object if present.

    Maia, Nat. Methods 9, 854 (2012). A translation moves the sample, so the probe moves over it by the
    opposite vector, which is projected on the detector's axes: ``basis_vectors``, else `AXES`, with which
    (row, column) are (y, x) of the translation. ptychodus writes (x, y) of the probe in image axes. Attributes
    `units` are honoured. The energy of the beam is preferred to that of the source, which may be the
    storage ring's.
    """
    patterns = _patterns(store)
    probe, obj = _images(store)
    mask, masks = frame_mask(store, f"{DETECTOR}/mask", bad_bits=~SIGNAL_ONLY)
    by_ptychodus = bool(store.groups(f"{ENTRY}/ptychodus"))
    basis = optional(store, f"{DETECTOR}/basis_vectors")
    axes, basis_pixel = _detector_axes(basis)
    words = "(y, x), as CXI has them" if basis is None else "projected on the detector's axes"
    notes = [*masks] if by_ptychodus else [f"positions: sample translations {words}", *masks]
    obj_array = None if obj is None else store.array(obj)
    probe_array = None if probe is None else store.array(probe)
    pixel = _object_pixel(store, obj_array)
    origin = None
    if by_ptychodus and obj_array is not None and pixel is not None:
        centre = [scalar(store, f"{ENTRY}/ptychodus/object_center_{axis}_m") or 0.0 for axis in ("y", "x")]
        origin = np.asarray(centre) - np.asarray(obj_array.shape[-2:]) / 2 * pixel
    elif obj == f"{ENTRY}/image_2/data" and obj_array is not None and pixel is not None:
        origin = _image_origin(store, obj_array, pixel)
    wave, lines = _wavelength(store)
    notes += lines
    distance, lines = _distance(store)
    notes += lines
    count = None if patterns is None else int(np.prod(store.stack(patterns).shape[:-2]))
    dark = first_of(store, f"{DETECTOR}/data_dark", f"{DETECTOR}/dark")
    return RawScan(
        source=str(store.path),
        program="CXI file",
        patterns=None if patterns is None else store.stack(patterns),
        positions=_translations(store, AXES if by_ptychodus else axes, count),
        position_index=optional(store, f"{ENTRY}/ptychodus/probe_position_indexes"),
        unit="m",
        origin_m=origin,
        probe=probe_array,
        obj=obj_array,
        bad_pixels=mask,
        dark=None if dark is None else store.array(dark),
        detector_pixel_m=_detector_pixel(store) or basis_pixel,
        pixel_size_m=pixel,
        wavelength_m=wave,
        detector_distance_m=distance,
        history=tuple(notes),
    )


def _patterns(store: Hdf5Store) -> str | None:
    """Return the key of the patterns: real numbers with at least three axes (PyNX links a result to `data_1`)."""
    for key in (f"{ENTRY}/data_1/data", f"{DETECTOR}/data"):
        if key in store and (about := store.shape_and_kind(key)) and len(about[0]) >= 3 and about[1] in "fiub":
            return key
    return None


def _images(store: Hdf5Store) -> tuple[str | None, str | None]:
    """Return the keys of probe and object: of an experiment, of a reconstruction, or of PyNX's results."""
    titled = {}
    for number in (1, 2):
        title = store.text(f"{ENTRY}/image_{number}/title").strip().lower()
        if title in ("probe", "object", "obj"):
            titled["probe" if title == "probe" else "object"] = f"{ENTRY}/image_{number}/data"
    usual = {"probe": f"{ENTRY}/image_1/data", "object": f"{ENTRY}/image_2/data"}
    image = titled or usual
    probe = first_of(store, *(f"{SOURCE}/{name}" for name in PROBE_KEYS), f"{ENTRY}/probe/data", image.get("probe", ""))
    obj = first_of(store, image.get("object", ""), f"{ENTRY}/object/data", f"{ENTRY}/object_1/data")
    return probe, obj


def _object_pixel(store: Hdf5Store, obj: Array | None) -> float | None:
    pixel = positive(scalar(store, f"{ENTRY}/ptychodus/object_pixel_width_m"))
    pixel = pixel or positive(scalar(store, f"{ENTRY}/object/x_pixel_size"))
    if pixel is None and obj is not None:
        extent = positive(scalar(store, f"{ENTRY}/image_2/image_size"))
        pixel = None if extent is None else extent / obj.shape[-1]
    return pixel


def _image_origin(store: Hdf5Store, obj: Array, pixel: float) -> Array | None:
    """Return the place (row, column) of the object's first pixel, metres, if the file says where its middle lies."""
    centre = optional(store, f"{ENTRY}/image_2/image_center")
    if centre is None or centre.size != 3 or centre.dtype.kind not in "fiu":
        return None
    factor = LENGTHS.get(unit_of(store, f"{ENTRY}/image_2/image_center"), 1.0)
    middle = -factor * centre.reshape(3).astype(np.float64)[[1, 0]]  # y up, x to the left
    return middle - np.asarray(obj.shape[-2:]) / 2 * pixel


def _detector_pixel(store: Hdf5Store) -> float | None:
    edges = [
        plausible_length(store, f"{DETECTOR}/{axis}_pixel_size", (1e-7, 1e-2), {"mm": 1e-3, "um": 1e-6})[0]
        for axis in ("x", "y")
    ]
    known = [edge for edge in edges if edge is not None]
    return square_pixel(store, f"{DETECTOR}/x_pixel_size", known) if known else None


def _wavelength(store: Hdf5Store) -> tuple[float | None, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    for key in WAVELENGTH_KEYS:
        wave, lines = plausible_length(store, key, WAVELENGTH_M, {"angstrom": 1e-10, "nm": 1e-9})
        notes += lines
        if wave is not None:
            return wave, notes
    for key in ENERGY_KEYS:
        energy, lines = photon_energy(store, key)
        notes += lines
        if energy is not None:
            return wavelength(energy), notes
    return None, notes


def _distance(store: Hdf5Store) -> tuple[float | None, tuple[str, ...]]:
    distance, notes = plausible_length(store, f"{DETECTOR}/distance", DISTANCE_M, {"mm": 1e-3})
    if distance is None and (corner := optional(store, f"{DETECTOR}/corner_position")) is not None:
        z = abs(float(corner.reshape(-1)[-1])) if corner.size == 3 else 0.0
        factor = LENGTHS.get(unit_of(store, f"{DETECTOR}/corner_position"), 1.0)
        if DISTANCE_M[0] <= z * factor <= DISTANCE_M[1]:
            return z * factor, (*notes, "detector distance: z of corner_position")
    return distance, notes


def _detector_axes(basis: Array | None) -> tuple[Array, float | None]:
    """Return the unit vectors (2, 3) of the detector's rows and columns, and its pixel, metres, if known."""
    if basis is None or basis.shape not in ((2, 3), (3, 2)) or basis.dtype.kind not in "fiu":
        return AXES, None
    vectors = np.asarray(basis if basis.shape == (2, 3) else basis.T, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(length).all() and length.all()):
        return AXES, None
    return vectors / length[:, None], float(length[1])


def _translations(store: Hdf5Store, axes: Array, count: int | None) -> Array | None:
    """Return the probe's positions (row, column), metres: opposite of the translations, along the axes."""
    key = first_of(store, *TRANSLATION_KEYS)
    if key is None:
        return None
    translation = store.array(key)
    if translation.ndim == 2 and translation.shape[0] in (2, 3, 4) and translation.shape[1] not in (2, 3):
        translation = translation.T  # PyNX: (3, n)
    elif translation.ndim == 2 and translation.shape == (3, count) and count != 3:
        translation = translation.T
    if translation.ndim != 2 or translation.shape[1] not in (2, 3, 4) or translation.dtype.kind not in "fiu":
        found = f"shape {translation.shape} of {translation.dtype}"
        fix = "CXI wants x, y and z of each pattern."
        raise InputError(Problem(str(store.path), key, found, "(n, 3) or (3, n), metres", fix))
    factor = LENGTHS.get(unit_of(store, key), 1.0)
    moved = translation[:, :3].astype(np.float64) * factor
    return -moved @ axes[:, : moved.shape[1]].T
