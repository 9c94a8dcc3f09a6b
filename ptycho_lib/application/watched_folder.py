"""A scan that is being measured: files arrive in a folder, and a result is given every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.application.network import TrainedNetwork
from ptycho_lib.application.new_scan import NewScan, convert, scan_files
from ptycho_lib.application.scan_reconstruction import ScanReconstruction, summarised
from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers import RawScan, read_parts
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.evaluation.reconstruction import compared_pixels
from ptycho_lib.networks.prediction import PredictedPatches
from ptycho_lib.resource_usage import Usage

LOOK_EVERY_S = 0.2
JUDGED = 512
"""Patterns, evenly over the scan so far, that judge an intermediate result; all judge the final one."""


@dataclass
class Arrivals:
    """The files of a folder as they arrive.

    A file that cannot be read, because it is still being written, is tried again when it has changed.

    Parameters
    ----------
    folder : Path
    network : TrainedNetwork
    options : ReadOptions
    crop : bool
        See `new_scan.open_scan`.
    """

    folder: Path
    network: TrainedNetwork
    options: ReadOptions
    crop: bool = False
    parts: dict[Path, RawScan] = field(default_factory=dict)
    """What has been read, in the order of arrival."""
    unread: dict[Path, str] = field(default_factory=dict)
    """Why the others could not be read."""
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def n_patterns(self) -> int:
        """Number of patterns so far."""
        return sum(part.patterns.shape[0] for part in self.parts.values())

    def look(self) -> int:
        """Read what is new; return the number of new patterns."""
        before = self.n_patterns
        for path in scan_files(self.folder):
            try:
                stat = path.stat()
            except OSError:
                continue  # renamed meanwhile
            state = (stat.st_size, stat.st_mtime_ns)
            if path in self.parts or self._seen.get(path) == state:
                continue
            self._seen[path] = state
            try:
                raw = read_parts(path, self.options)
                first = next(iter(self.parts.values()), raw)
                # A part is checked with what all have in common, such as the probe of the first file.
                convert(
                    [replace(first, patterns=raw.patterns, positions=raw.positions)], self.network.file, self.options
                )
                convert([first, raw], self.network.file, self.options, checked=False, crop=self.crop)
            except (InputError, OSError, ValueError) as error:
                self.unread[path] = str(error)
            else:
                self.parts[path] = raw
                self.unread.pop(path, None)
        return self.n_patterns - before

    def scan(self, *, in_order: bool = False) -> NewScan:
        """Return the scan as far as it has arrived, in the order of arrival, or of the files' names."""
        paths = sorted(self.parts) if in_order else list(self.parts)
        parts = [self.parts[path] for path in paths]
        source, file = str(self.folder), self.network.file
        return convert(parts, file, self.options, source=source, checked=False, crop=self.crop)


@dataclass
class LiveResult:
    """Patches predicted so far, and their result at any time."""

    network: TrainedNetwork
    patches: list[NDArray[np.complex64]] = field(default_factory=list)
    places: list[NDArray[np.float64]] = field(default_factory=list)
    """Centres relative to that of the first pattern: the grid grows with the scan."""
    seconds: float = 0.0
    done: int = 0

    def add(self, scan: NewScan) -> None:
        """Predict the patterns that are new."""
        new = np.arange(self.done, len(scan.dataset))
        seen = self.network.predict(scan.dataset.select(new))
        self.patches.append(np.array(seen.patches))
        self.places.append(seen.positions_px - scan.dataset.positions_px[0])
        self.seconds += seen.usage.seconds
        self.done = len(scan.dataset)

    def result(self, scan: NewScan) -> ScanReconstruction:
        """Stitch all that was predicted; a sample of the patterns judges it."""
        dataset = scan.dataset
        judges = dataset.select(spread_indices(len(dataset), JUDGED))
        places = np.concatenate(self.places) + dataset.positions_px[0]
        usage = Usage(self.seconds, 0, memory_of_step=False)
        stitched = self.network.stitch(PredictedPatches(np.concatenate(self.patches), places, usage), judges)
        mask = compared_pixels(dataset, self.network.evaluation.min_illumination)
        return summarised(replace(stitched, mask=mask), dataset, radius=None, notes=scan.notes)


def follow(
    network: TrainedNetwork,
    folder: str | Path,
    *,
    options: ReadOptions | None = None,
    crop: bool = False,
    expected: int = 0,
    idle_s: float = 60.0,
    every_s: float = 3.0,
    on_result: Callable[[ScanReconstruction], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ScanReconstruction:
    """Reconstruct a scan while its files arrive; at the end once more as a whole, as `TrainedNetwork.reconstruct`.

    Parameters
    ----------
    network : TrainedNetwork
    folder : path
        Each file holds patterns with their positions in one common frame, in any layout that `check` reads. The
        probe is that of the first file, or that of the training. Write a file under a hidden name (``.name``) and
        rename it when it is whole.
    options : ReadOptions, optional
    crop : bool
        See `new_scan.open_scan`.
    expected : int
        The scan ends with so many patterns; 0 if the number is not known.
    idle_s : float
        The scan ends when no new pattern has come for so long, s.
    every_s : float
        Shortest time between two results.
    on_result : callable, optional
        Gets every intermediate result.
    progress : callable, optional
        Gets the number of patterns predicted, and that of all so far or expected.
    should_stop : callable, optional
        Asked several times a second; on True the scan ends with what there is.

    Returns
    -------
    ScanReconstruction
        The same as of the finished folder, with the patterns in the order of the files' names.

    Raises
    ------
    InputError
        If nothing readable has come, or a file could not be read to the end.
    """
    arrivals = Arrivals(Path(folder), network, options or ReadOptions(), crop)
    live = LiveResult(network)
    changed = shown = time.monotonic()
    while not (should_stop and should_stop()) and not 0 < expected <= arrivals.n_patterns:
        if arrivals.look():
            changed = time.monotonic()
            live.add(scan := arrivals.scan())
            if progress:
                progress(live.done, max(expected, live.done))
            if on_result and time.monotonic() - shown >= every_s:
                on_result(live.result(scan))
                shown = time.monotonic()
        elif time.monotonic() - changed > idle_s:
            break
        else:
            time.sleep(LOOK_EVERY_S)
    arrivals.look()
    if arrivals.unread or not arrivals.parts:
        fix = "Export it again; `ptycho-study check` says more."
        problems = [Problem(str(path), "", why, "a part of the scan", fix) for path, why in arrivals.unread.items()]
        fix = "Let the scan write its files here, or wait longer for the first one (`--idle`)."
        nothing = Problem(str(folder), "", "no file that was whole", "files with patterns and positions", fix)
        raise InputError(problems or nothing)
    return network.reconstruct(arrivals.scan(in_order=True), progress=progress)
