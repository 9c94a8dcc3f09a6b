"""The crossing point: by hand, its interval by a known answer, and a sentence that never says too much."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.study.results.headline import AT_ONCE, NEVER
from ptycho_lib.study.results.matched_size import headline, matched_size, matched_sizes
from tests.study.results.test_statistics import tidy

SIZES = (128, 256, 512, 1024, 2048)
SPACE = "\u202f"


def study(pinn, baseline, *, metric="ssim", sizes=SIZES):
    """Return a table from curves: sizes → value, or trials × sizes."""
    parts = []
    for model, curves in (("pinn", pinn), ("baseline", baseline)):
        by_size = np.atleast_2d(np.asarray(curves, float)).T
        parts += [
            tidy(values, metric=metric, model=model, n_train=size) for size, values in zip(sizes, by_size, strict=True)
        ]
    return pd.concat(parts, ignore_index=True)


RISING = [0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_crossing_is_interpolated_in_log_size():
    table = study([0.25, 0.35, 0.45, 0.5, 0.6], RISING)
    crossing = matched_size(table, 128)
    assert crossing.needed == pytest.approx(2**8.5)  # half-way between 256 and 512
    assert crossing.value == pytest.approx(0.25)
    assert matched_size(table, 256).needed == pytest.approx(2**9.5)


def test_a_metric_whose_low_end_is_good_crosses_downwards():
    errors = 1 - np.array(RISING)
    table = study(errors - 0.15, errors, metric="mae")
    assert matched_size(table, 256, metric="mae").needed == pytest.approx(2**9.5)


def test_beyond_the_sizes_nothing_is_extrapolated():
    table = study([0.9, 0.9, 0.9, 0.9, 0.05], RISING)
    assert matched_size(table, 128).needed == NEVER
    assert matched_size(table, 2048).needed == AT_ONCE


def test_the_first_of_several_crossings_counts():
    table = study([0.25] * 5, [0.1, 0.3, 0.2, 0.3, 0.4])
    assert matched_size(table, 128).needed == pytest.approx(2**7.75)


def test_an_undefined_size_counts_as_not_reached():
    table = study([0.25] * 5, [0.1, 0.2, np.nan, np.nan, 0.5])
    assert matched_size(table, 128).needed == pytest.approx(2048)
    nothing = matched_size(study([np.nan] * 5, RISING), 128)
    assert np.isnan(nothing.needed)
    assert nothing.sentence() == (
        "PtychoPINN with 128 patterns cannot be compared with the supervised baseline: "
        "the aligned phase SSIM is undefined."
    )


def trials(noise, shared, seed=0, n=8):
    rng = np.random.default_rng(seed)
    luck = rng.normal(0, shared, (n, 1))
    curves = [np.array(RISING) + offset + luck + rng.normal(0, noise, (n, 5)) for offset in (0.15, 0)]
    return study(*curves)


def test_the_interval_holds_the_crossing_and_pairing_keeps_shared_luck_out():
    crossing = matched_size(trials(0.01, 0.0), 256)
    assert crossing.low < 2**9.5 < crossing.high
    lucky = matched_size(trials(0.01, 0.3), 256)
    assert lucky.low < 2**9.5 < lucky.high
    assert lucky.high / lucky.low < 1.5 * crossing.high / crossing.low
    assert lucky.n_trials == 8


def test_an_interval_that_leaves_the_sizes_says_so():
    rng = np.random.default_rng(0)
    pinn, baseline = (np.array(RISING) + rng.normal(0, 0.04, (6, 5)) for _ in range(2))
    crossing = matched_size(study(pinn, baseline), 2048)
    assert crossing.low < 2048
    assert crossing.high == NEVER
    assert crossing.interval_text().endswith(f" to more than 2{SPACE}048")


def test_the_sentence_of_the_study():
    table = study(np.array([[0.30], [0.31], [0.32]]) + np.zeros(5), np.array(RISING) + np.zeros((3, 1)))
    crossing = matched_size(table, 256)
    low, high = crossing.interval_text().split("–")
    assert crossing.sentence() == (
        "PtychoPINN with 256 patterns reaches what the supervised baseline needs 550 for "
        f"(aligned phase SSIM 0.31; 95 % interval {low}–{high}; 3 trials)."
    )
    assert (low, high) == ("512", "590")  # a size of the study as it is, an interpolated one to two digits


@pytest.mark.parametrize(("count", "words"), [(1, "one trial"), (2, "2 trials")])
def test_few_trials_claim_no_interval(count, words):
    table = study(np.array([RISING] * count) + 0.15, [RISING] * count)
    crossing = matched_size(table, 256)
    assert np.isnan([crossing.low, crossing.high]).all()
    assert crossing.sentence().endswith(f"; {words}, no interval).")


def test_never_and_at_once_are_said_in_words():
    table = study([0.9] * 5, RISING)
    assert matched_size(table, 128).sentence() == (
        f"The supervised baseline with up to 2{SPACE}048 patterns does not reach what PtychoPINN reaches "
        "with 128 (aligned phase SSIM 0.9; one trial, no interval)."
    )
    table = study([0.05] * 5, RISING)
    assert matched_size(table, 512).sentence() == (
        "PtychoPINN with 512 patterns reaches what the supervised baseline reaches with 128 or fewer "
        "(aligned phase SSIM 0.05; one trial, no interval)."
    )


def test_the_headline_speaks_for_the_better_model():
    better = np.array(RISING) + 0.15
    assert headline(study(better, RISING)).startswith("PtychoPINN with 512 patterns reaches what the supervised")
    assert headline(study(RISING, better)).startswith(
        "The supervised baseline with 512 patterns reaches what PtychoPINN needs"
    )
    assert "does not reach" in headline(study([0.9] * 5, RISING))


def test_the_headline_names_the_smallest_size_that_the_other_does_not_reach():
    """With 128 PtychoPINN is behind, and from 256 on nothing reaches it: that is what is worth telling."""
    told = headline(study([0.10, 0.55, 0.60, 0.70, 0.80], [0.12, 0.50, 0.51, 0.52, 0.53]))
    assert "does not reach what PtychoPINN reaches with 256 " in told


def test_the_headline_of_one_model_says_that_there_is_nothing_to_compare():
    assert headline(tidy([0.5])) == (
        "The study holds no phase SSIM of both PtychoPINN and the supervised baseline: nothing to compare."
    )
    assert matched_sizes(tidy([0.5])).empty


def test_the_table_holds_every_size_with_its_sentence():
    table = matched_sizes(study(np.array(RISING) + 0.15, RISING))
    assert table["n_train"].tolist() == list(SIZES)
    assert table["sentence"].str.endswith(".").all()
    assert table["needed"].tolist()[:3] == pytest.approx([2**8.5, 2**9.5, 2**10.5])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0, 1))
def test_the_crossing_lies_where_the_curve_first_reaches_the_value(curve, value):
    crossing = matched_size(study([value] * 5, curve), 128)
    reached = [size for size, found in zip(SIZES, curve, strict=True) if found >= value]
    if not reached:
        assert crossing.needed == NEVER
    elif reached[0] == SIZES[0]:
        assert crossing.needed == AT_ONCE
    else:
        assert reached[0] / 2 - 1e-6 <= crossing.needed <= reached[0] + 1e-6


def test_missing_models_and_sizes_are_named():
    with pytest.raises(ValueError, match=r"no value of model 'pinn' for n_train 64.*models with one: none"):
        matched_size(study(RISING, RISING), 64)
    with pytest.raises(ValueError, match=r"'other'.*models with one: baseline, pinn"):
        matched_size(study(RISING, RISING), 128, reference="other")
