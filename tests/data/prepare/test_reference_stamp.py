"""What is compared with a reconstruction of the same patterns says so: check, tables, captions, report."""

from __future__ import annotations

import html
from dataclasses import replace

import pandas as pd
import pytest

from ptycho_lib.data.check.file import check
from ptycho_lib.data.dataset import OTHER_REFERENCE, OWN_REFERENCE, REFERENCE, load_dataset
from ptycho_lib.report.output.notebook_display import show
from ptycho_lib.report.output.publication import publish
from ptycho_lib.report.results import SAME_KIND, read_results, reference_note, truth_label
from ptycho_lib.report.text.run import run_overview
from ptycho_lib.report.text.tables import study_table, to_html
from ptycho_lib.study.execution.plan import CONFIG
from ptycho_lib.study.run_session import open_run
from tests.support import report_examples as examples

NOTE = f"{REFERENCE}object is an iterative reconstruction of these 25 patterns, not independent of them"


DIM = {"conditions": [{"name": "dim", "photons_factor": 0.5}]}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> examples.FinishedStudy:
    """A finished study whose test object was reconstructed from the test patterns."""
    made = examples.FinishedStudy(tmp_path_factory.mktemp("own"), sizes=(4, 8), history=(NOTE,), **DIM)
    made.finish()
    return made


def test_check_says_so(study) -> None:
    findings = check(load_dataset(study.plan.runs[0].test_data)).findings
    own = [found for found in findings if found.code == "own-reference"]
    assert [found.severity for found in own] == ["note"]
    assert "not independent" in own[0].message


def test_every_row_of_every_table_says_so(study) -> None:
    results = read_results(study.folder)
    assert (results.table["reference"] == OWN_REFERENCE).all()
    for path in study.folder.rglob("comparison_metrics.csv"):
        assert (pd.read_csv(path)["reference"] == OWN_REFERENCE).all()


def test_every_caption_says_so(study) -> None:
    results = read_results(study.folder)
    written = publish(results)
    figures = [path for path in written if path.suffix == ".png"]
    assert len(figures) == 3
    for figure in figures:
        caption = figure.with_name(f"{figure.stem}_caption.txt")
        assert caption in written
        assert "not independent of them" in caption.read_text(encoding="utf-8")
    table = next(path for path in written if path.suffix == ".tex").read_text(encoding="utf-8")
    assert "not independent of them" in table
    assert "not independent of them" in to_html(study_table(results.table), results.reference_note)


def test_the_notebook_of_a_run_says_so(study) -> None:
    planned = study.plan.runs[0]
    folder = study.folder.parent / "by_hand"
    run = open_run(planned.train_data, planned.test_data, folder, 4, 0, 1, planned.folder / CONFIG)
    assert OWN_REFERENCE in html.unescape(run_overview(run))


def test_a_note_stands_below_its_figure(monkeypatch) -> None:
    from ptycho_lib.report.output import notebook_display as page

    shown = []
    monkeypatch.setattr(page, "display", lambda element: shown.append(element.data))
    for note in ("not < independent", ""):
        show(examples_figure(), alt="a picture", note=note)
    assert shown[0].endswith("<em>not &lt; independent</em></p>")
    assert shown[1].endswith("</div>")


def examples_figure():
    from ptycho_lib.report.figures import history_figure

    return history_figure({"pinn": examples.history()})


@pytest.mark.parametrize(
    ("history", "standard", "label"),
    [
        (("simulated: {}",), "", "Ground truth"),
        (("read: npz",), OTHER_REFERENCE, "Reference"),
        (("read: npz", NOTE), OWN_REFERENCE, "Iterative reference"),
    ],
)
def test_what_stands_in_the_truths_place(history, standard, label) -> None:
    made = replace(examples.dataset(), history=history)
    assert made.standard == standard
    assert truth_label(made) == label
    circular = SAME_KIND in reference_note(made, ["pinn", "iterative"])
    assert circular == bool(standard)
    networks = reference_note(made, ["pinn", "baseline", "untrained"])
    assert SAME_KIND not in networks
    assert bool(networks) == bool(standard)


def test_tables_of_older_runs_are_read(study) -> None:
    from ptycho_lib.study.results.aggregate import read_metrics

    path = next(study.folder.rglob("comparison_metrics.csv"))
    old = study.folder.parent / "old.csv"
    pd.read_csv(path).drop(columns="reference").to_csv(old, index=False)
    assert (read_metrics(old)["reference"] == "").all()
