"""A study as RO-Crate: what it holds, what it says, and that a validator accepts it."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.errors import InputError
from ptycho_lib.report.output.research_object import Publication, pack_study
from ptycho_lib.study.folder import locks
from tests.conftest import ROOT
from tests.support.report_examples import FinishedStudy

OURS = Publication("CC-BY-4.0", ("Jane Doe <0000-0002-1825-0097>", "John Roe"))
VALIDATOR = os.environ.get("CRATE_PYTHON") or (sys.executable if find_spec("rocrate_validator") else "")

NOT_PACKED = ("execution", "partial", ".hidden", "cache")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one size, with what does not belong into an archive beside its results."""
    folder = FinishedStudy(tmp_path_factory.mktemp("study"), sizes=(4,)).finish()
    (folder / ".hidden").write_text("x")
    (folder / "summary.partial.ipynb").write_text("{}")
    (folder / "cache").mkdir()
    (folder / "cache" / "first_guess.npy").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def archive(study, tmp_path_factory):
    """The study without its data."""
    return pack_study(study, tmp_path_factory.mktemp("packed") / "study.zip", OURS)


def entities(path):
    """Return the entities of a crate by their identifiers."""
    with zipfile.ZipFile(path) as crate:
        graph = json.loads(crate.read("ro-crate-metadata.json"))["@graph"]
    return {entity["@id"]: entity for entity in graph}


def test_results_are_packed_and_nothing_else(study, archive):
    with zipfile.ZipFile(archive) as crate:
        names = set(crate.namelist())
        assert {"study.yaml", "n_train_4/run.json", "n_train_4/pinn_run/reconstruction.npz"} <= names
        assert not [name for name in names if any(word in name for word in NOT_PACKED)]
        assert crate.read("n_train_4/run.json") == (study / "n_train_4" / "run.json").read_bytes()
        digest = hashlib.sha256(crate.read("study.yaml")).hexdigest()
    found = entities(archive)
    assert found["study.yaml"]["sha256"] == digest
    assert {part["@id"] for part in found["./"]["hasPart"]} == names - {"ro-crate-metadata.json"}


def test_licence_authors_software_and_data_are_named(study, archive):
    found = entities(archive)
    root = found["./"]
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert found["https://spdx.org/licenses/CC-BY-4.0"]["identifier"] == "CC-BY-4.0"
    assert [found[person["@id"]]["name"] for person in root["author"]] == ["Jane Doe", "John Roe"]
    assert "https://orcid.org/0000-0002-1825-0097" in found
    action = found["#study"]
    software = {found[one["@id"]]["name"]: found[one["@id"]]["version"] for one in action["instrument"]}
    assert {"ptycho_lib", "numpy", "tensorflow"} <= set(software)
    data = [found[one["@id"]] for one in action["object"]]
    content = (study.parent / "train.npz").read_bytes()
    assert data[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert "fingerprint" in data[0]["identifier"]


def test_data_come_along_on_request(study, tmp_path):
    path = pack_study(study, tmp_path / "with.zip", OURS, with_data=True)
    with zipfile.ZipFile(path) as crate:
        assert crate.read("data/test_test.npz") == (study.parent / "test.npz").read_bytes()


@pytest.mark.skipif(not VALIDATOR, reason="no rocrate-validator here; `make test-crate` installs it beside")
@pytest.mark.parametrize("with_data", [False, True])
def test_a_validator_accepts_it(study, tmp_path, with_data):
    path = pack_study(study, tmp_path / "study.zip", OURS, with_data=with_data)
    command = [VALIDATOR, str(ROOT / "tests" / "support" / "validate_crate.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) > 30


def test_without_licence_and_author_nothing_is_written(study, tmp_path):
    result = CliRunner().invoke(main, ["pack", str(study), str(tmp_path / "study.zip")])
    assert result.exit_code == 2
    assert "no licence" in result.output
    assert "no author" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("publication", "words"),
    [
        (Publication("my own", OURS.authors), "'my own'"),
        (Publication("MIT", ("Jane <1234>",)), "an ORCID in angle brackets"),
    ],
)
def test_malformed_licences_and_authors_are_refused(study, tmp_path, publication, words):
    with pytest.raises(InputError, match=words):
        pack_study(study, tmp_path / "study.zip", publication)


def test_a_study_in_progress_is_not_packed(study, archive, tmp_path):
    with pytest.raises(InputError, match="an earlier archive"):
        pack_study(study, archive, OURS)
    lock = locks.take_lock(study / "n_train_4", "kernel")
    try:
        with pytest.raises(InputError, match="a run in progress"):
            pack_study(study, tmp_path / "study.zip", OURS)
    finally:
        lock.release(force=True)
