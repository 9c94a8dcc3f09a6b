"""Memory does not follow the number of patterns; a process of its own has a peak of its own."""

import re
import subprocess
import sys

import numpy as np
import pytest

from ptycho_lib.evaluation import phase_synchronisation as synchronisation
from ptycho_lib.evaluation.phase_synchronisation import agreement, overlap_products, synchronise_phases
from ptycho_lib.io.lazy_stack import SCRATCH_BYTES, release, scratch
from ptycho_lib.physics import scan
from ptycho_lib.physics.diffraction import extract_patches
from tests.conftest import ROOT


def peaks(folder, patterns, steps):
    command = [sys.executable, ROOT / "benchmarks" / "large_scan.py", folder, str(patterns), str(steps)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(gigabytes) for gigabytes in re.findall(r"peak +([0-9.]+) GB", run.stdout)]


@pytest.mark.slow
def test_a_whole_study_step_on_half_a_gigabyte_takes_little_more_memory_than_a_small_one(tmp_path):
    """Simulation, check, training of both models, prediction, stitching and comparison, all from disk."""
    small, large = peaks(tmp_path / "small", 1_000, 20), peaks(tmp_path / "large", 34_000, 100)
    assert len(small) == len(large) == 13
    assert (tmp_path / "large" / "large_0.npz").stat().st_size > 0.5e9
    assert max(large) < max(small) + 0.8  # 8 kB a pattern would be the predicted patches alone, 16 kB the patterns
    assert max(large) < 3.0


def test_large_results_lie_on_disk_and_leave_memory_when_released():
    shape = (SCRATCH_BYTES // 4 // 1000 + 1, 1000)
    array = scratch(shape, np.float32)
    assert isinstance(array, np.memmap)
    assert not isinstance(scratch((10, 1000), np.float32), np.memmap)
    array[5:9] = 3
    release(array)
    np.testing.assert_array_equal(array[4:10, 0], [0, 3, 3, 3, 3, 0])


def test_phases_are_found_from_the_nearest_pairs_alone(monkeypatch):
    rng = np.random.default_rng(0)
    positions, shape = scan.frame(scan.fermat_spiral(400, 3.0), 32)
    obj = np.exp(1j * rng.uniform(0, 1, shape)).astype(np.complex64)
    phases = rng.uniform(-2, 2, 400)
    patches = extract_patches(obj, positions, 32) * np.exp(-1j * phases).astype(np.complex64)[:, None, None]
    every = overlap_products(patches, positions)
    monkeypatch.setattr(synchronisation, "_MOST_PAIRS", every.nnz // 5)
    few = overlap_products(patches, positions)
    assert 0.1 * every.nnz < few.nnz < 0.4 * every.nnz
    row, column = few.nonzero()
    np.testing.assert_array_equal(few[row, column], every[row, column])
    assert agreement(every, synchronise_phases(patches, positions)) > 0.99
