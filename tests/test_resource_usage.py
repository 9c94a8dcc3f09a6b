"""Wall time and peak memory against steps whose cost is known."""

import time
from pathlib import Path

import numpy as np
import pytest

from ptycho_lib import resource_usage as usage
from ptycho_lib.resource_usage import Meter, Usage

MEGABYTE = 1_000_000


def hold(megabytes):
    return np.ones(megabytes * MEGABYTE // 8)


def test_a_meter_measures_from_its_making():
    meter = Meter()
    time.sleep(0.05)
    taken = meter.read()
    assert taken.seconds >= 0.05
    assert meter.read(seconds=7.5).seconds == 7.5


def test_memory_that_was_given_back_still_counts():
    before = Meter().read().peak_memory_bytes
    meter = Meter()
    block = hold(200)
    del block
    grown = meter.read().peak_memory_bytes - before
    assert 190 * MEGABYTE < grown < 260 * MEGABYTE


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system cannot forget a peak")
def test_a_step_is_not_charged_with_the_peak_of_an_earlier_one():
    meter = Meter()
    block = hold(300)
    del block
    first = meter.read()
    second = Meter().read()
    assert first.memory_of_step
    assert second.memory_of_step
    assert second.peak_memory_bytes < first.peak_memory_bytes - 200 * MEGABYTE


def test_where_a_peak_cannot_be_forgotten_it_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(usage, "_CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(usage, "_STATUS", tmp_path / "status")
    known = Meter().read().peak_memory_bytes
    block = hold(200)
    del block
    taken = Meter().read()
    assert not taken.memory_of_step
    assert taken.peak_memory_bytes >= known > 10 * MEGABYTE


def test_steps_one_after_the_other():
    both = Usage(1.5, 300, True) + Usage(2.0, 200, True)
    assert both == Usage(3.5, 300, True)
    assert not (both + Usage(0.0, 1, False)).memory_of_step
