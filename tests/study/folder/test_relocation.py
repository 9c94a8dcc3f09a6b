"""Moved data are found again by their content, whatever their names."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.study.folder.manifest import read_manifest
from ptycho_lib.study.folder.relocation import relocate
from tests.support.report_examples import FinishedStudy


@pytest.fixture
def moved(tmp_path):
    """A study whose folder and data went different ways; return (study, folder of the data)."""
    made = FinishedStudy(tmp_path / "made", sizes=(4,)).finish()
    study, data = tmp_path / "study", tmp_path / "elsewhere"
    shutil.move(made, study)
    data.mkdir()
    for name in ("train", "test"):
        shutil.move(made.parent / f"{name}.npz", data / f"my_{name}.npz")
    return study, data


def test_the_commands_take_the_new_places_and_keep_them(moved):
    study, data = moved
    command = ["verify", str(study), "--train", str(data / "my_train.npz"), "--test", str(data / "my_test.npz")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "Data of the study are now in" in result.output
    assert "pixels compared" not in result.output  # they were recomputed from the test file
    manifest = read_manifest(study)
    assert manifest.test.locate(study) == data / "my_test.npz"
    assert relocate(study, test=data / "my_test.npz") == []
    assert CliRunner().invoke(main, ["status", str(study)]).exit_code == 0


def test_a_file_saved_anew_with_the_same_content_is_the_same(moved):
    study, data = moved
    again = save_dataset(load_dataset(data / "my_test.npz"), data / "again.npz")
    assert str(again) in relocate(study, test=again)[0]


def test_other_data_are_refused_and_nothing_changes(moved):
    study, data = moved
    before = (study / "study.yaml").read_bytes()
    with pytest.raises(InputError) as refused:
        relocate(study, train=[data / "my_test.npz"], test=data / "none.npz")
    assert [problem.found.split()[0] for problem in refused.value.problems][1:] == ["no"]
    assert "fingerprint" in refused.value.problems[0].found
    np.savez(data / "broken.npz", nothing=np.zeros(1))
    with pytest.raises(InputError):
        relocate(study, train=[data / "broken.npz"])
    assert (study / "study.yaml").read_bytes() == before


def test_the_folder_of_a_configuration_is_one_problem(tmp_path):
    (tmp_path / "study.yaml").write_text("name: star\nn_train_sizes: [64]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a configuration.*`results` beside a configuration") as error:
        read_manifest(tmp_path)
    assert len(error.value.problems) == 1
