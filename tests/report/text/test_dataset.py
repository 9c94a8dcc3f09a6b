"""What the notebooks say about a file."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.data.check.file import check, check_file
from ptycho_lib.report.text import dataset as dataset_text
from ptycho_lib.report.widgets.data import FilePicker
from tests.support import report_examples as examples


def test_a_fault_is_said_with_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "x.npz"
    broken.write_bytes(b"not an npz")
    report = check_file(broken)
    html = dataset_text.findings(report)
    assert "✗ error" in html
    assert "nothing wrong found" not in html


def test_a_good_dataset_is_said_to_be_good_with_its_numbers() -> None:
    html = dataset_text.findings(check(examples.dataset()))
    assert "✗ error" not in html
    assert "overlap, linear" in html


def test_steps_of_the_preparation_are_listed(star_raw: Path) -> None:
    assert "photon counts" in dataset_text.steps(check_file(star_raw).dataset)
    assert "no preparation" in dataset_text.steps(examples.dataset())


def test_the_picker_offers_the_chosen_file_first_and_the_folder_below(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.npz", "deep/a.h5", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    picker = FilePicker(tmp_path / "b.npz", folder=tmp_path)
    labels = [label for label, _ in picker.controls["file"].options]
    assert labels == ["b.npz", "deep/a.h5"]
    assert picker.path == (tmp_path / "b.npz").resolve()
    picker.controls["file"].value = (tmp_path / "deep/a.h5").resolve()
    assert picker.path.name == "a.h5"
