"""Tables: right numbers, right winners, valid HTML and LaTeX."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.text.latex import to_latex
from ptycho_lib.report.text.tables import (
    gain_table,
    gap_table,
    numbers_text,
    run_table,
    study_table,
    to_html,
    winner_table,
)
from ptycho_lib.study.results.statistics import generalization_gaps, paired_differences, summarize
from tests.support import report_examples as examples

MODELS = ("pinn", "baseline", "untrained")


def one_run() -> pd.DataFrame:
    return examples.tidy_table(sizes=(64,))


def cells_by_row(html: str) -> list[int]:
    """Return the number of columns that each row covers, headings that reach down from above included."""
    widths: dict[int, int] = {}
    for number, row in enumerate(BeautifulSoup(html, "html.parser").find_all("tr")):
        for cell in row.find_all(["th", "td"]):
            for down in range(int(cell.get("rowspan", 1))):
                widths[number + down] = widths.get(number + down, 0) + int(cell.get("colspan", 1))
    return list(widths.values())


def test_run_table_holds_every_score_of_both_alignments() -> None:
    table = run_table(one_run())
    assert table.text.shape == (10, 4)
    assert list(table.text.columns) == [
        ("aligned", "PtychoPINN"),
        ("aligned", "Supervised baseline"),
        ("raw", "PtychoPINN"),
        ("raw", "Supervised baseline"),
    ]
    expected = one_run().query("model == 'pinn' and component == 'phase' and metric == 'mae' and alignment == 'raw'")
    assert table.text.loc[("phase", "MAE (rad) ↓"), ("raw", "PtychoPINN")] == f"{expected['value'].item():.4f}"


def test_one_run_ranks_no_model() -> None:
    assert not run_table(one_run()).best.any(axis=None)


def test_study_table_gives_means_with_the_interval() -> None:
    table = examples.tidy_table(trials=3)
    shown = study_table(table, summarize(table))
    assert shown.text.index.names == ["component", "patterns", "model"]
    assert "±" in shown.text.loc[("phase", "64", "PtychoPINN"), "MAE ↓"]
    assert "Student" in shown.caption
    assert shown.best.xs("PtychoPINN", level="model").all(axis=None)
    assert not shown.best.xs("Supervised baseline", level="model").any(axis=None)


@pytest.mark.parametrize("trials", [1, 2])
def test_fewer_than_three_trials_have_no_interval_and_nothing_in_bold(trials: int) -> None:
    table = examples.tidy_table(trials=trials)
    shown = study_table(table, summarize(table))
    assert not shown.text.map(lambda text: "±" in text).to_numpy().any()
    assert not shown.best.any(axis=None)
    assert "Student" not in shown.caption


@pytest.mark.parametrize(
    ("metric", "values", "margins", "texts"),
    [
        ("mae", [0.025631, 0.1], [], ["0.0256", "0.1000"]),
        ("psnr", [31.929, -1.0], [], ["31.93", "−1.00"]),
        ("mae", [0.025631, 0.1], [0.0031, 0.02], ["0.03 ± <0.01", "0.10 ± 0.02"]),
        ("psnr", [31.929], [12.0], ["32 ± 12"]),
        ("ssim", [np.nan, 0.9], [0.1, 0.01], ["–", "0.90 ± 0.01"]),
        ("ssim", [0.5], [0.0], ["0.500 ± 0.000"]),
        ("mae", [0.0], [0.01], ["0.00 ± 0.01"]),
    ],
)
def test_a_column_has_one_number_of_decimals(metric: str, values: list, margins: list, texts: list) -> None:
    assert numbers_text(metric, values, margins) == texts


def with_control() -> pd.DataFrame:
    return summarize(examples.tidy_table(trials=3, models=MODELS))


def test_the_control_has_a_row_and_what_training_adds_a_table() -> None:
    table = examples.tidy_table(trials=3, models=MODELS)
    shown = study_table(table, with_control())
    assert shown.text.loc[("phase", "none", "Untrained first guess"), "SSIM ↑"]
    gains = gain_table(with_control())
    assert gains is not None
    assert "Untrained first guess" not in gains.text.index.get_level_values("model")
    assert gains.text.loc[("phase", "128", "PtychoPINN"), "SSIM"][0].isdigit()
    assert gains.best.loc[("phase", "32", "Supervised baseline"), "SSIM"]
    spoiled = table.assign(value=table["value"].where(table["model"] != "untrained", 0.9))
    worse = gain_table(summarize(spoiled), metrics=["ssim"])
    assert worse is not None
    assert worse.text.loc[("phase", "32", "Supervised baseline"), "SSIM"].startswith("−")
    assert gain_table(summarize(examples.tidy_table(trials=3))) is None
    assert to_html(None) == ""


def test_the_generalization_gap_has_a_table() -> None:
    table = examples.tidy_table(trials=3, conditions=("nominal", "train"))
    gaps = gap_table(generalization_gaps(table, train="train", test="nominal"))
    assert gaps is not None
    assert gaps.text.loc[("phase", "64", "PtychoPINN"), "SSIM"][0].isdigit()
    assert gaps.best.loc[("phase", "64", "PtychoPINN"), "SSIM"]
    assert gap_table(generalization_gaps(table, train="other", test="nominal")) is None


@pytest.mark.parametrize("make", [lambda: run_table(one_run()), lambda: study_table(examples.tidy_table())])
def test_html_rows_are_complete_and_headed(make: object) -> None:
    html = to_html(make())
    assert len(set(cells_by_row(html))) == 1
    soup = BeautifulSoup(html, "html.parser")
    assert all(head.get("scope") and head.get_text(strip=True) for head in soup.find_all("th"))
    assert soup.find("caption").get_text()
    assert not soup.find(id=True)


class TestWinners:
    """Who is better where, and how sure that is."""

    @staticmethod
    def winners(table: pd.DataFrame):
        return winner_table(paired_differences(table))

    def test_one_trial_names_nobody(self) -> None:
        shown = self.winners(examples.tidy_table())
        assert (shown.text == "–").all(axis=None)
        assert not shown.best.any(axis=None)

    def test_clear_differences_are_bold(self) -> None:
        shown = self.winners(examples.tidy_table(trials=4))
        assert (shown.text == "PtychoPINN").all(axis=None)
        assert shown.best.all(axis=None)
        assert list(shown.text.columns) == ["32 patterns", "64 patterns", "128 patterns"]

    def test_undecided_ones_name_nobody(self) -> None:
        table = examples.tidy_table(trials=4)
        signs = np.where(table["trial"] % 2, 1.0, -1.0) * np.where(table["model"] == "pinn", 1, -1)
        shown = self.winners(table.assign(value=1.0 + 0.1 * signs + 1e-3 * table["model"].eq("pinn")))
        assert (shown.text == "undecided").all(axis=None)
        assert not shown.best.any(axis=None)


def test_html_escapes_what_files_say() -> None:
    table = one_run()
    table["model"] = table["model"].replace("pinn", "<script>alert(1)</script>")
    html = to_html(run_table(table))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_latex_aligns_numbers_and_sets_winners_in_bold() -> None:
    table = examples.tidy_table(trials=3, models=MODELS)
    source = to_latex(study_table(table, summarize(table)))
    assert "{lllS[table-format=1.3(1)]" in source
    assert r"& \bfseries 0.040 +- 0.001 &" in source
    assert (
        "Reconstructions of the same test patterns by PtychoPINN, the supervised baseline and the untrained" in source
    )
    for part in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\bfseries",
        r"$\downarrow$",
        r"$\pm$",
        r"95\,\%",
    ):
        assert part in source
    assert source.isascii()
    rows = [line for line in source.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") + sum(int(n) - 1 for n in multicolumns(line)) for line in rows} == {7}


def multicolumns(line: str) -> list[str]:
    return [part[0] for part in line.split(r"\multicolumn{")[1:]]


def test_latex_escapes_names() -> None:
    table = examples.tidy_table()
    table["model"] = table["model"].replace("baseline", "50%_net")
    assert r"50\%" in to_latex(study_table(table))
