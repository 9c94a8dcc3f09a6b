"""A reconstruction of a new scan as its notebook sees it: open the folder, reconstruct, write what is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptycho_lib.application.launch import RECORD, STOP
from ptycho_lib.application.model_file import ModelFile
from ptycho_lib.application.network import TrainedNetwork, load_model
from ptycho_lib.application.new_scan import open_scan
from ptycho_lib.application.scan_reconstruction import ScanReconstruction
from ptycho_lib.application.watched_folder import follow
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.io.files import note_progress, require_writable, write_atomically
from ptycho_lib.networks.devices import device_name
from ptycho_lib.study.folder import provenance
from ptycho_lib.study.folder.progress import PROGRESS
from ptycho_lib.study.selection import refuse_empty

RESULT, PICTURE = "reconstruction.npz", "reconstruction.png"
NOTE_EVERY_S = 0.5

Draw = Callable[[ScanReconstruction, Path], Any]


@dataclass(eq=False)
class ScanJob:
    """One scan, one network, one output folder.

    Parameters
    ----------
    network : TrainedNetwork
    place : Path
        File or folder of the scan.
    options : ReadOptions
    output_dir : Path
    crop : bool
        Cut or pad the patterns to the network's size.
    watch : bool
        Whether files of the scan still arrive.
    expected : int
        Number of patterns of a watched scan; 0 if it is not known.
    idle_s : float
        A watched scan ends after so long without a new pattern, s.
    """

    network: TrainedNetwork
    place: Path
    options: ReadOptions
    output_dir: Path
    crop: bool = False
    watch: bool = False
    expected: int = 0
    idle_s: float = 60.0
    started: float = field(default_factory=time.time)
    dataset: PtychoDataset | None = None
    """The scan, once it is reconstructed."""
    _noted: float = 0.0

    @property
    def file(self) -> ModelFile:
        """What the file of the network says."""
        return self.network.file

    def note(self, done: int, total: int) -> None:
        """Note how far the prediction has come, for whoever started this job."""
        now = time.monotonic()
        if done == total or now - self._noted >= NOTE_EVERY_S:
            note_progress(self.output_dir / PROGRESS, self.file.model, done, total)
            self._noted = now

    def reconstruct(self, draw: Draw | None = None) -> ScanReconstruction:
        """Reconstruct the scan; write the result, its picture and, last, its record.

        Parameters
        ----------
        draw : callable, optional
            Draws a result to a file; also every intermediate one of a watched scan.

        Raises
        ------
        InputError
            As `TrainedNetwork.reconstruct` and `watched_folder.follow`.
        """

        def keep(result: ScanReconstruction) -> None:
            result.save(self.output_dir / RESULT, overwrite=True)
            if draw is not None:
                draw(result, self.output_dir / PICTURE)

        if self.watch:
            result = follow(
                self.network,
                self.place,
                options=self.options,
                crop=self.crop,
                expected=self.expected,
                idle_s=self.idle_s,
                on_result=keep,
                progress=self.note,
                should_stop=(self.output_dir / STOP).exists,
            )
        scan = open_scan(self.place, self.file, self.options, crop=self.crop)
        if not self.watch:
            result = self.network.reconstruct(scan, progress=self.note)
        self.dataset = scan.dataset
        keep(result)
        write_atomically(self.output_dir / RECORD, json.dumps(self.facts(result), indent=2, ensure_ascii=False) + "\n")
        return result

    def facts(self, result: ScanReconstruction) -> dict[str, Any]:
        """Return what `reconstruction.json` holds: the result's numbers, and what they come from."""
        return {
            "scan": str(self.place),
            "scan_history": list(self.dataset.history) if self.dataset else [],
            "model": self.file.model,
            "model_file": str(self.file.path),
            "model_sha256": self.file.sha256(),
            "trained_on": self.file.origin(),
            "run_fingerprint": self.file.record.fingerprint if self.file.record else "",
            **result.facts(),
            "whole_seconds": round(time.time() - self.started, 2),
            "device": device_name(),
            "machine": provenance.machine(),
            "versions": provenance.library_versions(),
        }


def open_job(
    model: str | Path,
    scan: str | Path,
    output_dir: str | Path,
    network: str = "",
    options: str = "",
    *,
    crop: bool = False,
    watch: bool = False,
    expected: int = 0,
    idle_s: float = 60.0,
) -> ScanJob:
    """Load the network and open the output folder of a reconstruction.

    Parameters
    ----------
    model : path
        A run folder, a model folder, or a `.keras` file.
    scan : path
        File or folder of the scan.
    output_dir : path
        Created if need be; what an earlier reconstruction left is replaced.
    network : str
        ``pinn`` or ``baseline``; empty for PtychoPINN.
    options : str
        `ReadOptions` as YAML; empty for the defaults.
    crop, watch, expected, idle_s
        See `ScanJob`.

    Raises
    ------
    InputError
        With every problem of the input.
    """
    refuse_empty(model=model, scan=scan, output_dir=output_dir)
    settings = parse_options(ReadOptions, "options", yaml.safe_load(options) or {} if options else {})
    folder = require_writable(Path(output_dir).resolve())
    for name in (RECORD, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    return ScanJob(load_model(model, network), Path(scan), settings, folder, crop, watch, expected, idle_s)
