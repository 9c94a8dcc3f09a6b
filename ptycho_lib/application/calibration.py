"""How large the errors of a network were, in units of the spread of its patches, where the truth was known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_lib.application.model_file import ModelFile
from ptycho_lib.errors import InputError
from ptycho_lib.evaluation.alignment import align
from ptycho_lib.evaluation.uncertainty import calibrated_radius, error_ratios
from ptycho_lib.model_names import NOMINAL
from ptycho_lib.study.folder.manifest import MANIFEST, read_manifest
from ptycho_lib.study.folder.record import reconstruction_name
from ptycho_lib.study.folder.truth import read_truth

COVERAGE = 0.68
"""Share of the errors within the radius: one standard deviation of a normal distribution."""


def error_radius(file: ModelFile) -> float | None:
    """Return the radius, in units of the spread, that held `COVERAGE` of the errors on the run's test set.

    Parameters
    ----------
    file : ModelFile

    Returns
    -------
    float or None
        None if the network does not lie in a study, or the study keeps no truth. It holds for a new scan as far as
        its errors are to its spread as those of the test set.
    """
    study = next((folder for folder in file.path.parents if (folder / MANIFEST).is_file()), None)
    path = file.path.parent / reconstruction_name(NOMINAL)
    if study is None or file.record is None or not path.is_file():
        return None
    try:
        truth = read_truth(study, read_manifest(study), NOMINAL)
    except InputError:
        return None
    return _radius(path, truth.obj, file.evaluation.max_shift_px)


def _radius(path: Path, truth: np.ndarray, max_shift_px: float) -> float | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            obj, mask, spread = stored["object"], stored["mask"], stored["spread"]
    except (OSError, ValueError, KeyError):
        return None
    if truth.shape != obj.shape:
        return None
    ratios = error_ratios(truth, align(truth, obj, mask, max_shift_px=max_shift_px).aligned, spread, mask)
    return float(calibrated_radius(ratios, COVERAGE)) if ratios.size else None
