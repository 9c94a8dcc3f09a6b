"""Foreign files -> PtychoDataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.npz import NpzArchive
from ptycho_lib.data.stack import Array, StackView


def open_dataset(path: str | Path) -> PtychoDataset:
    """Open a file of photon counts under the key `diff3d`."""
    archive = NpzArchive(path)
    counts = archive.read("diff3d")
    return PtychoDataset(
        diffraction=StackView(counts, function=_root, dtype=np.float32),
        positions_px=np.stack([archive.read("ycoords"), archive.read("xcoords")], axis=1).astype(np.float64),
        probe=np.array(archive.read("probeGuess"), np.complex64),
        obj=np.array(archive.read("objectGuess"), np.complex64),
        coverage=np.array(archive.read("coverage")),
        photons_per_pattern=float(np.asarray(counts, np.float64).sum() / len(counts)),
        source=str(path),
        history=("diff3d: photon counts -> amplitude (square root)",),
    )


def _root(block: Array) -> Array:
    return np.sqrt(block.astype(np.float32))
