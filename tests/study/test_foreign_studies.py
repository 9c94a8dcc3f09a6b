"""Study folders from other people: nothing in them is executed, nothing outside them is touched.

More of this: hostile `study.yaml` in test_status, pickles in test_dataset and test_readers, `.keras` files
with code in test_models, strange names and smuggled modules in test_runner, links there, in test_runs and
test_plan, escaped texts in test_narrative, test_document and test_markup.
"""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from ptycho_lib.errors import InputError
from ptycho_lib.report.output.publication import write_study_figure
from ptycho_lib.report.results import load_reconstructions, read_results
from ptycho_lib.study.folder import locks
from ptycho_lib.study.results.tables import write_study_tables
from ptycho_lib.study.run_session import open_run
from tests.support.miniature import Miniature
from tests.support.report_examples import FinishedStudy

ROOT = Path(__file__).resolve().parents[2]


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_reconstruction_that_holds_a_pickle_is_not_opened(tmp_path):
    study = FinishedStudy(tmp_path, sizes=(4, 8))
    study.finish()
    hidden = np.array([Bomb(tmp_path / "pwned")], dtype=object)
    for path in study.folder.rglob("reconstruction.npz"):
        np.savez(path, object=hidden, mask=hidden)
    with pytest.raises(ValueError, match="pickle"):
        load_reconstructions(read_results(study.folder), 4)
    assert not (tmp_path / "pwned").exists()


def test_tables_and_figures_replace_links_instead_of_writing_through_them(tmp_path):
    study = FinishedStudy(tmp_path / "study", sizes=(4, 8))
    study.finish()
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    names = ["aggregated_metrics.csv", "study_summary.csv", "generalization_study_results.png"]
    names += ["generalization_study_results.pdf", "generalization_study_results_caption.txt"]
    for name in names:
        (study.folder / name).unlink(missing_ok=True)
        (study.folder / name).symlink_to(precious)
    write_study_tables(study.folder)
    write_study_figure(study.folder)
    assert precious.read_text() == "keep me"
    assert not any((study.folder / name).is_symlink() for name in names)


@pytest.mark.parametrize("name", ["pinn_run/model.keras", "execution/progress.jsonl"])
def test_a_link_deep_in_a_run_folder_is_refused(tmp_path, monkeypatch, name):
    study = Miniature(tmp_path)
    monkeypatch.setenv("PTYCHO_STUDY_TEMPLATE", str(study.template))
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    link = study.out / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(InputError, match="Remove the symbolic link"):
        open_run(study.train, study.test, study.out / "run", 8)
    assert precious.read_text() == "keep me"


def test_a_lock_file_that_is_a_link_is_replaced(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    path = locks.lock_path(tmp_path / "run", "kernel")
    path.parent.mkdir(parents=True)
    path.symlink_to(precious)
    assert not locks.is_held(tmp_path / "run", "kernel")
    locks.take_lock(tmp_path / "run", "kernel").release()
    assert precious.read_text() == "keep me"
    assert not path.is_symlink()


@pytest.fixture
def lab(tmp_path):
    """Start what `make lab` starts, without a browser; yield the process and its log."""
    arguments = "ARGS=--no-browser --allow-root --ServerApp.port=0"
    printed = subprocess.run(["make", "-n", "lab", arguments], cwd=ROOT, capture_output=True, text=True).stdout
    line = next(part for part in printed.replace("\\\n", " ").splitlines() if "jupyter lab" in part)
    command = [sys.executable, "-m", "jupyter", *shlex.split(line)[1:]]
    log = tmp_path / "lab.log"
    clean = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    with log.open("w") as stream:
        how = {"stdout": stream, "stderr": stream, "env": clean | {"JUPYTER_CONFIG_DIR": str(tmp_path)}}
        process = subprocess.Popen(command, **how)
    yield process, log
    process.terminate()
    process.wait(20)


def test_make_lab_listens_on_loopback_only_and_asks_for_its_token(lab):
    process, log = lab
    deadline = time.time() + 120
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\S*\?token=(\w{40,})", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.time() < deadline
        time.sleep(0.2)
    port, token = found.groups()
    listening = [c for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    address = f"http://127.0.0.1:{port}/api/contents"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address, timeout=30)
    assert refused.value.code == 403
    with urllib.request.urlopen(f"{address}?token={token}", timeout=30) as answer:
        assert answer.status == 200
