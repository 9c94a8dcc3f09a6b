"""Studies are compared on the same pixels alone, and paired by matching trials alone."""

import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.errors import InputError
from ptycho_lib.report.figures import study_comparison_figure
from ptycho_lib.report.text.study_comparison import comparison_answer, comparison_differences, comparison_values
from ptycho_lib.study.results.comparison_of_studies import compare_studies
from ptycho_lib.study.results.statistics import mean_interval
from tests.support.report_examples import FinishedStudy


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Studies of the same data, by what distinguishes each."""
    root = tmp_path_factory.mktemp("studies")
    changes = {
        "first": {},
        "longer": {"name": "longer", "training": {"steps": 1600}},
        "seeded": {"name": "seeded", "seed": 5},
        "narrow": {"name": "narrow", "evaluation": {"min_illumination": 0.6}},
    }
    made = {
        name: FinishedStudy(root / name, sizes=(4,), trials=3 if name in ("first", "longer") else 1, **settings)
        for name, settings in changes.items()
    }
    return {name: study.finish() for name, study in made.items()}


def test_what_differs_is_named_and_nothing_else(folders):
    comparison = compare_studies([folders["first"], folders["longer"]])
    rows = comparison.differences.set_index("item")
    assert rows.loc["training.steps"].tolist() == ["settings", "800", "1600"]
    assert "seed" not in rows.index
    assert "training file 1" not in rows.index
    assert not comparison.unpaired


def test_differences_are_paired_by_trial_with_students_interval(folders, monkeypatch):
    from ptycho_lib.study.results import comparison_of_studies as module

    gains = {1: 0.01, 2: 0.02, 3: 0.06}
    join = module.join_runs

    def changed(runs, place):
        table = join(runs, place)
        if place == folders["longer"]:
            own = (table["model"] == "pinn") & (table["metric"] == "ssim")
            table.loc[own, "value"] += table.loc[own, "trial"].map(gains)
        return table

    monkeypatch.setattr(module, "join_runs", changed)
    comparison = compare_studies([folders["first"], folders["longer"]])
    row = comparison.pairs.query(
        "model == 'pinn' and metric == 'ssim' and component == 'phase' and alignment == 'aligned' and n_train == 4"
    ).iloc[0]
    low, high = mean_interval(np.array([[0.01, 0.02, 0.06]]))
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.03, low[0], high[0]))
    assert row["better"] == "undecided"
    said = comparison.sentences()
    assert any("PtychoPINN with 4 patterns" in one and "cannot be told apart" in one for one in said)
    figure = study_comparison_figure(comparison.values, comparison.pairs, [s.label for s in comparison.studies])
    assert len(figure.axes) == 6
    page = comparison_answer(comparison) + comparison_differences(comparison) + comparison_values(comparison)
    assert "training.steps" in page


def test_other_pixels_are_refused_and_shown_side_by_side_only_on_request(folders):
    with pytest.raises(InputError, match="compared pixels that are not the"):
        compare_studies([folders["first"], folders["narrow"]])
    comparison = compare_studies([folders["first"], folders["narrow"]], unpaired=True)
    assert comparison.pairs.empty
    assert "is not paired with" in comparison.sentences()[0]
    assert set(comparison.values["study"]) == {"a_study", "narrow"}
    labels = [study.label for study in comparison.studies]
    assert len(study_comparison_figure(comparison.values, comparison.pairs, labels).axes) == 3


def test_other_seeds_are_not_paired(folders):
    comparison = compare_studies([folders["first"], folders["seeded"]])
    assert comparison.unpaired == {"seeded": "other seeds or another choice of patterns"}
    assert comparison.pairs.empty


def test_studies_of_one_name_are_told_apart_by_their_folders(folders, tmp_path):
    copy = shutil.copytree(folders["first"], tmp_path / "copy")
    labels = [study.label for study in compare_studies([folders["first"], copy]).studies]
    assert labels[0] == "a_study (first/study)"
    assert labels[1].endswith("/copy)")


def test_the_command_writes_tables_and_refuses_what_it_must(folders, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(main, ["compare", *map(str, arguments), "--no-report"])

    output = tmp_path / "compared"
    result = call(folders["first"], folders["longer"], "--output", output)
    assert result.exit_code == 0, result.output
    assert "settings: training.steps: 800 | 1600" in result.output
    assert set(pd.read_csv(output / "values.csv")["study"]) == {"a_study", "longer"}
    assert call(folders["first"], folders["longer"], "--output", output).exit_code == 2
    for arguments in (
        (folders["first"],),
        (folders["first"], folders["first"]),
        (folders["first"], tmp_path / "none"),
        (folders["first"], folders["narrow"]),
        (folders["first"], folders["longer"], "--metric", "beauty"),
    ):
        refused = call(*arguments, "--output", tmp_path / "other")
        assert refused.exit_code == 2, refused.output
        assert not (tmp_path / "other").exists()
