"""NeXus, and the master files of Eiger detectors, which link their data files."""

from __future__ import annotations

import re

from ptycho_lib.data.readers.quantities import (
    DISTANCE_M,
    WAVELENGTH_M,
    photon_energy,
    plausible_length,
    square_pixel,
    wavelength,
)
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import Hdf5Store, first_of, frame_mask
from ptycho_lib.data.readers.views import Joined

DETECTOR = "entry/instrument/detector"
LINKED = re.compile(r"data_\d+$")
"""Names of the stacks that an Eiger master links."""


def is_nexus(store: Hdf5Store) -> bool:
    """Recognise NeXus by the detector of its entry, or by an Eiger's linked data."""
    return bool(_linked(store)) or f"{DETECTOR}/data" in store


def read_nexus(store: Hdf5Store) -> RawScan:
    """Read the patterns, the mask and the geometry; positions, probe and object are named by options.

    An Eiger master links ``entry/data/data_000001`` and so on, each a file; a missing one is an error.
    ``detectorSpecific/pixel_mask`` marks gaps, dead and hot pixels. Wavelengths are in angstrom there.
    """
    linked = _linked(store)
    if linked:
        patterns = Joined([store.stack(f"entry/data/{name}") for name in linked])
    else:
        patterns = store.stack(first_of(store, "entry/data/data", f"{DETECTOR}/data") or "")
    mask_key = first_of(store, f"{DETECTOR}/pixel_mask", f"{DETECTOR}/detectorSpecific/pixel_mask")
    mask, notes = frame_mask(store, mask_key or "")
    distance_key = first_of(store, f"{DETECTOR}/detector_distance", f"{DETECTOR}/distance") or ""
    distance, more = plausible_length(store, distance_key, DISTANCE_M, {"mm": 1e-3})
    notes += more
    edges = [plausible_length(store, f"{DETECTOR}/{axis}_pixel_size", (1e-7, 1e-2), {})[0] for axis in ("x", "y")]
    wave = None
    for key in ("entry/instrument/beam/incident_wavelength", "entry/instrument/monochromator/wavelength"):
        if wave is None:
            wave, more = plausible_length(store, key, WAVELENGTH_M, {"angstrom": 1e-10})
            notes += more
    for key in ("entry/instrument/beam/incident_energy", "entry/instrument/monochromator/energy"):
        if wave is None:
            energy, more = photon_energy(store, key)
            notes += more
            wave = None if energy is None else wavelength(energy)
    known = [edge for edge in edges if edge is not None]
    return RawScan(
        source=str(store.path),
        program="NeXus file" if not linked else f"Eiger master with {len(linked)} data files",
        patterns=patterns,
        bad_pixels=mask,
        detector_pixel_m=square_pixel(store, f"{DETECTOR}/x_pixel_size", known) if known else None,
        wavelength_m=wave,
        detector_distance_m=distance,
        history=notes,
    )


def _linked(store: Hdf5Store) -> list[str]:
    return [name for name in store.groups("entry/data") if LINKED.match(name)]
