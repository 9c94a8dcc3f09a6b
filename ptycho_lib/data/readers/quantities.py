"""Lengths and energies of files: their unit, from the attribute `units`, and whether they are plausible."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptycho_lib.data.readers.store import Store, scalar
from ptycho_lib.errors import InputError, Problem

PLANCK_J_S = 6.62607015e-34
LIGHT_M_S = 299792458.0
ELECTRON_VOLT_J = 1.602176634e-19

LENGTHS: dict[str, float] = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("cm", "centimetre", "centimeter"), 1e-2),
    **dict.fromkeys(("mm", "millimetre", "millimeter", "millimetres", "millimeters"), 1e-3),
    **dict.fromkeys(("um", "micron", "microns", "micrometre", "micrometer", "micro-metre", "micro-meter", "mkm"), 1e-6),
    **dict.fromkeys(("micrometres", "micrometers"), 1e-6),
    **dict.fromkeys(("nm", "nanometre", "nanometer", "nanometres", "nanometers"), 1e-9),
    **dict.fromkeys(("å", "a", "ang", "angstrom", "angstroms", "ångström"), 1e-10),
    **dict.fromkeys(("pm", "picometre", "picometer"), 1e-12),
    "inch": 0.0254,
}
"""Metres of each unit of length."""
ENERGIES: dict[str, float] = {
    **dict.fromkeys(("j", "joule", "joules"), 1.0),
    "ev": ELECTRON_VOLT_J,
    "kev": 1e3 * ELECTRON_VOLT_J,
    "mev": 1e6 * ELECTRON_VOLT_J,
    "gev": 1e9 * ELECTRON_VOLT_J,
}
"""Joules of each unit of energy, in small letters: MeV, not meV."""
PIXELS = ("px", "pixel", "pixels")
PHOTON_J = (30 * ELECTRON_VOLT_J, 1e6 * ELECTRON_VOLT_J)
"""Photon energies that are plausible, from the extreme ultraviolet to hard X-rays."""
DISTANCE_M = (1e-4, 200.0)
"""Distances of sample and detector that are plausible."""
WAVELENGTH_M = (1e-13, 1e-7)
"""Wavelengths that are plausible, fast electrons included."""


def unit_of(store: Store, key: str) -> str:
    """Return the text of the attribute `units` of an array, as spelled in `LENGTHS`; empty if there is none."""
    text = store.attribute(key, "units")
    if isinstance(text, np.ndarray) and text.size == 1:
        text = text.reshape(-1)[0]
    text = text.decode(errors="replace") if isinstance(text, bytes) else "" if text is None else str(text)
    return text.strip().lower().replace("µ", "u").replace("μ", "u")  # micro sign, Greek mu


def length_factor(store: Store, key: str) -> float | None:
    """Return the metres of the unit that an array of lengths names; None for pixels, or no unit.

    Raises
    ------
    InputError
        If it names a unit that is no length.
    """
    unit = unit_of(store, key)
    if not unit or unit in PIXELS:
        return None
    if unit not in LENGTHS:
        fix = "Say what the positions are with `--position-unit px`, `m`, `mm`, `um` or `nm`."
        raise InputError(Problem(str(store.path), key, f"the unit '{unit}'", "a unit of length", fix))
    return LENGTHS[unit]


def plausible_length(
    store: Store, key: str, limits: tuple[float, float], others: dict[str, float]
) -> tuple[float | None, tuple[str, ...]]:
    """Return a length in metres, and lines for the history.

    Parameters
    ----------
    store : Store
    key : str
    limits : (float, float)
        Plausible metres.
    others : dict
        Units that are tried, in this order, where the file names none and metres are not plausible.

    Returns
    -------
    metres : float or None
        None if there is no such number, or no unit makes it plausible.
    notes : tuple of str
    """
    value = scalar(store, key)
    if value is None or not np.isfinite(value) or value == 0:
        return None, ()
    value, unit = abs(value), unit_of(store, key)
    if unit in LENGTHS:
        return value * LENGTHS[unit], ()
    return _plausible(value, key, limits, {"m": 1.0, **others})


def photon_energy(store: Store, key: str) -> tuple[float | None, tuple[str, ...]]:
    """Return a photon energy in joules, and lines for the history; None if it cannot be one.

    A file without `units` is read as joules where that is plausible, else as eV, else as keV.
    """
    value = scalar(store, key)
    if value is None or not np.isfinite(value) or value <= 0:
        return None, ()
    unit = unit_of(store, key)
    units = {unit: ENERGIES[unit]} if unit in ENERGIES else {"J": 1.0, "eV": ENERGIES["ev"], "keV": ENERGIES["kev"]}
    return _plausible(value, key, PHOTON_J, units)


def _plausible(
    value: float, key: str, limits: tuple[float, float], units: dict[str, float]
) -> tuple[float | None, tuple[str, ...]]:
    for number, (unit, factor) in enumerate(units.items()):
        if limits[0] <= value * factor <= limits[1]:
            assumed = f"{key}: {value:.6g} taken as {unit}, for the file names no unit and others are not plausible"
            return value * factor, (assumed,) if number else ()
    return None, (f"{key}: {value:.6g} ignored, which is not plausible in {' or '.join(units)}",)


def wavelength(energy_j: float) -> float:
    """Return λ = hc/E of photons, metres."""
    return PLANCK_J_S * LIGHT_M_S / energy_j


def square_pixel(store: Store, key: str, value: Any) -> float | None:
    """Return the edge of a square pixel that a file gives once, or for both axes.

    Parameters
    ----------
    store : Store
    key : str
    value : array or None

    Returns
    -------
    float or None
        None if it is no positive number.

    Raises
    ------
    InputError
        If the two edges differ by more than a thousandth.
    """
    edges = np.atleast_1d(np.asarray(value, dtype=np.float64)).reshape(-1) if value is not None else np.empty(0)
    if not edges.size or not np.isfinite(edges).all() or not (edges > 0).all():
        return None
    if np.ptp(edges) > 1e-3 * edges.max():
        found = " × ".join(f"{edge:.4g}" for edge in edges)
        fix = "Resample the patterns to square pixels before."
        raise InputError(Problem(str(store.path), key, f"pixels of {found} m", "square pixels", fix))
    return float(edges[0])
