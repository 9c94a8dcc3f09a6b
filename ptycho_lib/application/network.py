"""`load_model(path).reconstruct(scan)`: a trained network applied to a scan that it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_lib.application.calibration import error_radius
from ptycho_lib.application.model_file import ModelFile, find_model
from ptycho_lib.application.new_scan import NewScan, open_scan, probe_note
from ptycho_lib.application.scan_reconstruction import ScanReconstruction, summarised
from ptycho_lib.config import EvaluationConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.evaluation.reconstruction import Reconstruction
from ptycho_lib.networks.devices import configure_devices
from ptycho_lib.networks.models import load_model as load_network
from ptycho_lib.networks.network import ReconstructionNetwork
from ptycho_lib.networks.prediction import PredictedPatches, predict_patches
from ptycho_lib.study.reconstruct import stitched

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network with what its file says; made by `load_model`.

    Parameters
    ----------
    file : ModelFile
    network : ReconstructionNetwork
        The Keras model.
    """

    file: ModelFile
    network: ReconstructionNetwork

    def __repr__(self) -> str:
        size = self.file.patch_size
        return f"TrainedNetwork({self.file.model}, {size}×{size} pixels, trained on {self.file.origin()})"

    @property
    def evaluation(self) -> EvaluationConfig:
        """How patches are stitched: as in the run that trained the network."""
        return self.file.evaluation

    def open_scan(self, place: str | Path, *, crop: bool = False, **options: Any) -> NewScan:
        """Read a scan of any layout that `check_file` reads; object and probe may be missing (`new_scan.open_scan`).

        Parameters
        ----------
        place : path
            A file, or a folder of files that are parts of one scan.
        crop : bool
            Cut or pad the patterns to the size that the network was trained with.
        **options
            Fields of `ReadOptions`.
        """
        return open_scan(place, self.file, parse_options(ReadOptions, "options", options), crop=crop)

    def predict(self, dataset: PtychoDataset, *, progress: Progress | None = None) -> PredictedPatches:
        """Return the object patches of a scan (`networks.prediction.predict_patches`)."""
        return predict_patches(self.network, dataset, progress=progress)

    def stitch(self, seen: PredictedPatches, dataset: PtychoDataset) -> Reconstruction:
        """Stitch predicted patches as the run that trained the network did."""
        return stitched(seen, dataset, self.evaluation)

    def reconstruct(
        self, scan: PtychoDataset | NewScan | str | Path, *, progress: Progress | None = None
    ) -> ScanReconstruction:
        """Reconstruct the object of a scan from its patterns, positions and probe; it needs no object.

        Memory is that of the object and of one batch, whatever the number of patterns: stacks on disk stay there.

        Parameters
        ----------
        scan : PtychoDataset, NewScan or path
            A dataset's object gives the grid alone.
        progress : callable, optional
            Called with the number of patterns predicted, and that of all.

        Returns
        -------
        ScanReconstruction

        Raises
        ------
        InputError
            With every problem of the scan; or if its patterns have another size.
        """
        if isinstance(scan, str | Path):
            scan = self.open_scan(scan)
        if isinstance(scan, PtychoDataset):
            scan = NewScan(scan, (probe_note(self.file.probe, scan.probe_modes),))
        result = self.stitch(self.predict(scan.dataset, progress=progress), scan.dataset)
        return summarised(result, scan.dataset, radius=error_radius(self.file), notes=scan.notes)


def load_model(place: str | Path, model: str = "") -> TrainedNetwork:
    """Load a network that a run trained, to apply it to new scans.

    Parameters
    ----------
    place : path
        A run folder (``n_train_512``), the folder of a model in it, or a ``model.keras``. Nothing in the file is
        executed.
    model : str
        ``pinn`` or ``baseline`` of a run folder; PtychoPINN by default.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    InputError
        If there is no network, its run is not complete, or a newer version wrote it.
    """
    file = find_model(place, model)
    configure_devices()
    return TrainedNetwork(file, load_network(file.path))
