"""PtychoDataset: the npz contract (docs/reference/data_contracts.md), loaded, validated, saved, selected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_lib.data.contract import SCALARS, validate, validate_arrays
from ptycho_lib.data.summary import dataset_html, dataset_text
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, blocks, read_patterns, select
from ptycho_lib.io.npz import NpzArchive, write_npz
from ptycho_lib.physics.diffraction import extract_patches
from ptycho_lib.physics.probes import strongest_first
from ptycho_lib.physics.scan import scan_overlap

REFERENCE = "reference: "
"""Begins the line of the history that says how this library reconstructed the object from the patterns."""
SIMULATED = "simulated: "
"""Begins the line of the history that holds the parameters of a simulation."""
OWN_REFERENCE = "iterative reconstruction of the same patterns: not independent of them, not a ground truth"
OTHER_REFERENCE = "reference, not a ground truth"


@dataclass(frozen=True, eq=False, repr=False)
class PtychoDataset:
    """Diffraction patterns of one scan, with the probe and the object they belong to.

    Parameters
    ----------
    diffraction : (n, N, N) stack of float32
        Measured amplitude (square root of intensity), DC at pixel N/2. An array in memory, or a stack
        on disk (`np.memmap`, h5py, `StackView`) that is read where it is indexed.
    positions_px : (n, 2) float64 array
        Patch centres, (row, column), object pixels; the centre of a patch is its pixel N/2.
    probe : (N, N) or (m, N, N) complex64 array
        Illumination as stored; m mutually incoherent modes, or one. The overall scale is free, the powers
        of the modes are their shares of the light.
    obj : (H, W) complex64 array
        Ground truth, or a reference reconstruction.
    patches : (n, N, N) stack of complex64, optional
        Object patches (not illuminated); cut from `obj` where they are missing.
    coverage : (H, W) bool array, optional
        Where `obj` may be compared.
    mask : (N, N) bool array, optional
        Detector pixels that were measured; without it, all were.
    scan_index : (n,) int array, optional
        Which scan a pattern belongs to.
    photons_per_pattern : float, optional
        Mean number of detected photons: counts are diffraction² × photons_per_pattern / mean Σ diffraction².
    pixel_size_m, wavelength_m, detector_distance_m : float, optional
        Object pixel, wavelength and sample-detector distance, metres.
    history : tuple of str
        What was done to the data, a line a step.
    source : str
        The file, for messages.
    """

    diffraction: Any
    positions_px: Array
    probe: Array
    obj: Array
    patches: Any | None = None
    coverage: Array | None = None
    mask: Array | None = None
    scan_index: Array | None = None
    photons_per_pattern: float | None = None
    pixel_size_m: float | None = None
    wavelength_m: float | None = None
    detector_distance_m: float | None = None
    history: tuple[str, ...] = ()
    source: str = ""

    def __len__(self) -> int:
        return int(self.diffraction.shape[0])

    def __repr__(self) -> str:
        return dataset_text(self)

    def _repr_html_(self) -> str:
        return dataset_html(self)

    @property
    def patch_size(self) -> int:
        """Edge N of a pattern, pixels."""
        return int(self.diffraction.shape[-1])

    @property
    def probe_modes(self) -> Array:
        """Modes of the probe, (m, N, N) complex64, strongest first."""
        return np.asarray(strongest_first(self.probe), dtype=np.complex64)

    @property
    def reference(self) -> str:
        """How this library reconstructed the object from the patterns; empty if it did not."""
        return next((line for line in reversed(self.history) if line.startswith(REFERENCE)), "")

    @property
    def standard(self) -> str:
        """What stands in the place of a ground truth; empty if the object was simulated."""
        if self.reference:
            return OWN_REFERENCE
        return "" if any(line.startswith(SIMULATED) for line in self.history) else OTHER_REFERENCE

    def select(self, indices: Array) -> PtychoDataset:
        """Return the patterns at `indices`, in that order; probe, object, coverage and mask stay whole.

        Stacks on disk stay on disk.
        """
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            diffraction=select(self.diffraction, indices),
            positions_px=self.positions_px[indices],
            patches=None if self.patches is None else select(self.patches, indices),
            scan_index=None if self.scan_index is None else self.scan_index[indices],
        )

    def object_patches(self, indices: Array | None = None) -> Array:
        """Return object patches, (k, N, N) complex64, of all or the given patterns."""
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        if self.patches is not None:
            return read_patterns(self.patches, chosen)
        return extract_patches(self.obj, self.positions_px[chosen], self.patch_size)

    def overlap(self) -> float:
        """Return the linear overlap of the scan (`physics.scan.scan_overlap`)."""
        return scan_overlap(self.positions_px, self.probe)

    def amplitude_scale(self) -> float:
        """Return s such that (s·diffraction)² are photon counts on measured pixels; 1 if photons are unknown."""
        if self.photons_per_pattern is None:
            return 1.0
        seen = np.float64(1.0) if self.mask is None else self.mask.astype(np.float64)
        total = sum(float((np.square(block, dtype=np.float64) * seen).sum()) for _, block in blocks(self.diffraction))
        return float(np.sqrt(self.photons_per_pattern * len(self) / total))

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the content: the same after saving and loading, wherever the file lies.

        History and source do not count.
        """
        digest = hashlib.sha256()
        for key, array in sorted(_arrays(self).items()):
            dtype = np.dtype(array.dtype).newbyteorder("<")
            digest.update(f"{key} {dtype.str} {tuple(array.shape)}\n".encode())
            for _, block in blocks(array) if len(array.shape) else ((None, array),):
                digest.update(np.ascontiguousarray(block, dtype=dtype).data)
        return digest.hexdigest()


def load_dataset(path: str | Path) -> PtychoDataset:
    """Load a dataset that fulfils the contract; uncompressed arrays stay on disk.

    Raises
    ------
    InputError
        With every problem that was found; nothing is repaired silently. `ptycho-study prepare` converts
        what other programs wrote.
    """
    archive = NpzArchive(path)
    arrays, problems = validate(archive)
    if problems:
        raise InputError(problems)
    history = json.loads(str(arrays["history"])) if "history" in arrays else ()
    return PtychoDataset(
        diffraction=arrays["diffraction"],
        positions_px=np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1),
        probe=arrays["probeGuess"],
        obj=arrays["objectGuess"],
        patches=arrays.get("Y"),
        coverage=arrays.get("coverage"),
        mask=arrays.get("mask"),
        scan_index=arrays.get("scan_index"),
        history=tuple(history),
        source=str(path),
        **{key: float(arrays[key]) for key in SCALARS if key in arrays},
    )


def check_dataset(dataset: PtychoDataset) -> list[Problem]:
    """Return the problems of a dataset, as `load_dataset` would find them in its file."""
    _, problems = validate_arrays(_arrays(dataset), dataset.source or "dataset")
    return problems


def save_dataset(dataset: PtychoDataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Save a dataset as npz: uncompressed, so that it can be streamed; atomically; block by block.

    Raises
    ------
    InputError
        If the file exists (without `overwrite`), or cannot be written.
    """
    arrays = _arrays(dataset)
    arrays["history"] = np.array(json.dumps(list(dataset.history), ensure_ascii=True))
    return write_npz(path, arrays, overwrite=overwrite)


def _arrays(dataset: PtychoDataset) -> dict[str, Any]:
    """Return what the file holds, under its keys; the order is that of the file."""
    arrays = {
        "diffraction": dataset.diffraction,
        "xcoords": np.asarray(dataset.positions_px[:, 1], dtype=np.float64),
        "ycoords": np.asarray(dataset.positions_px[:, 0], dtype=np.float64),
        "probeGuess": dataset.probe,
        "objectGuess": dataset.obj,
        "Y": dataset.patches,
        "coverage": dataset.coverage,
        "mask": dataset.mask,
        "scan_index": dataset.scan_index,
    }
    scalars = {key: getattr(dataset, key) for key in SCALARS}
    arrays |= {key: None if value is None else np.float64(value) for key, value in scalars.items()}
    return {key: array for key, array in arrays.items() if array is not None}


def materialise(dataset: PtychoDataset) -> PtychoDataset:
    """Return the dataset with its stacks in memory."""
    return replace(
        dataset,
        diffraction=np.asarray(dataset.diffraction),
        patches=None if dataset.patches is None else np.asarray(dataset.patches),
    )
