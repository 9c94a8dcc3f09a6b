"""The report's words: complete, escaped, with links that survive a move."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.report.text import disclosure, study as narrative
from tests.support import report_examples as examples


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    study = examples.FinishedStudy(tmp_path_factory.mktemp("words"), sizes=(4, 8), trials=2, name="stars <&> co")
    return read_results(study.finish(collapse=(4, 2), skip=(8, 2)))


def text(html: str) -> str:
    return BeautifulSoup(html, "html.parser").get_text(" ")


def test_overview_says_what_was_compared(results: StudyResults) -> None:
    words = text(narrative.overview(results))
    for part in (
        "PtychoPINN and the supervised baseline",
        "4 and 8",
        "2 trials each",
        "25 patterns",
        "train.npz",
    ):
        assert part in words


def test_names_are_escaped(results: StudyResults) -> None:
    assert "stars &lt;&amp;&gt; co" in narrative.overview(results)


def test_counts_come_with_reasons(results: StudyResults) -> None:
    words = text(narrative.run_counts(results))
    assert "3 of 4 runs are complete." in words
    assert "1 missing." in words
    assert "1 training collapsed" in words
    assert "n_train 4, trial 2: the supervised baseline collapsed (the loss became NaN)" in words


def test_links_are_relative_and_lead_to_the_notebooks(results: StudyResults) -> None:
    links = [a["href"] for a in BeautifulSoup(narrative.run_list(results), "html.parser").find_all("a")]
    assert len(links) == 3
    assert all((results.folder / link).is_file() and not Path(link).is_absolute() for link in links)


def test_the_worst_reconstruction_comes_first(results: StudyResults) -> None:
    soup = BeautifulSoup(narrative.worst_runs(results), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in soup.find_all("tr")[1:]]
    assert len(rows) == 6
    assert rows[0][:3] == ["Supervised baseline", "4", "2"]
    values = [float(row[3]) for row in rows if row[3] != "–"]
    assert values == sorted(values)


def test_provenance_holds_all_fingerprints(results: StudyResults) -> None:
    words = text(narrative.provenance(results))
    manifest = results.manifest
    for fact in (results.fingerprint(), manifest.train.fingerprint, manifest.test.fingerprint, *manifest.code.values()):
        assert fact in words
    assert "numpy" in words


def test_the_overview_shows_no_markup_and_no_iterative_model_that_is_not_there(results: StudyResults) -> None:
    words = text(narrative.overview(results))
    assert "<" not in words.replace("<&>", "")
    assert f" in  {Path(results.manifest.train.path).name} , and evaluated" in words
    config = results.config.model_copy(update={"models": ("pinn", "baseline", "untrained")})
    controlled = replace(results, manifest=results.manifest.model_copy(update={"config": config}))
    assert narrative.iterative_sentence(controlled) == ""


def test_caption_is_filled_in(results: StudyResults) -> None:
    caption = narrative.caption(results)
    assert "means of 2 trials" in caption
    assert "3 complete runs; 1 collapsed training, included." in caption
    assert results.fingerprint()[:12] in caption


@pytest.mark.parametrize(("trials", "claimed"), [(1, False), (2, False), (3, True)])
def test_an_interval_is_claimed_only_where_there_is_one(tmp_path: Path, trials: int, claimed: bool) -> None:
    results = read_results(examples.FinishedStudy(tmp_path, sizes=(4, 8), trials=trials).finish())
    assert ("95 %" in narrative.caption(results)) is claimed
    words = text(narrative.answer(results))
    assert ("95 % CI" in words) is claimed
    assert ("cannot be said from" in words) is not claimed
    assert ("cannot be ranked" in words) is not claimed


def test_the_answer_comes_first_and_names_both_models(tmp_path: Path) -> None:
    results = read_results(examples.FinishedStudy(tmp_path, sizes=(4, 8, 16), trials=3).finish())
    soup = BeautifulSoup(narrative.answer(results), "html.parser")
    first = soup.find("p", class_="answer").get_text()
    assert first.startswith("PtychoPINN ")
    assert "; the supervised baseline " in first
    assert "aligned phase SSIM" in first
    assert results.answer()[0] == first
    assert "amplitude FRC50" in text(narrative.other_measures(results))


def test_the_report_discloses_what_qualifies_its_numbers(results: StudyResults) -> None:
    words = text(disclosure.disclosure(results))
    assert "the phase drift correction are fitted to the test patterns themselves, never to the reference" in words
    assert "; every network gets the same." in words  # this study has no control
    changed = words.partition("(default -> this study): ")[2]
    assert changed == "models pinn, baseline, untrained -> pinn, baseline; training_scan True -> False; trials 3 -> 2."
    assert results.standard in words or results.reference_note in words


def test_alternative_text_gives_the_message_in_numbers(results: StudyResults) -> None:
    rows = results.table.query("metric == 'ssim' and component == 'phase' and alignment == 'aligned'")
    best = rows.query("model == 'pinn' and n_train == 8")["value"].mean()
    assert f"{best:.3f} with 8" in narrative.study_alt(results)
    assert "pinn" not in narrative.montage_alt(results, "phase")


def test_conditions_are_listed(tmp_path: Path) -> None:
    conditions = [{"name": "low_dose", "photons_factor": 0.1}]
    study = examples.FinishedStudy(tmp_path, sizes=(4,), conditions=conditions)
    results = read_results(study.finish())
    assert re.search(r"low_dose.*photons_factor 0\.1", text(narrative.conditions(results)))
    assert "low_dose" in narrative.condition_alt(results)
    assert "low_dose" in text(narrative.overview(results))
    assert "conditions none -> low_dose (photons_factor 0.1);" in text(disclosure.disclosure(results))
