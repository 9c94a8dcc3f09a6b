"""A finished study in Python: tables as data frames, chosen figures, sentences, and wrong choices named."""

import pytest
from matplotlib.text import Text

import ptycho_lib as pl
from ptycho_lib.errors import InputError
from tests.support.report_examples import FinishedStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return pl.load_study(FinishedStudy(tmp_path_factory.mktemp("loaded"), sizes=(4, 8)).finish())


def test_values_are_those_of_the_tidy_table(study):
    values = study.values("phase", "mae")
    assert list(values.index) == [(4, 1), (8, 1)]
    chosen = "component == 'phase' and metric == 'mae' and alignment == 'aligned' and condition == 'nominal'"
    rows = study.table.query(chosen).set_index(["n_train", "model"])["value"]
    assert values.loc[(8, 1), "pinn"] == rows[8, "pinn"]
    assert {"mean", "low", "high"} <= set(study.summary)
    assert len(study.costs) == 4


def test_a_figure_holds_what_was_chosen(study):
    figure = study.figure("phase", "ssim", models=["pinn"], width="single", font_size_pt=6)
    assert len(figure.axes) == 1
    assert "SSIM" in "".join(text.get_text() for text in figure.findobj(Text))
    assert figure.get_figwidth() <= 89 / 25.4 + 1e-6
    assert len(study.figure("amplitude", ["ssim", "mae"], width="double").axes) == 2


def test_it_says_what_it_answers(study):
    assert study.answer()[0] in repr(study)
    assert "2 of 2 runs complete" in repr(study)
    assert "<li>" in study._repr_html_()


def test_wrong_choices_are_named_with_the_right_ones(study):
    with pytest.raises(InputError, match="'beauty'; expected") as refused:
        study.figure("phase", "beauty", models=["oracle"], width="wide")
    assert len(refused.value.problems) == 3
    with pytest.raises(InputError, match="'imaginary'; expected"):
        study.values("imaginary")
