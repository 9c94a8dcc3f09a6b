"""The usual suspects: transformations that might explain why object × probe does not give the patterns.

`verdict` tries each by re-projection, alone and in pairs, and names what explains the data, with the option
of `prepare` that fixes it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.fft

from ptycho_lib.data.readers.convert import METRES, mirror
from ptycho_lib.data.readers.patterns import reverse
from ptycho_lib.data.value_checks import inside
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.diffraction import diffract

MOST_COUNTS = 2.0**62
"""Poisson numbers are drawn as 64-bit integers."""
FILLED = 0.2
"""Positions may be lengths if, converted to pixels, they span more than this share of the object."""
UNITS = {"m": "metres", "mm": "millimetres", "um": "micrometres", "nm": "nanometres"}


@dataclass(frozen=True, eq=False)
class Sample:
    """Some patterns with what is needed to predict them.

    Parameters
    ----------
    measured : (k, N, N) float array
        What the file calls amplitude.
    positions_px : (k, 2) array
    scan_px : (n, 2) array
        All positions of the scan: mirroring and centring refer to their extent.
    probe : (N, N) complex array
    obj : (H, W) complex array
    pixel_size_m : float or None
    photons_per_pattern : float or None
    axis_last : (k, N, N) float array, optional
        The same patterns if the last axis of the stack counted them; only where there are N patterns.
    """

    measured: Array
    positions_px: Array
    scan_px: Array
    probe: Array
    obj: Array
    pixel_size_m: float | None = None
    photons_per_pattern: float | None = None
    axis_last: Array | None = None
    known: dict[Hashable, Array] = field(default_factory=dict, repr=False)
    """What was predicted already: most suspects change the measured side alone."""

    def predicted(self) -> Array | None:
        """Return the amplitudes (k, N, N) of object × probe; None if patches lie outside the object."""
        size = self.measured.shape[-1]
        if not inside(self.positions_px, size, self.obj.shape).all():
            return None
        return self._once("amplitude", lambda: diffract(self.obj, self.probe, self.positions_px))

    def drawn(self) -> Array | None:
        """Return amplitudes of counts drawn from the prediction; None if unknown, or out of range."""
        predicted, photons = self.predicted(), self.photons_per_pattern
        if predicted is None or photons is None or not predicted.any():
            return None
        mean = np.square(predicted, dtype=np.float64)
        mean *= photons * len(mean) / mean.sum()
        if not mean.max() < MOST_COUNTS:  # NaN, too
            return None
        return self._once("drawn", lambda: np.sqrt(np.random.default_rng(0).poisson(mean)))

    def _once(self, what: str, compute: Callable[[], Array]) -> Array:
        key = (what, self.positions_px.tobytes(), self.probe.tobytes())
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def take(self, chosen: Array) -> Sample:
        """Return the sample with some of its patterns."""
        last = None if self.axis_last is None else self.axis_last[chosen]
        return replace(self, measured=self.measured[chosen], positions_px=self.positions_px[chosen], axis_last=last)

    def moved(self, function: Callable[[Array], Array]) -> Sample:
        """Return the sample with transformed positions."""
        joined = function(np.concatenate([self.positions_px, self.scan_px]))
        count = len(self.positions_px)
        return replace(self, positions_px=joined[:count], scan_px=joined[count:])


@dataclass(frozen=True)
class Suspect:
    """A problem of convention.

    Parameters
    ----------
    code : str
        Stable name, for programs.
    name : str
        What is wrong, in words.
    option : str
        The option of `prepare` that fixes it.
    fix : callable
        Undoes it on a sample.
    """

    code: str
    name: str
    option: str
    fix: Callable[[Sample], Sample]


def _axis_last(sample: Sample) -> Sample:
    return sample if sample.axis_last is None else replace(sample, measured=sample.axis_last)


def _reversed(*axes: int) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, measured=reverse(sample.measured, axes))


def shifted(rows: float, columns: float) -> Suspect:
    """Return the problem that all positions are off by a constant; the remedy adds (rows, columns) pixels."""
    flags = (("--shift-rows-px", rows), ("--shift-columns-px", columns))
    return Suspect(
        "position-offset",
        f"positions off by ({0 - rows:g}, {0 - columns:g}) pixels (row, column)",
        " ".join(f"{flag} {value:g}" for flag, value in flags if value),
        lambda sample: sample.moved(lambda positions: positions + np.array([rows, columns])),
    )


def _dc_moved(rows: int, columns: int) -> Suspect:
    flags = (("--shift-pattern-rows", rows), ("--shift-pattern-columns", columns))
    return Suspect(
        "dc-offset",
        f"DC off by ({-rows}, {-columns}) detector pixels (row, column)",
        " ".join(f"{flag} {value}" for flag, value in flags if value),
        lambda sample: replace(sample, measured=np.roll(sample.measured, (rows, columns), (1, 2))),
    )


def _mirrored(axis: int) -> Callable[[Sample], Sample]:
    return lambda sample: sample.moved(lambda positions: mirror(positions, axis))


def _in_unit(unit: str) -> Callable[[Sample], Sample]:
    """Read positions as lengths, the scan centred in the object; only if it then about fills the object."""

    def fix(sample: Sample) -> Sample:
        low, high = sample.scan_px.min(axis=0), sample.scan_px.max(axis=0)
        room = np.asarray(sample.obj.shape) - sample.measured.shape[-1]
        scale = np.nan if sample.pixel_size_m is None else METRES[unit] / sample.pixel_size_m
        extent = (high - low).max() * scale
        if not FILLED * room.max() < extent <= room.max() + 1:  # NaN, too
            return sample
        return sample.moved(lambda positions: (positions - (low + high) / 2) * scale + np.asarray(sample.obj.shape) / 2)

    return fix


# In the order in which `prepare` fixes them: where two do not commute, the pair means the same there.
SUSPECTS = (
    Suspect("patterns-last", "the last axis counts the patterns", "--pattern-axis last", _axis_last),
    Suspect(
        "intensity",
        "intensity in the place of amplitude",
        "--quantity intensity",
        lambda sample: replace(sample, measured=np.sqrt(np.abs(sample.measured))),
    ),
    Suspect(
        "xy-swapped",
        "x and y swapped",
        "--swap-xy",
        lambda sample: sample.moved(lambda positions: positions[:, ::-1]),
    ),
    Suspect("rows-flipped", "rows flipped", "--flip-rows", _mirrored(0)),
    Suspect("columns-flipped", "columns flipped", "--flip-columns", _mirrored(1)),
    Suspect(
        "corner-positions",
        "positions are corners, not centres",
        "--position-reference corner",
        lambda sample: sample.moved(lambda positions: positions + sample.measured.shape[-1] / 2),
    ),
    Suspect(
        "dc-corner",
        "DC at the corner (no fftshift)",
        "--dc corner",
        lambda sample: replace(sample, measured=scipy.fft.fftshift(sample.measured, axes=(1, 2))),
    ),
    Suspect(
        "patterns-transposed",
        "patterns transposed",
        "--transpose-patterns",
        lambda sample: replace(sample, measured=sample.measured.swapaxes(1, 2)),
    ),
    Suspect("pattern-rows-flipped", "detector rows reversed", "--flip-patterns rows", _reversed(1)),
    Suspect("pattern-columns-flipped", "detector columns reversed", "--flip-patterns columns", _reversed(2)),
    Suspect(
        "patterns-turned",
        "detector turned by 180°, or the other sign of the Fourier transform",
        "--flip-patterns both",
        _reversed(1, 2),
    ),
    Suspect(
        "probe-conjugated",
        "probe conjugated",
        "--conjugate-probe",
        lambda sample: replace(sample, probe=sample.probe.conj()),
    ),
    *(
        Suspect(f"positions-{name}", f"positions in {name}", f"--position-unit {unit}", _in_unit(unit))
        for unit, name in UNITS.items()
    ),
)

DC_OFFSETS = tuple(_dc_moved(i, k) for i in (-1, 0, 1) for k in (-1, 0, 1) if i or k)
"""DC one pixel beside its place, as reversing or cutting an even array leaves it."""
