"""Statistics of trials: by hand, against scipy and by simulated coverage; nothing filtered by outcome."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.results.statistics import expanded_level, mean_interval, paired_differences, summarize


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
    assert 1.0 <= row["low"] < 3.0 < row["high"] <= 6.0


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


def test_the_interval_is_scipys_percentile_bootstrap_at_the_expanded_level():
    values = np.random.default_rng(0).normal(size=12)
    low, high = mean_interval(values)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=expanded_level(0.95, 12),
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert [low[0], high[0]] == pytest.approx(list(expected), abs=0.03)


def test_expansion_is_students_and_vanishes_for_many():
    assert expanded_level(0.95, 5) == pytest.approx(1 - 2 * stats.norm.sf(np.sqrt(5 / 4) * 2.7764), abs=1e-6)
    assert expanded_level(0.95, 100_000) == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize(("trials", "least"), [(5, 0.90), (10, 0.935), (30, 0.935)])
def test_intervals_of_normal_data_cover_the_mean_as_often_as_they_claim(trials, least):
    samples = np.random.default_rng(1).normal(size=(1500, trials))
    low, high = mean_interval(samples, n_resamples=1999)
    coverage = np.mean((low < 0) & (high > 0))
    assert least < coverage < 0.975
    plain = stats.bootstrap(
        (samples,), np.mean, axis=-1, method="percentile", n_resamples=1999, batch=50, rng=2
    ).confidence_interval
    if trials == 5:  # what the expansion fixes
        assert np.mean((plain.low < 0) & (plain.high > 0)) < 0.88


def test_rows_with_missing_trials_use_what_they_have():
    rows = np.array([[1.0, 2.0, 3.0, np.nan], [5.0, 5.0, 5.0, 5.0], [1.0, np.nan, np.nan, 2.0]])
    low, high = mean_interval(rows)
    alone = mean_interval(rows[:1, :3])
    assert (low[0], high[0]) == (alone[0][0], alone[1][0])
    assert (low[1], high[1]) == (5.0, 5.0)
    assert np.isnan([low[2], high[2]]).all()


def test_the_same_seed_gives_the_same_interval():
    table = tidy(np.random.default_rng(0).random(6))
    pd.testing.assert_frame_equal(summarize(table), summarize(table))


def test_pairing_removes_the_luck_that_both_models_share():
    rng = np.random.default_rng(0)
    luck, noise = rng.normal(0, 0.2, 6), rng.normal(0, 0.01, (2, 6))
    table = pd.concat([tidy(0.65 + luck + noise[0]), tidy(0.60 + luck + noise[1], model="baseline")])
    row = only(paired_differences(table))
    assert row["n"] == 6
    assert row["mean"] == pytest.approx(0.05, abs=0.01)
    assert row["low"] > 0
    assert (row["verdict"], row["n_better"]) == ("pinn", 6)
    summary = summarize(table)
    assert summary["low"].max() < summary["high"].min()  # unpaired, the intervals overlap


@pytest.mark.parametrize(("metric", "verdict", "n_better"), [("mae", "baseline", 0), ("psnr", "pinn", 5)])
def test_the_verdict_knows_which_end_is_good(metric, verdict, n_better):
    higher = tidy([5.0, 5.1, 4.9, 5.2, 5.0], metric=metric)
    lower = tidy([1.0, 1.1, 1.2, 1.0, 0.9], metric=metric, model="baseline")
    row = only(paired_differences(pd.concat([higher, lower])))
    assert (row["verdict"], row["n_better"]) == (verdict, n_better)


def test_no_verdict_without_evidence():
    close = pd.concat([tidy([0.5, 0.6, 0.4, 0.5]), tidy([0.6, 0.5, 0.5, 0.4], model="baseline")])
    assert only(paired_differences(close))["verdict"] == "undecided"
    single = pd.concat([tidy([0.9]), tidy([0.1], model="baseline")])
    assert only(paired_differences(single))["verdict"] == ""


def test_only_trials_of_both_models_are_pairs():
    table = pd.concat([tidy([0.5, 0.6, np.nan, 0.7]), tidy([0.4, 0.5, 0.6], model="baseline")])
    row = only(paired_differences(table))
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(0.1)
    assert paired_differences(tidy([0.5, 0.6])).empty


def test_an_unknown_metric_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'sharpness' is unknown; choose one of mae, mse"):
        summarize(tidy([1.0], metric="sharpness"))
