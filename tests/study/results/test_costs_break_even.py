"""Break-even against numbers worked out by hand."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from ptycho_lib.config import HYBRIDS
from ptycho_lib.study.results.costs import BreakEven, break_even, break_evens


@pytest.mark.parametrize(
    ("training", "network", "rival", "patterns"),
    [
        (10.0, 1.0, 2.0, 11),  # at 10 patterns both have taken 20 s
        (10.0, 0.0, 4.0, 3),  # 10 s against 12 s; after two patterns 10 s against 8 s
        (30.0, 0.001, 0.021, 1501),
        (0.5, 0.1, 1.0, 1),  # less than one pattern's gain: from the first pattern
        (0.0, 0.1, 0.2, 1),
        (10.0, 2.0, 2.0, None),
        (10.0, 3.0, 2.0, None),
        (0.0, 2.0, 2.0, None),  # as fast, nothing gained
    ],
)
def test_break_even(training, network, rival, patterns):
    assert break_even(training, network, rival) == patterns


@pytest.mark.parametrize("training", [0.0, 3.7, 250.0])
@pytest.mark.parametrize("gain", [1e-4, 0.03, 2.0])
def test_it_is_the_first_number_of_patterns_that_costs_less(training, gain):
    n = break_even(training, 0.01, 0.01 + gain)
    assert training + n * 0.01 < n * (0.01 + gain)
    assert n == 1 or training + (n - 1) * 0.01 >= (n - 1) * (0.01 + gain) * (1 - 1e-12)


@pytest.mark.parametrize("times", [(-1.0, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.inf)])
def test_times_must_be_times(times):
    with pytest.raises(ValueError, match="must be finite"):
        break_even(*times)


def row(model, n_train, trial, training_s, reconstruction_s, condition="nominal", n_patterns=100):
    return {
        "model": model,
        "n_train": n_train,
        "trial": trial,
        "condition": condition,
        "training_s": training_s,
        "reconstruction_s": reconstruction_s,
        "n_patterns": n_patterns,
    }


def test_every_trained_model_meets_every_model_without_training():
    rows = [row("iterative", n, t, 0.0, 10.0) for n in (32, 64) for t in (1, 2)]
    rows += [row("pinn", n, t, 20.0 * t, 1.0) for n in (32, 64) for t in (1, 2)]
    rows += [row("slow", 64, 1, 5.0, 10.0), row("pinn", 64, 1, 1e6, 1.0, condition="dark")]
    found = {(one.model, one.n_train): one for one in break_evens(pd.DataFrame(rows))}
    assert set(found) == {("pinn", 32), ("pinn", 64), ("slow", 64)}
    one = found["pinn", 64]  # saves 0.09 s a pattern; trainings of 20 and 40 s
    assert (one.rival, one.n_trials, one.training_s) == ("iterative", 2, 30.0)
    assert (one.low, one.patterns, one.high) == (223, 334, 445)
    assert found["slow", 64].patterns is None


def even(patterns, low=None, high=None, n_train=256):
    bounds = (patterns if bound is None else bound for bound in (low, high))
    return BreakEven("pinn", "iterative", n_train, 31.4, 1 / 2400, 1 / 48, patterns, *bounds, 3)


def test_the_sentence_says_no_more_than_was_measured():
    start = "PtychoPINN with 256 training patterns (31 s of training, then 2\u202f400 patterns/s) "
    rival = "the iterative reconstruction (48 patterns/s)"
    assert even(1538).sentence() == f"{start}has cost less time than {rival} after 1\u202f500 test patterns."
    assert replace(even(1538, 1400), high=None).sentence().endswith("(1\u202f400 to never in single trials).")
    assert even(1).sentence() == f"{start}costs less time than {rival} from the first pattern."
    never = f"{start}never costs less time than {rival}: a pattern takes it as long or longer."
    assert even(None).sentence() == never


def test_hybrids_have_names_in_sentences():
    for model in HYBRIDS:
        sentence = replace(even(1), model=model).sentence()
        assert model not in sentence
        assert " followed by iterations with 256 training patterns" in sentence


def test_without_a_rival_there_is_nothing_to_break_even_with():
    assert break_evens(pd.DataFrame([row("pinn", 32, 1, 20.0, 1.0)])) == []
