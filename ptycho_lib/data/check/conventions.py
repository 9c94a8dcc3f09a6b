"""Conventions in which a file may differ from the contract, as one hypothesis: applied, named, turned into options.

A hypothesis is what `prepare` can undo, in the order in which `prepare` undoes it: what the stack's axes and
values are, the detector's orientation and the place of DC, the order of the frames, the orientation of the
stage, the unit and reference of the positions, an affine map of the scan, and a constant offset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptycho_lib.data.check.sample import Sample
from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers.frame_order import reordered
from ptycho_lib.data.readers.patterns import reverse
from ptycho_lib.data.readers.positions import METRES, affine_matrix, affine_options, mirror, transformed
from ptycho_lib.io.lazy_stack import Array

FILLED = 0.2
"""Positions may be lengths if, converted to pixels, they span more than this share of the object."""
UNITS = {"m": "metres", "mm": "millimetres", "um": "micrometres", "nm": "nanometres"}

CONVENTIONS = {
    "patterns-last": "the last axis counts the patterns",
    "intensity": "intensity in the place of amplitude",
    "frame-order": "frames in another order than the positions",
    "frame-lag": "frames lag behind the positions",
    "xy-swapped": "x and y swapped",
    "rows-flipped": "rows flipped",
    "columns-flipped": "columns flipped",
    "corner-positions": "positions are corners, not centres",
    "dc-corner": "DC at the corner (no fftshift)",
    "patterns-transposed": "patterns transposed",
    "pattern-rows-flipped": "detector rows reversed",
    "pattern-columns-flipped": "detector columns reversed",
    "patterns-turned": "detector turned by 180°, or the other sign of the Fourier transform",
    "probe-conjugated": "probe conjugated",
    **{f"positions-{name}": f"positions in {name}" for name in UNITS.values()},
    "scan-rotated": "scan rotated",
    "scan-scaled": "scan scaled: another step or pixel size",
    "scan-sheared": "scan sheared, or scaled unevenly",
    "dc-offset": "DC off",
    "position-offset": "positions off by a constant",
}
"""Code of each convention, with its name."""


@dataclass(frozen=True)
class Hypothesis:
    """Conventions that a file may have; the default is the contract's.

    Parameters
    ----------
    patterns_last, intensity, conjugate, dc_corner : bool
        Patterns on the last axis; values are intensity; the probe is conjugated; DC lies at pixel 0.
    transpose, reverse_rows, reverse_columns : bool
        Orientation of the detector, reversed about DC.
    shift : (int, int)
        Detector pixels by which the patterns are rolled, after that.
    order, line, lag : str, int, int
        Order of the frames (`readers.frame_order`), positions in a line, frames to leave out.
    swap, flip_rows, flip_columns : bool
        Orientation of the positions.
    start : {'px', 'corner', 'centred', 'm', 'mm', 'um', 'nm'}
        What the positions are; 'centred' moves the scan to the centre of the object.
    affine : (float, float, float, float)
        Row by row, about the mean position.
    offset : (float, float)
        Added to the positions, pixels.
    """

    patterns_last: bool = False
    intensity: bool = False
    conjugate: bool = False
    transpose: bool = False
    reverse_rows: bool = False
    reverse_columns: bool = False
    dc_corner: bool = False
    shift: tuple[int, int] = (0, 0)
    order: str = "as-is"
    line: int = 0
    lag: int = 0
    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    start: str = "px"
    affine: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def measured(self, sample: Sample) -> Array:
        """Return the sample's patterns, (k, N, N), put right."""
        block = sample.axis_last if self.patterns_last and sample.axis_last is not None else sample.measured
        return self.turned(np.sqrt(np.abs(block)) if self.intensity else block)

    def apply(self, sample: Sample) -> Sample:
        """Return the sample put right: patterns, mask, positions and probe."""
        mask = None if sample.mask is None else self.turned(sample.mask[None])[0]
        scan = self.positions(sample)
        index = sample.index
        if self.lag:
            index = np.clip(index + self.lag, 0, len(scan) - 1)
        return replace(
            sample,
            measured=self.measured(sample),
            mask=mask,
            scan_px=scan,
            index=index,
            probe=sample.probe.conj() if self.conjugate else sample.probe,
        )

    def positions(self, sample: Sample) -> Array:
        """Return all positions, (n, 2) pixels, put right."""
        scan = reordered(sample.scan_px, self.order, self.line)
        scan = scan[:, ::-1] if self.swap else scan
        for axis, wanted in enumerate((self.flip_rows, self.flip_columns)):
            scan = mirror(scan, axis) if wanted else scan
        scan = self._started(scan, sample)
        scan = transformed(scan, np.reshape(self.affine, (2, 2)))
        return scan + np.asarray(self.offset)

    def turned(self, block: Array) -> Array:
        """Return patterns (k, N, N) in the detector's right orientation, DC in its place."""
        block = block.swapaxes(1, 2) if self.transpose else block
        axes = tuple(axis for axis, on in ((1, self.reverse_rows), (2, self.reverse_columns)) if on)
        block = reverse(block, axes) if axes else block
        half = block.shape[-1] // 2 if self.dc_corner else 0
        shift = (self.shift[0] + half, self.shift[1] + half)
        return np.roll(block, shift, (1, 2)) if any(shift) else block

    def _started(self, scan: Array, sample: Sample) -> Array:
        if self.start == "px":
            return scan
        if self.start == "corner":
            return scan + sample.size / 2
        scale = 1.0
        if self.start != "centred":
            scale = np.nan if sample.pixel_size_m is None else METRES[self.start] / sample.pixel_size_m
        middle = (scan.min(axis=0) + scan.max(axis=0)) / 2
        return (scan - middle) * scale + np.asarray(sample.obj.shape) / 2

    def plausible(self, sample: Sample) -> bool:
        """Return whether the positions, read as lengths, about fill the object; True for pixels."""
        if self.start not in METRES:
            return True
        if sample.pixel_size_m is None:
            return False
        room = np.asarray(sample.obj.shape) - sample.size
        extent = np.ptp(sample.scan_px, axis=0).max() * METRES[self.start] / sample.pixel_size_m
        return bool(FILLED * room.max() < extent <= room.max() + 2)

    def settled(self, sample: Sample) -> Hypothesis:
        """Return the same with the offset in numbers, where the scan is only said to be centred."""
        if self.start != "centred":
            return self
        plain = replace(self, start="px", offset=(0.0, 0.0))
        rows, columns = (self.positions(sample) - plain.positions(sample))[0]
        return replace(plain, offset=(float(rows), float(columns)))

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the conventions in which this differs from the contract, in the order of `CONVENTIONS`."""
        turned = self.reverse_rows and self.reverse_columns
        matrix = np.reshape(self.affine, (2, 2))
        rotation, scale, sheared = affine_options(matrix)
        holds = {
            "patterns-last": self.patterns_last,
            "intensity": self.intensity,
            "frame-order": self.order != "as-is",
            "frame-lag": self.lag != 0,
            "xy-swapped": self.swap,
            "rows-flipped": self.flip_rows,
            "columns-flipped": self.flip_columns,
            "corner-positions": self.start == "corner",
            "dc-corner": self.dc_corner,
            "patterns-transposed": self.transpose,
            "pattern-rows-flipped": self.reverse_rows and not turned,
            "pattern-columns-flipped": self.reverse_columns and not turned,
            "patterns-turned": turned,
            "probe-conjugated": self.conjugate,
            **{f"positions-{name}": self.start == unit for unit, name in UNITS.items()},
            "scan-rotated": rotation != 0 and sheared is None,
            "scan-scaled": scale != 1 and sheared is None,
            "scan-sheared": sheared is not None,
            "dc-offset": any(self.shift),
            "position-offset": any(self.offset) or self.start == "centred",
        }
        return tuple(code for code, held in holds.items() if held)

    def named(self) -> str:
        """Return the conventions in words."""
        details = {
            "dc-offset": "DC off by ({:g}, {:g}) detector pixels (row, column)".format(*(0 - x for x in self.shift)),
            "position-offset": "positions off by ({:.4g}, {:.4g}) pixels (row, column)".format(
                *(0 - x for x in self.offset)
            ),
        }
        rotation, scale, _ = affine_options(np.reshape(self.affine, (2, 2)))
        details["scan-rotated"] = f"scan rotated by {-rotation:.3g}°"
        details["scan-scaled"] = f"scan scaled by {1 / scale:.4g} (another step or pixel size)"
        details["frame-lag"] = f"frames lag by {-self.lag} behind the positions"
        details["frame-order"] = f"frames in another order than the positions ({self.order}, {self.line} in a line)"
        return " and ".join(details.get(code, CONVENTIONS[code]) for code in self.codes)

    def options(self, in_force: ReadOptions, sample: Sample, *, dc_corner: bool = False) -> dict[str, Any]:
        """Return the options of `prepare` that undo this, on top of options that are in force.

        Parameters
        ----------
        in_force : ReadOptions
            Those with which the sample was read.
        sample : Sample
            As read.
        dc_corner : bool
            Whether DC was already moved from the corner when the sample was read.

        Returns
        -------
        dict
            Options whose value changes.
        """
        values = self._value_options(in_force) | self._pattern_options(in_force, sample.size, dc_corner=dc_corner)
        values |= self._position_options(in_force, sample)
        return {name: value for name, value in values.items() if getattr(in_force, name) != value}

    def _value_options(self, in_force: ReadOptions) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.patterns_last:
            values["pattern_axis"] = "last"
        if self.intensity:
            values["quantity"] = "intensity"
        if self.conjugate:
            values["conjugate_probe"] = not in_force.conjugate_probe
        if self.order != "as-is":
            values |= {"frame_order": self.order, "line_length": self.line}
        if self.lag:
            values["frame_lag"] = in_force.frame_lag + self.lag
        if self.start == "corner":
            values["position_reference"] = "corner"
        elif self.start in UNITS:
            values["position_unit"] = self.start
        return values

    def _pattern_options(self, in_force: ReadOptions, size: int, *, dc_corner: bool) -> dict[str, Any]:
        before = _orientation(
            in_force.transpose_patterns,
            in_force.flip_patterns in ("rows", "both"),
            in_force.flip_patterns in ("columns", "both"),
        )
        mine = _orientation(self.transpose, self.reverse_rows, self.reverse_columns)
        given = np.array([in_force.shift_pattern_rows, in_force.shift_pattern_columns])
        total, own = mine @ before, np.array(self.shift)
        shift = mine @ given + own
        transpose, rows, columns = _parts(total)
        flips = {(False, False): "none", (True, False): "rows", (False, True): "columns", (True, True): "both"}
        values = {
            "transpose_patterns": transpose,
            "flip_patterns": flips[rows, columns],
            "shift_pattern_rows": int(shift[0]),
            "shift_pattern_columns": int(shift[1]),
        }
        return values | ({"dc": "centre" if dc_corner else "corner"} if self.dc_corner else {})

    def _position_options(self, in_force: ReadOptions, sample: Sample) -> dict[str, Any]:
        before = affine_matrix(in_force) @ _orientation(in_force.swap_xy, in_force.flip_rows, in_force.flip_columns)
        total = np.reshape(self.affine, (2, 2)) @ _orientation(self.swap, self.flip_rows, self.flip_columns) @ before
        orientation = max(_ORIENTATIONS, key=lambda one: float(np.sum(one * total)))
        swap, rows, columns = _parts(orientation)
        rotation, scale, affine = affine_options(total @ orientation.T)
        given = np.array([in_force.shift_rows_px, in_force.shift_columns_px])
        offset = np.asarray(self.offset) + (given[::-1] if self.swap else given)
        return {
            "swap_xy": swap,
            "flip_rows": rows,
            "flip_columns": columns,
            "rotate_scan": rotation if affine is None else 0.0,
            "scale_scan": scale if affine is None else 1.0,
            "affine": affine,
            "shift_rows_px": round(float(offset[0]), 3),
            "shift_columns_px": round(float(offset[1]), 3),
        }


def command(options: dict[str, Any]) -> str:
    """Return options as they are typed."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not False and value is not None:
            words.append(f'{flag} "{value}"' if " " in str(value) else f"{flag} {_short(value)}")
    return " ".join(words)


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _orientation(swap: bool, rows: bool, columns: bool) -> Array:
    """Return the matrix (2, 2) on (row, column) that exchanges first, then mirrors."""
    matrix = np.array([[0.0, 1.0], [1.0, 0.0]]) if swap else np.eye(2)
    return np.diag([-1.0 if rows else 1.0, -1.0 if columns else 1.0]) @ matrix


_ORIENTATIONS = tuple(_orientation(bool(n & 1), bool(n & 2), bool(n & 4)) for n in range(8))


def _parts(matrix: Array) -> tuple[bool, bool, bool]:
    """Return (swap, rows, columns) of a matrix of `_orientation`."""
    return bool(matrix[0, 0] == 0), bool(matrix[0].sum() < 0), bool(matrix[1].sum() < 0)
