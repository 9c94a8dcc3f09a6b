"""Memory does not follow the number of patterns; a process of its own has a peak of its own."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT


def peaks(folder, patterns):
    command = [sys.executable, ROOT / "benchmarks" / "large_scan.py", folder, str(patterns)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(gigabytes) for gigabytes in re.findall(r"peak +([0-9.]+) GB", run.stdout)]


@pytest.mark.slow
def test_a_scan_of_half_a_gigabyte_takes_no_more_memory_than_a_small_one(tmp_path):
    small, large = peaks(tmp_path, 2_000), peaks(tmp_path, 32_000)
    assert len(small) == len(large) == 7
    assert (tmp_path / "large.npz").stat().st_size > 0.5e9
    assert max(large) < max(small) + 0.2
