"""Tables: right numbers, right winners, valid HTML and LaTeX."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.text.tables import (
    best_of,
    number_text,
    run_table,
    study_table,
    to_html,
    to_latex,
    winner_table,
)
from ptycho_lib.study.results.statistics import paired_differences, summarize
from tests.support import report_examples as examples


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
    assert table.text.loc[("phase", "MAE (rad) ↓"), ("raw", "PtychoPINN")] == f"{expected['value'].item():.3g}"


def test_the_better_value_wins_in_the_right_direction() -> None:
    best = run_table(one_run()).best
    assert best[("aligned", "PtychoPINN")].all()
    assert not best[("aligned", "Supervised baseline")].any()


def test_study_table_gives_means_with_the_interval() -> None:
    table = examples.tidy_table(trials=3)
    shown = study_table(table, examples.summary(table))
    assert shown.text.index.names == ["component", "patterns", "model"]
    assert "±" in shown.text.loc[("phase", 64, "PtychoPINN"), "MAE ↓"]
    assert "95 %" in shown.caption


def test_one_trial_has_no_interval() -> None:
    table = examples.tidy_table(trials=1)
    shown = study_table(table, examples.summary(table))
    assert not shown.text.map(lambda text: "±" in text).to_numpy().any()
    assert "95 %" not in shown.caption


@pytest.mark.parametrize(
    ("metric", "value", "margin", "text"),
    [
        ("mae", 0.025631, np.nan, "0.0256"),
        ("psnr", 31.929, np.nan, "31.93"),
        ("mae", 0.025631, 0.0031, "0.026 ± 0.003"),
        ("psnr", 31.929, 12.0, "32 ± 12"),
        ("ssim", np.nan, 0.1, "–"),
        ("ssim", 0.5, 0.0, "0.500"),
        ("frc50", 0.0295670778, 5e-18, "0.029567 ± <0.000001"),
        ("mae", 0.0, 0.01, "0.00 ± 0.01"),
    ],
)
def test_numbers_are_as_long_as_they_are_known(metric: str, value: float, margin: float, text: str) -> None:
    assert number_text(metric, value, margin) == text


def test_nothing_wins_alone_and_nan_never_wins() -> None:
    assert best_of("mae", pd.Series([0.1, np.nan])) == [False, False]
    assert best_of("mae", pd.Series([0.1, np.nan, 0.2])) == [True, False, False]
    assert best_of("ssim", pd.Series([0.1, 0.2, 0.2])) == [False, True, True]


@pytest.mark.parametrize("make", [lambda: run_table(one_run()), lambda: study_table(examples.tidy_table())])
def test_html_rows_are_complete_and_headed(make: object) -> None:
    html = to_html(make())
    assert len(set(cells_by_row(html))) == 1
    soup = BeautifulSoup(html, "html.parser")
    assert all(head.get("scope") and head.get_text(strip=True) for head in soup.find_all("th"))
    assert soup.find("caption").get_text()
    assert soup.find("strong")
    assert not soup.find(id=True)


class TestWinners:
    """Who is better where, and how sure that is."""

    @staticmethod
    def winners(table: pd.DataFrame):
        return winner_table(summarize(table, n_resamples=99), paired_differences(table, n_resamples=99))

    def test_one_trial_decides_nothing(self) -> None:
        shown = self.winners(examples.tidy_table())
        assert (shown.text == "PtychoPINN").all(axis=None)
        assert not shown.best.any(axis=None)

    def test_clear_differences_are_bold(self) -> None:
        shown = self.winners(examples.tidy_table(trials=4))
        assert shown.best.all(axis=None)
        assert list(shown.text.columns) == ["32 patterns", "64 patterns", "128 patterns"]

    def test_undecided_ones_are_in_brackets(self) -> None:
        table = examples.tidy_table(trials=4)
        signs = np.where(table["trial"] % 2, 1.0, -1.0) * np.where(table["model"] == "pinn", 1, -1)
        shown = self.winners(table.assign(value=1.0 + 0.1 * signs + 1e-3 * table["model"].eq("pinn")))
        assert shown.text.loc[("phase", "SSIM ↑")].tolist() == ["(PtychoPINN)"] * 3
        assert shown.text.loc[("phase", "MAE (rad) ↓")].tolist() == ["(Supervised baseline)"] * 3
        assert not shown.best.any(axis=None)


def test_html_escapes_what_files_say() -> None:
    table = one_run()
    table["model"] = table["model"].replace("pinn", "<script>alert(1)</script>")
    html = to_html(run_table(table))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_latex_is_booktabs_with_winners_in_bold() -> None:
    table = examples.tidy_table(trials=3)
    source = to_latex(study_table(table, examples.summary(table)))
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
