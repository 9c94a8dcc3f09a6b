"""Shared data: the measured Siemens star, and a small simulated scan."""

from __future__ import annotations

import os
from pathlib import Path

# As `ptycho_lib.networks` sets it, which a test that imports TensorFlow first would come before.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import pytest

from ptycho_lib.data.dataset import PtychoDataset, materialise
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan

ROOT = Path(__file__).parents[1]
LONGEST = ("tests/end_to_end/", "tests/study/execution/", "tests/networks/", "tests/data/check/", "tests/cli/")
"""Begun first, so that the processes of `make test` end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the folders that take longest to the front; nothing else changes its place."""
    places = {folder: place for place, folder in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        return min((number for folder, number in places.items() if item.nodeid.startswith(folder)), default=len(places))

    items.sort(key=place)


@pytest.fixture(scope="session")
def star_raw() -> Path:
    """The measured Siemens star: 516 patterns of 64 × 64 photon counts."""
    return ROOT / "studies" / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"


@pytest.fixture(scope="session")
def small_dataset() -> PtychoDataset:
    """A simulated scan: 60 patterns of 32 × 32 pixels, 1e5 photons each; asymmetric object and probe."""
    return simulate_small(60, seed=3)


def simulate_small(n: int, seed: int, *, photons: float | None = 1e5, size: int = 32) -> PtychoDataset:
    """Simulate a small scan whose object and probe have no symmetry, in memory."""
    rng = np.random.default_rng(seed)
    positions, shape = scan.frame(scan.fermat_spiral(n, 3.3) * (1.0, 1.4), size)
    obj = objects.transmission(
        objects.lines(shape, rng, count=200),
        objects.blobs(shape, rng),
        amplitude=(0.4, 1.0),
        phase_rad=(0, 1.5),
    )
    probe = probes.defocus(probes.disc(size, size * 0.45, smoothing_px=1.5), 3.0)
    y, x = np.indices((size, size)) / size
    probe = probes.normalise(probe * (1 + 0.8 * x + 0.3 * y) * np.exp(1j * (x + 2 * y * x)))
    return materialise(simulate_dataset(obj, probe, positions, detector=Detector(photons), seed=seed))
