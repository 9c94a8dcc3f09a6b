"""Files arrive while the scan is being measured: a process writes them, the reconstruction follows."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from ptycho_lib.application.watched_folder import Arrivals, follow
from ptycho_lib.data.options import ReadOptions
from ptycho_lib.errors import InputError

WRITER = """
import shutil, sys, time
from pathlib import Path
source, target = map(Path, sys.argv[1:])
for number, part in enumerate(sorted(source.glob("part_*.npz"))):
    while number and not (target / f".seen_{number}").exists():  # the reader has shown what came before
        time.sleep(0.02)
    whole = part.read_bytes()
    half = target / part.name
    half.write_bytes(whole[: len(whole) // 2])  # a file that is still being written
    time.sleep(0.3)
    half.write_bytes(whole)
"""


def test_results_come_while_a_process_writes_and_the_last_is_that_of_the_whole(network, parts, tmp_path):
    folder, shown = tmp_path / "arriving", []
    folder.mkdir()

    def on_result(result):
        shown.append(result)
        (folder / f".seen_{len(shown)}").touch()

    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(parts), str(folder)])
    try:
        last = follow(network, folder, expected=24, every_s=0.0, idle_s=120, on_result=on_result)
    finally:
        writer.kill()
        writer.wait()
    assert [len(result.positions_px) for result in shown] == [8, 16, 24]
    np.testing.assert_array_equal(last.obj, network.reconstruct(parts).obj)
    assert shown[-1].obj.shape == last.obj.shape
    assert shown[-1].total_residual == pytest.approx(last.total_residual, rel=0.1)


def test_a_silent_folder_ends_the_scan(network, parts, tmp_path):
    for name in ("part_0.npz", "part_1.npz"):
        shutil.copy(parts / name, tmp_path)
    assert len(follow(network, tmp_path, idle_s=0.1).positions_px) == 16
    assert len(follow(network, tmp_path, should_stop=lambda: True).positions_px) == 16


def test_what_cannot_be_read_is_named_and_tried_again_when_it_changes(network, parts, tmp_path):
    arrivals = Arrivals(tmp_path, network, ReadOptions())
    assert arrivals.look() == 0
    whole = (parts / "part_0.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:1000])
    assert arrivals.look() == 0
    assert "a.npz" in next(iter(arrivals.unread)).name
    with pytest.raises(InputError, match=r"a\.npz"):
        follow(network, tmp_path, idle_s=0.1)
    (tmp_path / "a.npz").write_bytes(whole)
    assert arrivals.look() == 8
    assert not arrivals.unread


def test_an_empty_folder_ends_with_a_problem(network, tmp_path):
    with pytest.raises(InputError, match=r"no file that was whole.*--idle"):
        follow(network, tmp_path, idle_s=0.1)
