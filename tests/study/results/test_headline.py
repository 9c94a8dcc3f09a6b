"""The headline names a better model only where there is one."""

import numpy as np
import pytest

from ptycho_lib.study.results.headline import headline
from tests.study.results.test_matched_size import RISING, study
from tests.study.results.test_statistics import tidy


def noisy(curve, seed, n=3, noise=0.003):
    return np.array(curve) + np.random.default_rng(seed).normal(0, noise, (n, 5))


def test_it_speaks_for_the_better_model():
    better = np.array(RISING) + 0.15
    assert headline(study(noisy(better, 1), noisy(RISING, 2))).startswith("PtychoPINN needs ")
    told = headline(study(noisy(RISING, 1), noisy(better, 2)))
    assert told.startswith("The supervised baseline needs ")
    assert "to match PtychoPINN trained on 2\u202f048 (aligned phase SSIM 0.501; 3 trials)." in told


def test_a_model_that_is_better_throughout_needs_at_most_the_smallest_size():
    told = headline(study(noisy([0.9] * 5, 1), noisy(RISING, 2)))
    assert told.startswith("PtychoPINN needs at most 128 patterns")


@pytest.mark.parametrize(("n", "words"), [(1, "one trial"), (2, "2 trials")])
def test_fewer_than_three_trials_rank_no_model_and_give_no_number(n, words):
    told = headline(study(noisy(np.array(RISING) + 0.3, 1, n), noisy(RISING, 2, n)))
    assert told == (
        f"With {words} in which both are defined, PtychoPINN and the supervised baseline cannot be ranked: "
        "at least 3 trials of each size are needed for an interval."
    )


def test_equal_models_cannot_be_told_apart():
    told = headline(study(noisy(RISING, 1), noisy(RISING, 4)))
    assert "cannot be told apart" in told
    assert "needs" not in told


def test_identical_models_get_a_winner_in_five_percent_of_cases_at_most():
    n, rng, named, cases = 3, np.random.default_rng(7), 0, 250
    for _ in range(cases):
        luck = rng.normal(0, 0.02, (2, n, 1))  # what a trial's weights do at every size
        pinn, baseline = np.array(RISING) + luck + rng.normal(0, 0.02, (2, n, 5))
        named += "cannot be told apart" not in headline(study(pinn, baseline))
    assert 0 < named / cases < 0.075  # two standard errors above 5 %; more cases: benchmarks/coverage.py


def test_one_model_alone_cannot_be_compared():
    assert headline(tidy([0.5])) == (
        "The study holds no aligned phase SSIM of both PtychoPINN and the supervised baseline; they cannot be compared."
    )
