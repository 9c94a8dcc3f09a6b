"""Statistics of trials: by hand, against scipy and by simulated coverage; nothing filtered by outcome."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.results.statistics import (
    UNDECIDED,
    clear_best,
    generalization_gaps,
    mean_interval,
    paired_differences,
    summarize,
)


def tidy(values, *, metric="ssim", model="pinn", n_train=128, **columns):
    """Return a tidy table of one value a trial."""
    table = pd.DataFrame(
        {
            "n_train": n_train,
            "n_groups": n_train,
            "trial": np.arange(1, len(values) + 1),
            "seed": 0,
            "model": model,
            "condition": "nominal",
            "component": "phase",
            "alignment": "aligned",
            "metric": metric,
            "value": values,
            "shift_capped": False,
            "censored": False,
            "reason": "",
            "run": "somewhere",
            **columns,
        }
    )
    return table.reindex(columns=COLUMNS)


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def test_summary_by_hand():
    row = only(summarize(tidy([1.0, 2.0, 3.0, 6.0])))
    assert (row["n"], row["n_undefined"], row["n_censored"]) == (4, 0, 0)
    assert (row["mean"], row["median"]) == (3.0, 2.5)
    assert row["std"] == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    expected = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem([1, 2, 3, 6]))
    assert (row["low"], row["high"]) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.6]])
def test_fewer_than_three_trials_claim_no_interval(values):
    row = only(summarize(tidy(values)))
    assert row["mean"] == pytest.approx(np.mean(values))
    assert np.isnan([row["low"], row["high"]]).all()


def test_every_size_model_and_metric_has_its_row_in_the_order_of_the_table():
    table = pd.concat(
        [
            tidy([n / 1000 + trial for trial in range(3)], n_train=n, model=model, metric=metric)
            for n in (512, 128)
            for model in ("pinn", "baseline")
            for metric in ("ssim", "mae")
        ]
    )
    summary = summarize(table)
    assert len(summary) == 8
    assert summary["n_train"].tolist() == [512] * 4 + [128] * 4
    assert summary["mean"].tolist() == pytest.approx([1.512] * 4 + [1.128] * 4)


def test_undefined_and_censored_values_are_counted_and_the_median_takes_them_for_the_worst():
    table = tidy([0.2, np.nan, 0.4, 0.6, np.nan])
    table["censored"] = [False, False, True, False, False]
    row = only(summarize(table))
    assert (row["n"], row["n_undefined"], row["n_censored"]) == (3, 2, 1)
    assert row["mean"] == pytest.approx(0.4)
    assert row["median"] == 0.2  # of -inf, -inf, 0.2, 0.4, 0.6
    assert only(summarize(tidy([0.2, np.nan, 0.4], metric="mae")))["median"] == 0.4
    assert np.isnan(only(summarize(tidy([0.2, np.nan, np.nan])))["median"])
    assert np.isnan(only(summarize(tidy([np.nan])))["mean"])


def test_an_infinite_value_does_not_spoil_the_others():
    row = only(summarize(tidy([30.0, np.inf, 32.0, 31.0], metric="psnr")))
    assert row["mean"] == pytest.approx(31.0)
    assert row["n_undefined"] == 1
    assert np.isfinite([row["low"], row["high"]]).all()


def test_collapsed_and_failed_runs_stand_beside_the_mean():
    outcomes = pd.DataFrame(
        {
            "n_train": 128,
            "trial": [1, 2, 3, 4],
            "model": "pinn",
            "state": ["complete", "complete", "complete", "failed"],
            "collapsed": [False, True, False, False],
            "reason": ["", "constant", "", "killed"],
        }
    )
    row = only(summarize(tidy([0.5, 0.0, 0.6]), outcomes))
    assert (row["n_collapsed"], row["n_failed"], row["n"]) == (1, 1, 3)
    assert row["mean"] == pytest.approx(1.1 / 3)  # the collapsed trial counts
    assert pd.isna(only(summarize(tidy([0.5])))["n_failed"])


@pytest.mark.parametrize("trials", [3, 4, 5, 10])
def test_intervals_of_normal_data_cover_the_mean_as_often_as_they_claim(trials):
    samples = np.random.default_rng(1).normal(size=(4000, trials))
    low, high = mean_interval(samples)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("trials", [3, 5])
def test_equal_models_are_called_different_in_five_percent_of_cases(trials):
    rng = np.random.default_rng(3)
    low, high = mean_interval(np.subtract(*rng.normal(size=(2, 4000, trials))))
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(0.05, abs=0.01)


def test_rows_with_missing_trials_use_what_they_have():
    rows = np.array([[1.0, 2.0, 3.0, np.nan], [5.0, 5.0, 5.0, 5.0], [1.0, np.nan, np.nan, 2.0]])
    low, high = mean_interval(rows)
    alone = mean_interval(rows[:1, :3])
    assert (low[0], high[0]) == (alone[0][0], alone[1][0])
    assert (low[1], high[1]) == (5.0, 5.0)
    assert np.isnan([low[2], high[2]]).all()


def test_pairing_removes_the_luck_that_both_models_share():
    rng = np.random.default_rng(0)
    luck, noise = rng.normal(0, 0.2, 6), rng.normal(0, 0.01, (2, 6))
    table = pd.concat([tidy(0.65 + luck + noise[0]), tidy(0.60 + luck + noise[1], model="baseline")])
    row = only(paired_differences(table))
    assert row["n"] == 6
    assert row["mean"] == pytest.approx(0.05, abs=0.01)
    assert row["low"] > 0
    assert (row["better"], row["n_better"]) == ("pinn", 6)
    summary = summarize(table)
    assert summary["low"].max() < summary["high"].min()  # unpaired, the intervals overlap


@pytest.mark.parametrize(("metric", "better", "n_better"), [("mae", "baseline", 0), ("psnr", "pinn", 5)])
def test_the_better_model_is_found_at_either_end(metric, better, n_better):
    higher = tidy([5.0, 5.1, 4.9, 5.2, 5.0], metric=metric)
    lower = tidy([1.0, 1.1, 1.2, 1.0, 0.9], metric=metric, model="baseline")
    row = only(paired_differences(pd.concat([higher, lower])))
    assert (row["better"], row["n_better"]) == (better, n_better)


def test_no_model_is_better_without_an_interval_that_says_so():
    close = pd.concat([tidy([0.5, 0.6, 0.4, 0.5]), tidy([0.6, 0.5, 0.5, 0.4], model="baseline")])
    assert only(paired_differences(close))["better"] == UNDECIDED
    single = pd.concat([tidy([0.9]), tidy([0.1], model="baseline")])
    assert only(paired_differences(single))["better"] == ""


def test_only_trials_of_both_models_are_pairs():
    table = pd.concat([tidy([0.5, 0.6, np.nan, 0.7]), tidy([0.4, 0.5, 0.6], model="baseline")])
    row = only(paired_differences(table))
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(0.1)
    assert paired_differences(tidy([0.5, 0.6])).empty


def test_an_unknown_metric_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'sharpness' is unknown; choose one of mae, mse"):
        summarize(tidy([1.0], metric="sharpness"))


def control(value, metric="ssim"):
    return tidy([value], model="untrained", n_train=0, metric=metric)


@pytest.mark.parametrize(("metric", "sign"), [("ssim", 1), ("mae", -1)])
def test_the_gain_over_the_control_is_positive_where_training_helps(metric, sign):
    values = np.array([0.60, 0.62, 0.64])
    summary = summarize(pd.concat([control(0.5, metric), tidy(values, metric=metric)]))
    row = only(summary[summary["model"] == "pinn"])
    ends = sorted(sign * (np.array([row["low"], row["high"]]) - 0.5))
    assert row["gain_over_untrained"] == pytest.approx(sign * 0.12)
    assert [row["gain_low"], row["gain_high"]] == pytest.approx(ends)
    assert np.isnan(only(summary[summary["model"] == "untrained"])["gain_over_untrained"])


def test_without_a_control_there_is_no_gain():
    assert np.isnan(only(summarize(tidy([0.5, 0.6, 0.7])))["gain_over_untrained"])


def test_the_generalization_gap_pairs_the_trials_of_a_network():
    luck = np.array([0.0, 0.1, 0.2, 0.05])
    seen = tidy(0.9 - luck, condition="train")
    gaps = generalization_gaps(pd.concat([seen, tidy(0.8 - luck + [0.01, 0, -0.01, 0])]), train="train", test="nominal")
    row = only(gaps)
    assert row["gap"] == pytest.approx(0.1)
    assert 0 < row["low"] < 0.1 < row["high"] < 0.12
    worse = pd.concat([tidy([0.1], metric="mae", condition="train"), tidy([0.3], metric="mae")])
    row = only(generalization_gaps(worse, train="train", test="nominal"))
    assert row["gap"] == pytest.approx(0.2)
    assert np.isnan(row["low"])
    assert generalization_gaps(tidy([0.5]), train="train", test="nominal").empty


def test_the_clear_best_is_better_than_every_other_one():
    values = pd.DataFrame({"a": [0.90, 0.91, 0.92], "b": [0.5, 0.52, 0.53], "c": [0.1, np.nan, 0.2]})
    assert clear_best(values[["a", "b"]], "ssim") == "a"
    assert clear_best(values[["a", "b"]], "mae") == "b"
    assert clear_best(values, "ssim") == ""  # two pairs with c give no interval
    assert clear_best(values[["a"]], "ssim") == ""
    assert clear_best(values[["a", "b"]].iloc[:2], "ssim") == ""
