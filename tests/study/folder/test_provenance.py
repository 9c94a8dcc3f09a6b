"""What a record says of versions and machine."""

import pytest

from ptycho_lib.study.folder.provenance import library_versions, machine


@pytest.mark.parametrize("name", ["python", "ptycho_lib", "tensorflow", "numpy"])
def test_versions_are_known_without_importing(name):
    assert library_versions()[name][0].isdigit()


def test_the_machine_names_its_threads(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert machine()["TF_NUM_INTRAOP_THREADS"] == "3"
    assert int(machine()["cores"]) >= 1
