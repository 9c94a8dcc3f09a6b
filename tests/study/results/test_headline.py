"""The headline names a better model only where there is one."""

import numpy as np
import pytest

from ptycho_lib.study.results.headline import headline
from ptycho_lib.study.results.statistics import mean_interval
from tests.study.results.test_matched_size import RISING, study
from tests.study.results.test_statistics import tidy


def noisy(curve, seed, n=3, noise=0.003):
    return np.array(curve) + np.random.default_rng(seed).normal(0, noise, (n, 5))


def test_it_speaks_for_the_better_model():
    better = np.array(RISING) + 0.15
    assert headline(study(noisy(better, 1), noisy(RISING, 2))).startswith("PtychoPINN needs ")
    sentence = headline(study(noisy(RISING, 1), noisy(better, 2)))
    assert sentence.startswith("The supervised baseline needs ")
    assert "to match PtychoPINN trained on 2\u202f048 (aligned phase SSIM 0.501; 3 trials)." in sentence


def test_a_model_that_is_better_throughout_needs_at_most_the_smallest_size():
    sentence = headline(study(noisy([0.9] * 5, 1), noisy(RISING, 2)))
    assert sentence.startswith("PtychoPINN needs at most 128 patterns")


@pytest.mark.parametrize(("n", "words"), [(1, "one trial"), (2, "2 trials")])
def test_fewer_than_three_trials_rank_no_model_and_give_no_number(n, words):
    sentence = headline(study(noisy(np.array(RISING) + 0.3, 1, n), noisy(RISING, 2, n)))
    assert sentence == (
        f"With {words} in which both are defined, PtychoPINN and the supervised baseline cannot be ranked: "
        "at least 3 trials of each size are needed for an interval."
    )


def test_equal_models_cannot_be_ranked():
    sentence = headline(study(noisy(RISING, 1), noisy(RISING, 4)))
    assert "cannot be told apart" in sentence
    assert "needs" not in sentence


def identical_models(rng: np.random.Generator, cases: int) -> np.ndarray:
    """Return SSIM of two models that differ by chance alone, cases × 2 models × 3 trials × 5 sizes."""
    luck = rng.normal(0, 0.02, (cases, 2, 3, 1))  # what a trial's weights do at every size
    return np.array(RISING) + luck + rng.normal(0, 0.02, (cases, 2, 3, 5))


def test_identical_models_are_ranked_in_five_percent_of_cases():
    pinn, baseline = np.moveaxis(identical_models(np.random.default_rng(1), 20_000), 1, 0)
    low, high = mean_interval((pinn - baseline).mean(axis=-1))
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(0.05, abs=0.005)  # three standard errors


def test_the_headline_names_a_model_exactly_where_that_interval_excludes_zero():
    models = identical_models(np.random.default_rng(2), 60)
    low, high = mean_interval((models[:, 0] - models[:, 1]).mean(axis=-1))
    named = ["cannot be told apart" not in headline(study(*pair)) for pair in models]
    assert named == ((low > 0) | (high < 0)).tolist()
    assert any(named)


def test_one_model_alone_cannot_be_compared():
    assert headline(tidy([0.5])) == (
        "The study holds no aligned phase SSIM of both PtychoPINN and the supervised baseline; they cannot be compared."
    )
