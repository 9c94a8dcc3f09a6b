"""The path that `benchmarks/gpu.py` takes on GPUs, on two logical devices of the processor."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

OPTIONS = ["--logical", "2", "--sizes", "32", "--batches", "8", "--ways", "float32", "--seconds", "0.2"]


@pytest.mark.slow
def test_the_benchmark_of_gpus_finds_two_devices_right_and_measures_them():
    command = [sys.executable, "benchmarks/gpu.py", *OPTIONS]
    ending = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert ending.returncode == 0, ending.stdout + ending.stderr
    assert ending.stdout.count(": met") == 7  # three numbers on each device, and the losses on both
    assert ending.stdout.splitlines()[-1].startswith("float32")
