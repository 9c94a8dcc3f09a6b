"""Matched training sizes: by hand, by a known answer with known coverage, and in sentences."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.study.results.matched_size import matched_size, matched_sizes
from ptycho_lib.study.results.reach import Status, first_reach
from tests.study.results.test_statistics import tidy

SIZES = (128, 256, 512, 1024, 2048)
SPACE = "\u202f"
RISING = [0.1, 0.2, 0.3, 0.4, 0.5]


def study(pinn, baseline, *, metric="ssim", sizes=SIZES):
    """Return a table from curves: sizes → value, or trials × sizes."""
    parts = []
    for model, curves in (("pinn", pinn), ("baseline", baseline)):
        by_size = np.atleast_2d(np.asarray(curves, float)).T
        parts += [
            tidy(values, metric=metric, model=model, n_train=size) for size, values in zip(sizes, by_size, strict=True)
        ]
    return pd.concat(parts, ignore_index=True)


def test_the_size_is_interpolated_in_log_size():
    table = study(RISING, [0.25, 0.35, 0.45, 0.5, 0.6])
    match = matched_size(table, 128)
    assert match.size == pytest.approx(2**8.5)  # half-way between 256 and 512
    assert match.value == pytest.approx(0.25)
    assert match.status is Status.WITHIN
    assert matched_size(table, 256).size == pytest.approx(2**9.5)


def test_a_metric_whose_low_end_is_good_is_matched_downwards():
    errors = 1 - np.array(RISING)
    table = study(errors, errors - 0.15, metric="mae")
    assert matched_size(table, 256, metric="mae").size == pytest.approx(2**9.5)


def test_nothing_is_extrapolated():
    table = study(RISING, [0.9, 0.9, 0.9, 0.9, 0.05])
    never, at_once = matched_size(table, 128), matched_size(table, 2048)
    assert never.status is Status.NOT_REACHED
    assert np.isnan(never.size)
    assert at_once.status is Status.AT_SMALLEST
    assert at_once.size == 128


def test_the_first_of_several_places_counts():
    table = study([0.1, 0.3, 0.2, 0.3, 0.4], [0.25] * 5)
    assert matched_size(table, 128).size == pytest.approx(2**7.75)


def test_an_undefined_size_counts_as_not_reached():
    table = study([0.1, 0.2, np.nan, np.nan, 0.5], [0.25] * 5)
    assert matched_size(table, 128).size == pytest.approx(2048)
    nothing = matched_size(study(RISING, [np.nan] * 5), 128)
    assert nothing.status is Status.UNDEFINED
    assert nothing.sentence() == (
        "PtychoPINN cannot be compared with the supervised baseline trained on 128: "
        "the aligned phase SSIM is undefined."
    )


def trials(noise, shared, seed=0, n=8):
    rng = np.random.default_rng(seed)
    luck = rng.normal(0, shared, (n, 1))
    curves = [np.array(RISING) + offset + luck + rng.normal(0, noise, (n, 5)) for offset in (0, 0.15)]
    return study(*curves)


def test_the_interval_holds_the_size_and_pairing_keeps_shared_luck_out():
    match = matched_size(trials(0.01, 0.0), 256)
    assert match.low < 2**9.5 < match.high
    lucky = matched_size(trials(0.01, 0.3), 256)
    assert lucky.low < 2**9.5 < lucky.high
    assert lucky.high / lucky.low < 1.5 * match.high / match.low
    assert lucky.n_trials == 8


@pytest.mark.parametrize("n", [3, 4, 10])
def test_the_interval_covers_the_true_size_as_often_as_it_claims(n):
    rng, covered = np.random.default_rng(5), 0
    for _ in range(400):
        excess = np.array(RISING) - 0.35 + rng.normal(0, 0.03, (n, 5)) + rng.normal(0, 0.05, (n, 1))
        reach = first_reach(pd.DataFrame(excess, columns=SIZES))
        covered += (reach.low_open or reach.low <= 2**9.5) and (reach.high_open or reach.high >= 2**9.5)
    assert 0.92 < covered / 400 < 0.985


def test_an_interval_that_leaves_the_sizes_says_so():
    rng = np.random.default_rng(0)
    pinn, baseline = (np.array(RISING) + rng.normal(0, 0.04, (6, 5)) for _ in range(2))
    match = matched_size(study(pinn, baseline), 2048)
    assert match.low < 2048
    assert match.high_open
    assert f" to more than 2{SPACE}048) to match" in match.sentence() or match.status is Status.NOT_REACHED


def test_the_sentence_of_the_study():
    rng = np.random.default_rng(0)
    table = study(np.array(RISING) + rng.normal(0, 0.004, (3, 5)), np.full((3, 5), 0.31))
    match = matched_size(table, 256)
    assert match.sentence() == (
        "PtychoPINN needs 550 patterns (95 % CI 490–610) to match the supervised baseline trained on 256 "
        "(aligned phase SSIM 0.31; 3 trials)."
    )


@pytest.mark.parametrize(("count", "words"), [(1, "one trial"), (2, "2 trials")])
def test_few_trials_claim_no_interval(count, words):
    match = matched_size(study([RISING] * count, np.array([RISING] * count) + 0.15), 256)
    assert np.isnan([match.low, match.high]).all()
    assert "CI" not in match.sentence()
    assert match.sentence().endswith(f"; {words}, no interval).")


def test_sizes_beyond_the_study_are_said_in_words():
    assert matched_size(study(RISING, [0.9] * 5), 128).sentence() == (
        f"PtychoPINN does not match the supervised baseline trained on 128 with up to 2{SPACE}048 patterns "
        "(aligned phase SSIM 0.9; one trial, no interval)."
    )
    assert matched_size(study(RISING, [0.05] * 5), 512).sentence() == (
        "PtychoPINN needs at most 128 patterns to match the supervised baseline trained on 512 "
        "(aligned phase SSIM 0.05; one trial, no interval)."
    )


def test_the_table_holds_every_size_in_both_directions():
    table = matched_sizes(study(RISING, np.array(RISING) + 0.15))
    assert table["n_train"].tolist() == [*SIZES, *SIZES]
    assert table["model"].tolist() == ["pinn"] * 5 + ["baseline"] * 5
    assert table["sentence"].str.endswith(".").all()
    assert table["size"].tolist()[:3] == pytest.approx([2**8.5, 2**9.5, 2**10.5])
    assert not np.isinf(table.select_dtypes("number")).any(axis=None)
    assert matched_sizes(tidy([0.5])).empty


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0, 1))
def test_the_size_lies_where_the_curve_first_reaches_the_value(curve, value):
    match = matched_size(study(curve, [value] * 5), 128)
    reached = [size for size, found in zip(SIZES, curve, strict=True) if found >= value - 1e-12]
    if not reached:
        assert match.status is Status.NOT_REACHED
    elif reached[0] == SIZES[0]:
        assert match.status is Status.AT_SMALLEST
    else:
        assert reached[0] / 2 - 1e-6 <= match.size <= reached[0] + 1e-6


def test_missing_models_and_sizes_are_named():
    with pytest.raises(ValueError, match="'baseline' has no phase ssim at n_train 64; it has 128, 256"):
        matched_size(study(RISING, RISING), 64)
    with pytest.raises(ValueError, match="model 'other' is not in the table; it holds baseline, pinn"):
        matched_size(study(RISING, RISING), 128, reference="other")
