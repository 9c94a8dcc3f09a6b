"""Numbers that README and the studies' READMEs quote equal their tables; `make quotes` writes them."""

import numpy as np
import pandas as pd
import pytest

from docs.quote_numbers import pages, requoted, rounded, unsourced
from tests.conftest import ROOT


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_numbers_equal_their_tables(page):
    text, problems = requoted(page)
    assert problems == []
    assert text == page.read_text(encoding="utf-8")
    assert list(unsourced(page)) == []


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr("docs.quote_numbers.ROOT", tmp_path)
    rows = "n_train,model,condition,component,alignment,metric,mean,low\n"
    rows += "32,pinn,nominal,phase,aligned,ssim,0.5374,0.51\n32,pinn,nominal,phase,raw,ssim,0.1,0.1\n"
    rows += "32,baseline,nominal,phase,aligned,ssim,0.25,0.2\n32,pinn,low_dose,phase,aligned,ssim,0.125,0.1\n"
    (tmp_path / "summary.csv").write_text(rows)
    return tmp_path / "README.md"


@pytest.mark.parametrize(
    ("quoted", "row", "right"),
    [
        ("0.54", "n_train=32 model=pinn", "0.54"),
        ("0.600", "n_train=32 model=pinn", "0.537"),
        ("0.1", "n_train=32 model=pinn alignment=raw", "0.1"),
        ("0.51", "n_train=32 model=pinn column=low", "0.51"),
        ("0.13", "model=pinn condition=low_dose", "0.12"),
    ],
)
def test_a_number_is_written_as_in_its_row(page, quoted, row, right):
    page.write_text(f"SSIM {quoted}<!-- = summary.csv {row} -->, more")
    text, problems = requoted(page)
    assert text == f"SSIM {right}<!-- = summary.csv {row} -->, more"
    assert bool(problems) == (quoted != right)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("none.csv model=pinn", "is missing"),
        ("summary.csv metric=ssim", "2 rows"),
        ("summary.csv size=3", "no column size"),
    ],
)
def test_what_cannot_be_found_is_a_problem(page, source, problem):
    page.write_text(f"SSIM 0.5<!-- = {source} -->")
    (found,) = requoted(page)[1]
    assert problem in found


def test_a_table_is_written(page):
    page.write_text("<!-- = table summary.csv n_train=32 rows=condition columns=model -->\n<!-- end -->\n")
    text, problems = requoted(page)
    assert len(problems) == 1
    assert "| condition | PtychoPINN | baseline |" in text
    assert "| nominal | 0.537 | 0.250 |\n| low_dose | 0.125 |  |" in text
    page.write_text(text)
    assert requoted(page) == (text, [])


def test_a_metric_without_a_table_is_found(page):
    page.write_text("It reaches 0.953 with `0.123` and 0.5.")
    assert list(unsourced(page)) == ["README.md: 0.953 names no table"]


def test_percent_and_minus_are_kept():
    assert rounded(0.125, "10", percent=True) == "12"
    assert rounded(-0.51, "−0.5") == "−0.5"


def test_the_table_of_the_search_equals_every_training_of_it():
    """Error sqrt(amplitude MAE · phase MAE) over that of the base, geometric mean of the scenes."""
    trainings = pd.read_csv(ROOT / "benchmarks" / "results" / "search.csv")
    trainings["error"] = np.log(trainings["amplitude_mae"] * trainings["phase_mae_rad"]) / 2
    mean = trainings.groupby(["setting", "model"])["error"].mean()
    relative = np.exp(mean - mean["base"])
    page = (ROOT / "docs" / "methods" / "networks.md").read_text(encoding="utf-8")
    section = page[page.index("| setting (base)") :].split("\n\n")[0]
    setting, compared = "", 0
    for line in section.splitlines()[2:]:
        name, tried, *quoted = (cell.strip() for cell in line.strip("|").split("|"))
        setting = name.split(" (")[0] or setting
        for place, value in enumerate((tried or "together").split("; ")):
            key = SEARCHED[setting].format(value.replace("none", "0"))
            for model, text in zip(("pinn", "baseline"), quoted, strict=True):
                if text != "–":
                    assert text.split("; ")[place] == f"{relative[key, model]:.2f}", (key, model)
                    compared += 1
    assert compared == len(relative) - 2  # all but the base


SEARCHED = {
    "learning rate": "training.learning_rate={}",
    "warm-up": "training.warmup_fraction={}",
    "batch": "training.batch_size={}",
    "width": "network.width={}",
    "iterations of the first guess": "network.first_guess_iterations={}",
    "width 8 and 20 iterations, together": "network.width=8 network.first_guess_iterations=20",
    "overlap": "training.merged_patches={}",
}
"""The settings as the page names them."""
