"""What the reconstructions of a study are compared with, kept in the study: its data may be elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import TRAIN, StudyConfig
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.npz import NpzArchive, write_npz
from ptycho_lib.study.folder.manifest import StudyManifest

FOLDER = "truth"
TEST = "test"


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth or reference of one scan.

    Parameters
    ----------
    obj : (H, W) complex64
    pixel_size_m : float or None
    standard, reference : str
        See `PtychoDataset`.
    """

    obj: NDArray[np.complex64]
    pixel_size_m: float | None
    standard: str
    reference: str


def scan_of(config: StudyConfig, condition: str) -> str:
    """Return the name of the scan that a condition shows: `test`, `train`, or its own.

    Parameters
    ----------
    config : StudyConfig
    condition : str
        Such as `nominal`.
    """
    if condition == TRAIN:
        return TRAIN
    others = {one.name for one in config.conditions if one.test_data is not None}
    return condition if condition in others else TEST


def keep_truths(out_dir: Path, manifest: StudyManifest) -> None:
    """Write the truth of every scan that a study reconstructs to `truth/` in its folder.

    Parameters
    ----------
    out_dir : Path
        Study folder.
    manifest : StudyManifest
        Its data must be where it says.

    Raises
    ------
    InputError
        If a file cannot be read or written.
    """
    for name, path in _sources(out_dir, manifest).items():
        found = truth_of(load_dataset(path))
        arrays = {
            "object": np.asarray(found.obj),
            "pixel_size_m": np.float64(found.pixel_size_m or np.nan),
            "standard": np.array(found.standard),
            "reference": np.array(found.reference),
        }
        write_npz(out_dir / FOLDER / f"{name}.npz", arrays, overwrite=True)


def read_truth(out_dir: Path, manifest: StudyManifest, condition: str) -> Truth:
    """Return what the models are compared with under a condition.

    Parameters
    ----------
    out_dir : Path
        Study folder.
    manifest : StudyManifest
    condition : str
        Such as `nominal`.

    Returns
    -------
    Truth
        From the study folder; of a study that an earlier version made, from the data.

    Raises
    ------
    InputError
        If neither is there, or the file is damaged.
    """
    name = scan_of(manifest.config, condition)
    kept = out_dir / FOLDER / f"{name}.npz"
    if kept.is_file():
        archive = NpzArchive(kept)
        size = float(archive.load("pixel_size_m"))
        texts = {key: str(archive.load(key)) for key in ("standard", "reference")}
        return Truth(archive.load("object"), None if np.isnan(size) else size, **texts)
    path = _sources(out_dir, manifest).get(name)
    if path is None or not path.is_file():
        fix = f"Put the data back to {path}, or run the study again."
        raise InputError(Problem(str(out_dir), f"{FOLDER}/{name}.npz", "no such file", "the truth, or the data", fix))
    return truth_of(load_dataset(path))


def _sources(out_dir: Path, manifest: StudyManifest) -> dict[str, Path]:
    """Return the data files of the scans that a study reconstructs, by the names of the scans."""
    sources = {TEST: manifest.test.locate(out_dir)}
    if manifest.config.training_scan:
        sources[TRAIN] = manifest.train.locate(out_dir)
    others = [one for one in manifest.config.conditions if one.test_data is not None]
    return sources | {one.name: Path(str(one.test_data)) for one in others}


def truth_of(dataset: PtychoDataset) -> Truth:
    """Return what the models are compared with on a dataset."""
    return Truth(dataset.obj, dataset.pixel_size_m, dataset.standard, dataset.reference)
