"""The usual suspects: transformations that might explain why object × probe does not give the patterns.

Each suspect is tried by re-projection, alone and in pairs; the one that lowers the residual clearly is named,
with the option of `prepare` that mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import scipy.fft

from ptycho_lib.data.plausibility import METRES_BELOW, inside
from ptycho_lib.data.projection import reprojection
from ptycho_lib.data.readers.convert import mirror
from ptycho_lib.data.stack import Array
from ptycho_lib.physics.diffraction import extract_patches

CLEARLY = 0.75
"""A suspect is named if it lowers the residual to less than this share."""
ALSO = 0.9
"""A pair is named only if it beats its better half by this factor too."""


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
    """

    measured: Array
    positions_px: Array
    scan_px: Array
    probe: Array
    obj: Array
    pixel_size_m: float | None = None

    def residual(self) -> float:
        """Return the re-projection residual; infinity if patches lie outside the object."""
        size = self.measured.shape[-1]
        if not inside(self.positions_px, size, self.obj.shape).all():
            return float("inf")
        patches = extract_patches(self.obj, self.positions_px, size)
        value = reprojection(self.measured, patches, self.probe).value
        return value if np.isfinite(value) else float("inf")

    def moved(self, function: Callable[[Array], Array]) -> Sample:
        """Return the sample with transformed positions."""
        joined = function(np.concatenate([self.positions_px, self.scan_px]))
        count = len(self.positions_px)
        return replace(self, positions_px=joined[:count], scan_px=joined[count:])


@dataclass(frozen=True)
class Suspect:
    """A fault of convention.

    Parameters
    ----------
    code : str
        Stable name, for programs.
    name : str
        What is wrong, in words.
    option : str
        The option of `prepare` that mends it.
    mend : callable
        Undoes it on a sample.
    """

    code: str
    name: str
    option: str
    mend: Callable[[Sample], Sample]


def _mirrored(axis: int) -> Callable[[Sample], Sample]:
    return lambda sample: sample.moved(lambda positions: mirror(positions, axis))


def _to_pixels(sample: Sample) -> Sample:
    """Read positions as metres, the scan centred in the object."""
    if sample.pixel_size_m is None or np.abs(sample.scan_px).max() >= METRES_BELOW:
        return sample
    pixel, centre = sample.pixel_size_m, (sample.scan_px.min(axis=0) + sample.scan_px.max(axis=0)) / 2
    return sample.moved(lambda positions: (positions - centre) / pixel + np.asarray(sample.obj.shape) / 2)


SUSPECTS = (
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
    Suspect(
        "probe-conjugated",
        "probe conjugated",
        "--conjugate-probe",
        lambda sample: replace(sample, probe=sample.probe.conj()),
    ),
    Suspect("positions-metres", "positions in metres", "--position-unit m", _to_pixels),
)


@dataclass(frozen=True)
class Verdict:
    """What re-projection says.

    Parameters
    ----------
    residual : float
        As the file stands.
    best : float
        With the suspects' remedy; the same if there is none.
    suspects : tuple of Suspect
        Faults that explain the data; empty if none does.
    """

    residual: float
    best: float
    suspects: tuple[Suspect, ...]


def find_suspects(sample: Sample) -> Verdict:
    """Try every suspect, alone and in pairs."""
    as_is = sample.residual()
    alone: dict[tuple[Suspect, ...], float] = {(one,): one.mend(sample).residual() for one in SUSPECTS}
    best, value = _lowest(alone)
    if value < 0.5 * as_is and value < 0.15:
        return Verdict(as_is, value, best)
    pair, pair_value = _lowest(dict(_pairs(sample)))
    if pair_value < ALSO * value and pair_value < ALSO * as_is:
        best, value = pair, pair_value
    if value < CLEARLY * as_is:
        return Verdict(as_is, value, best)
    return Verdict(as_is, as_is, ())


def _pairs(sample: Sample) -> Iterator[tuple[tuple[Suspect, ...], float]]:
    for first, second in combinations(SUSPECTS, 2):
        yield (first, second), second.mend(first.mend(sample)).residual()


def _lowest(residuals: dict[tuple[Suspect, ...], float]) -> tuple[tuple[Suspect, ...], float]:
    best = min(residuals, key=lambda suspects: residuals[suspects])
    return best, residuals[best]
