"""How many patterns: curves whose answer is known, shapes without an answer, targets and their sentences."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.errors import InputError
from ptycho_lib.study.results.answer import gap_sentences, patterns_needed, target_reached, training_gains
from ptycho_lib.study.results.learning_curve import (
    PowerLaw,
    Shape,
    fit_power_law,
    learning_curve,
    learning_curves,
    resamples,
)
from ptycho_lib.study.results.reach import Status
from ptycho_lib.study.results.statistics import generalization_gaps, summarize
from ptycho_lib.study.results.tables import LEARNING_CURVES, compute_tables
from ptycho_lib.study.results.target import TARGET, Target, parse_target
from tests.study.results.test_matched_size import study
from tests.study.results.test_statistics import tidy
from tests.support.report_examples import FinishedStudy

SIZES = np.array([32, 64, 128, 256, 512])
LAW = 0.95 - 0.3 * (SIZES / 32) ** -0.8
SATURATED = 0.95 - 0.3 * (SIZES / 32) ** -3.0


def trials(curve, n=3, noise=0.004, seed=0):
    values = np.asarray(curve) + np.random.default_rng(seed).normal(0, noise, (n, len(curve)))
    return pd.DataFrame(values, index=range(1, n + 1), columns=SIZES[: len(curve)])


def judged(curve, **how):
    return learning_curve(trials(curve, **how), "pinn", "phase", "ssim", target=0.9)


def test_trials_that_lack_sizes_are_not_said_to_be_too_few():
    said = patterns_needed([replace(judged(LAW, n=2), n_trials=3)])
    assert "cannot be said from the runs that are complete" in said


@pytest.mark.parametrize("exponent", [0.3, 0.8, 2.0])
def test_the_fit_finds_a_known_law(exponent):
    law = PowerLaw(32, 0.05, 0.4, exponent)
    found = fit_power_law(SIZES.astype(float), law.at(SIZES), least=0.0)
    assert (found.limit, found.scale, found.exponent) == pytest.approx((0.05, 0.4, exponent), rel=1e-3)
    assert law.size_of(float(law.at(np.array([200]))[0])) == pytest.approx(200)
    assert law.size_of(0.04) == math.inf


def test_the_limit_is_not_below_what_the_metric_can_have():
    law = PowerLaw(32, -0.2, 0.6, 0.3)
    assert fit_power_law(SIZES.astype(float), law.at(SIZES), least=0.0).limit >= -1e-9


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_resamples_are_taken_for_few_trials(n):
    counts, weights = resamples(n)
    assert (counts.sum(axis=1) == n).all()
    assert len(counts) == math.comb(2 * n - 1, n)
    assert weights.sum() == pytest.approx(1)
    assert weights[(counts == 1).all(axis=1)] == pytest.approx(math.factorial(n) / n**n)
    assert len(resamples(8)[0]) == 200


def test_a_saturated_curve_answers_with_the_size_that_reaches_the_plateau():
    curve = judged(SATURATED)
    assert curve.shape is Shape.FITTED
    assert curve.best_size in (128, 256)
    assert curve.plateau == pytest.approx(0.95, abs=0.01)
    assert curve.plateau_low < 0.95 < curve.plateau_high
    assert curve.value_low < curve.value < curve.value_high


def test_a_curve_that_still_rises_has_no_size_within_its_plateau():
    curve = judged(0.95 - 0.3 * (SIZES / 32) ** -0.5, noise=0.001)
    assert (curve.shape, curve.best_size) == (Shape.FITTED, 0)
    sentence = patterns_needed([curve])
    assert sentence.startswith("PtychoPINN needs more than 512 training patterns to reach its plateau (aligned phase")
    assert "with 512)." in sentence


def test_a_target_is_found_between_sizes_with_an_interval():
    curve = judged(LAW)
    true = 32 * (0.3 / 0.05) ** (1 / 0.8)
    assert curve.target_status is Status.WITHIN
    assert curve.target_low < true < curve.target_high
    assert not curve.target_extrapolated


def test_a_target_is_extrapolated_to_twice_the_largest_size_and_no_further():
    near = learning_curve(trials(LAW[:4], noise=0.001), "pinn", "phase", "ssim", target=0.9)
    assert near.target_extrapolated
    assert 256 < near.target_size <= 512
    assert "extrapolated" in target_reached([near])
    far = learning_curve(trials(LAW[:4], noise=0.001), "pinn", "phase", "ssim", target=0.93)
    assert far.target_status is Status.NOT_REACHED
    assert math.isnan(far.target_size)
    assert "needs more than 512 patterns, twice the largest size studied" in target_reached([far])


def test_errors_fall_where_qualities_rise():
    falling = pd.DataFrame(1 - trials(LAW).to_numpy(), columns=SIZES)
    curve = learning_curve(falling, "pinn", "phase", "mae", target=0.1)
    rising = judged(LAW)
    assert curve.target_size == pytest.approx(rising.target_size, rel=1e-3)
    assert 1 - curve.plateau == pytest.approx(rising.plateau, abs=1e-4)


@pytest.mark.parametrize(
    ("curve", "how", "shape", "words"),
    [
        ([0.9] * 5, {}, Shape.FLAT, "gains nothing measurable from more than 32 training patterns"),
        ([0.5, 0.9, 0.6, 0.9, 0.95], {}, Shape.NOT_MONOTONIC, "does not improve steadily"),
        ([0.9, 0.8, 0.7, 0.6, 0.5], {}, Shape.NOT_MONOTONIC, "does not improve steadily"),
        ([0.8], {}, Shape.ONE_SIZE, "was trained on 32 patterns only"),
        ([0.5, 0.8], {}, Shape.TWO_SIZES, "two sizes define no plateau"),
        (LAW, {"n": 2}, Shape.FEW_TRIALS, "cannot be said from 2 trials of each size: at least 3 trials are needed"),
        (LAW * np.nan, {}, Shape.UNDEFINED, "has a size without a defined value"),
    ],
)
def test_shapes_without_a_fit_are_said_to_be_so(curve, how, shape, words):
    found = judged(curve, **how)
    assert found.shape is shape
    assert words in patterns_needed([found])
    assert math.isnan(found.plateau)
    assert target_reached([found]).endswith(".")


@pytest.mark.parametrize("size", [64, 512])
def test_one_missing_run_leaves_a_rising_curve_rising(size):
    values = trials(LAW)
    values.loc[3, size] = np.nan
    curve = learning_curve(values, "pinn", "phase", "ssim")
    assert (curve.shape, curve.n_trials) == (Shape.FITTED, 3)


def test_a_trial_of_one_size_shows_no_slope():
    values = trials(LAW)
    values.loc[3, 64:] = np.nan
    assert learning_curve(values, "pinn", "phase", "ssim").shape is Shape.FEW_TRIALS


def test_a_model_whose_trainings_all_collapsed_has_no_curve():
    table = study(trials([0.0] * 5).to_numpy(), trials(LAW).to_numpy(), sizes=SIZES)
    outcomes = pd.DataFrame({"model": ["pinn", "pinn"], "state": "complete", "collapsed": True})
    pinn, baseline = learning_curves(table, outcomes)
    assert (pinn.shape, baseline.shape) == (Shape.COLLAPSED, Shape.FITTED)
    assert "PtychoPINN collapsed in every training" in patterns_needed([pinn, baseline])


def test_the_first_sentence_answers_for_both_models_with_values_and_intervals():
    table = study(trials(SATURATED).to_numpy(), trials(LAW - 0.1, seed=1).to_numpy(), sizes=SIZES)
    sentence = patterns_needed(learning_curves(table))
    assert sentence.startswith("PtychoPINN needs ")
    assert "; the supervised baseline " in sentence
    assert sentence.count("95 % CI") == 2


def control(value):
    return tidy([value], model="untrained", n_train=0)


def test_what_training_adds_is_said_and_what_it_spoils():
    table = pd.concat([tidy([0.90, 0.91, 0.92]), tidy([0.70, 0.71, 0.72], model="baseline"), control(0.8)])
    better, worse = training_gains(summarize(table))
    assert better.startswith("PtychoPINN trained on 128 patterns adds 0.11 to the untrained first guess")
    assert worse.startswith("The supervised baseline trained on 128 patterns is worse than the untrained first guess")
    assert "by 0.090 (95 % CI 0.065 to 0.11)" in worse
    same = training_gains(summarize(pd.concat([tidy([0.79, 0.80, 0.82]), control(0.8)])))
    assert "cannot be told apart" in same[0]
    single = training_gains(summarize(pd.concat([tidy([0.9]), control(0.8)])))
    assert single[0].endswith("by 0.10: one trial, no interval.")
    assert training_gains(summarize(tidy([0.9, 0.9, 0.8]))) == []


def test_the_generalization_gap_is_said():
    table = pd.concat([tidy([0.95, 0.96, 0.97], condition="train"), tidy([0.90, 0.92, 0.91])])
    (sentence,) = gap_sentences(generalization_gaps(table, train="train", test="nominal"))
    assert (
        "0.960 on its own training scan and 0.910 on the test scan: a generalization gap of 0.050 (95 % CI" in sentence
    )


@pytest.mark.parametrize("text", ["phase ssim", "phase ssim much", "phase sharpness 1", "hue ssim 1", "phase ssim inf"])
def test_a_target_that_names_nothing_is_refused(text):
    with pytest.raises(InputError):
        parse_target(text)


def test_all_faults_of_a_target_are_named_at_once():
    with pytest.raises(InputError) as error:
        parse_target("colour sharpness 0.9")
    assert len(error.value.problems) == 2
    assert parse_target("Phase SSIM 0.9") == Target("phase", "ssim", 0.9)


def test_the_command_keeps_the_target_and_refuses_a_wrong_one_before_it_writes(tmp_path):
    out_dir = FinishedStudy(tmp_path, sizes=(4, 8), trials=3).finish()
    runner = CliRunner()
    wrong = runner.invoke(main, ["aggregate", str(out_dir), "--no-figures", "--target", "phase sharpness 0.9"])
    assert wrong.exit_code == 2
    assert "frc50" in wrong.stderr
    assert not (out_dir / LEARNING_CURVES).exists()
    right = runner.invoke(main, ["aggregate", str(out_dir), "--no-figures", "--target", "phase mae 0.2"])
    assert right.exit_code == 0, right.output
    assert "To reach an aligned phase MAE of 0.2" in right.stdout
    assert (out_dir / TARGET).read_text() == "phase mae 0.2\n"
    assert any(curve.target == 0.2 for curve in compute_tables(out_dir).curves)
    assert runner.invoke(main, ["verify", str(out_dir)]).exit_code == 0
