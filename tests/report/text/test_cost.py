"""Times and sweeps in words and tables, from a study whose numbers are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.output import publication
from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.report.text import condition_series as sweep_narrative, cost as spending_report
from ptycho_lib.study.folder.record import read_record
from ptycho_lib.study.results.condition_series import ConditionSeries
from ptycho_lib.study.results.costs import COSTS
from tests.support import report_examples as examples

CONDITIONS = [
    {"name": "dim", "photons_per_pattern": 1e4},
    {"name": "dark", "photons_per_pattern": 1e3},
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    folder = tmp_path_factory.mktemp("study")
    study = examples.FinishedStudy(folder, sizes=(4, 8), trials=2, conditions=CONDITIONS)
    return read_results(study.finish())


def text(html: str) -> str:
    return " ".join(BeautifulSoup(html, "html.parser").get_text(" ").split())


def table(models: tuple[str, ...] = ("pinn", "iterative")) -> pd.DataFrame:
    return examples.tidy_table(sizes=(32, 64), trials=2, models=models)


def test_the_table_has_a_row_an_arm_and_size_and_one_for_an_model_without_training() -> None:
    made = spending_report.cost_table(examples.costs(table()))
    rows = made.text.reset_index().to_numpy().tolist()
    assert [row[:2] for row in rows] == [["32", "PtychoPINN"], ["64", "PtychoPINN"], ["any", "Iterative"]]
    # 1.15 * (10 + 32/8) s of training, 500 patterns in 1.15 * 0.4 s, against 1.1 * 9 s
    assert rows[0][2:] == ["16.1", "0.46", "1100", "1.1", "0.9", "850"]
    assert rows[2][2:] == ["–", "9.9", "51", "–", "0.9", "–"]
    assert "Means of 2 trials" in made.caption
    assert "CPU, 2 threads" in made.caption


def test_a_system_that_cannot_tell_steps_apart_says_so() -> None:
    costs = examples.costs(table()).assign(memory_of_step=False)
    assert "of the process since its start" in spending_report.cost_table(costs).caption


def test_a_run_shows_its_own_costs(results: StudyResults) -> None:
    record = read_record(results.folder / "n_train_8")
    assert record is not None
    words = text(spending_report.run_costs(record))
    assert "PtychoPINN 1.5 0.0025 10000" in words
    without = record.model_copy(update={"reconstructions": {}})
    assert "recorded no times" in spending_report.run_costs(without)


def test_the_report_says_that_without_a_rival_nothing_pays_off(results: StudyResults) -> None:
    assert spending_report.pays_off(results) == ""
    assert "8 PtychoPINN 1.5 0.0025 10000 – 0.2 Supervised baseline 1.5 0.0025" in text(
        spending_report.study_costs(results)
    )
    assert "PtychoPINN 1.5 to 1.5 s" in spending_report.time_alt(results)


def test_the_break_even_stands_beside_the_quality(results: StudyResults) -> None:
    costs = results.tables.costs.copy()
    costs.loc[costs["model"] == "baseline", ["training_s", "reconstruction_s"]] = [0.0, 2.5]
    tables = results.tables.__class__(**(vars(results.tables) | {"costs": costs}))
    words = text(spending_report.pays_off(StudyResults(results.folder, results.manifest, (), tables)))
    # 25 patterns: 1.5 s of training and 0.0025 s against 2.5 s: cheaper from the 16th pattern
    assert "PtychoPINN with 8 training patterns (1.5 s of training" in words
    assert "after 16 test patterns" in words
    assert "Its aligned phase SSIM" in words


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            [0.9, 0.5, 0.1],
            [0.5, 0.5, 0.5],
            "PtychoPINN begins ahead of the iterative reconstruction; they change places at 0.50.",
        ),
        ([0.9, 0.8, 0.7], [0.5, 0.5, 0.5], "PtychoPINN is ahead of the iterative reconstruction throughout."),
        ([0.1, 0.1, 0.1], [0.5, 0.5, 0.5], "the iterative reconstruction is ahead of PtychoPINN throughout."),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "the iterative reconstruction and PtychoPINN cannot be told apart."),
    ],
)
def test_sentences_of_known_curves(first: list, second: list, expected: str) -> None:
    series = ConditionSeries("overlap", "", ("nominal", "half", "none"), (0.8, 0.5, 0.0))
    rows = pd.DataFrame(
        {
            "model": ["pinn"] * 3 + ["iterative"] * 3,
            "condition": series.conditions * 2,
            "value": [*first, *second],
        }
    )
    words = sweep_narrative.sentence(series, ("pinn", "iterative"), rows, "ssim")
    assert words == f"Overlap 0.80 to 0.00: {expected}"
    worse = sweep_narrative.sentence(series, ("pinn", "iterative"), rows.assign(value=-rows["value"]), "mae")
    assert worse == words


def test_doses_cross_on_a_logarithmic_axis() -> None:
    series = ConditionSeries("photons_per_pattern", "scan overlap 0", ("a", "b", "c"), (1e6, 1e4, 1e3))
    values = np.array([1.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    rows = pd.DataFrame({"model": ["pinn"] * 3 + ["iterative"] * 3, "condition": ["a", "b", "c"] * 2, "value": values})
    words = sweep_narrative.sentence(series, ("pinn", "iterative"), rows, "ssim")
    assert "(scan overlap 0): PtychoPINN begins ahead" in words
    assert words.endswith("change places at 100\u202f000.")


def test_a_study_names_where_its_models_change_places(results: StudyResults) -> None:
    words = text(sweep_narrative.change_places(results))
    assert "Photons per pattern 100 000 to 1 000: PtychoPINN is ahead of the supervised baseline" in words
    assert "100\u202f000 to 1\u202f000" in sweep_narrative.series_alt(results)


def test_a_study_without_series_says_nothing(tmp_path: Path) -> None:
    study = examples.FinishedStudy(tmp_path, sizes=(4,), conditions=CONDITIONS[:1])
    results = read_results(study.finish())
    assert sweep_narrative.change_places(results) == ""
    drawn = {publication.TIME_FIGURE, publication.CONDITION_FIGURE}
    assert set(publication.further_figures(results)) == drawn


def test_figures_and_costs_are_published(results: StudyResults) -> None:
    names = {path.name for path in publication.publish(results)}
    for figure in (publication.TIME_FIGURE, publication.SWEEP_FIGURE):
        assert {f"{figure}.png", f"{figure}.pdf"} <= names
    assert COSTS not in names  # a table of the study
