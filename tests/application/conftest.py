"""A network that was never trained, saved as a run saves it: applying it is quick, and as exact."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.application.network import load_model
from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.networks.batches import normalised_probe
from ptycho_lib.networks.models import build_baseline, build_pinn
from tests.conftest import simulate_small

SETTINGS = NetworkConfig(width=2, first_guess_iterations=3)


def without(path, target, *names):
    """Copy an npz without some arrays."""
    with np.load(path) as stored:
        np.savez(target, **{name: stored[name] for name in stored.files if name not in names})
    return target


@pytest.fixture(scope="session")
def scan():
    """A simulated scan of 24 patterns of 32 × 32 pixels."""
    return simulate_small(24, seed=5)


@pytest.fixture(scope="session")
def scan_file(scan, tmp_path_factory):
    """The scan as a file of the contract."""
    return save_dataset(scan, tmp_path_factory.mktemp("scan") / "scan.npz")


@pytest.fixture(scope="session")
def model_dir(scan, tmp_path_factory):
    """The folder of a PtychoPINN."""
    folder = tmp_path_factory.mktemp("model") / "pinn_run"
    folder.mkdir()
    build_pinn(SETTINGS, normalised_probe(scan.probe)).save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def baseline_dir(scan, tmp_path_factory):
    """The folder of a baseline."""
    folder = tmp_path_factory.mktemp("model") / "baseline_run"
    folder.mkdir()
    build_baseline(SETTINGS, normalised_probe(scan.probe)).save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def network(model_dir):
    """The PtychoPINN, loaded."""
    return load_model(model_dir)


@pytest.fixture(scope="session")
def parts(scan, tmp_path_factory):
    """The scan in three files, without its object; their patterns are in the order of the scan."""
    folder = tmp_path_factory.mktemp("parts")
    for number, chosen in enumerate(np.array_split(np.arange(len(scan)), 3)):
        whole = save_dataset(replace(scan, photons_per_pattern=None).select(chosen), folder / f".part_{number}.npz")
        without(whole, folder / f"part_{number}.npz", "objectGuess")
        whole.unlink()
    return folder
