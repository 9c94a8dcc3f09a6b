"""RawScan: what a file holds, in the file's own conventions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ptycho_lib.io.lazy_stack import Array


@dataclass(frozen=True, eq=False)
class RawScan:
    """The content of a file; None where it says nothing.

    Parameters
    ----------
    source, program : str
        The file, and the program whose layout it has.
    patterns : stack, optional
        (n, rows, columns) or (rows, columns, n), any number type.
    quantity : {'amplitude', 'intensity'}
    dc : {'centre', 'corner'}
        Place of the zero frequency.
    positions : (n, 2) float64 array, optional
        (row, column), in `unit`.
    unit : {'px', 'm', 'mm', 'um', 'nm'}
    pattern_index, position_index : (n,) int arrays, optional
        Numbers of the exposures that patterns and positions belong to; else both are in one order.
    reference : {'centre', 'corner'}
        The point of the patch that a position names.
    origin_m : (2,) array, optional
        Place (row, column) of the object's pixel (0, 0), metres; else the scan is centred in the object.
    probe, obj : complex arrays, optional
        Modes and slices on leading axes.
    bad_pixels : (rows, columns) bool array, optional
    dark : (rows, columns) or (k, rows, columns) array, optional
        Intensity without a beam.
    detector_pixel_m : float, optional

    Notes
    -----
    The other fields are those of `PtychoDataset`.
    """

    source: str
    program: str
    patterns: Any = None
    quantity: Literal["amplitude", "intensity"] = "intensity"
    dc: Literal["centre", "corner"] = "centre"
    positions: Array | None = None
    pattern_index: Array | None = None
    position_index: Array | None = None
    unit: Literal["px", "m", "mm", "um", "nm"] = "px"
    reference: Literal["centre", "corner"] = "centre"
    origin_m: Array | None = None
    probe: Array | None = None
    obj: Array | None = None
    patches: Any = None
    coverage: Array | None = None
    scan_index: Array | None = None
    bad_pixels: Array | None = None
    dark: Array | None = None
    detector_pixel_m: float | None = None
    photons_per_pattern: float | None = None
    pixel_size_m: float | None = None
    wavelength_m: float | None = None
    detector_distance_m: float | None = None
    history: tuple[str, ...] = ()

    def taking(self, other: RawScan, names: tuple[str, ...]) -> RawScan:
        """Return this scan with the named fields of another, where the other has them."""
        known = {field.name for field in fields(self)} & set(names)
        values = {name: getattr(other, name) for name in known if getattr(other, name) is not None}
        return replace(self, **values)
