"""Negative controls: what must not be learnt is not found by the evaluation either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.config import parse_config
from ptycho_lib.evaluation.metrics import normalised_complex_error
from ptycho_lib.evaluation.reconstruction import reconstruct
from tests.conftest import simulate_small


def held_out_errors(train, test, folder, **network):
    """Train the baseline; return E0 of its test reconstruction and of a constant object."""
    from ptycho_lib.networks.prediction import predict_patches
    from ptycho_lib.networks.training import train_model

    config = parse_config({"network": network, "training": {"steps": 300, "validations": 5}}, "test")
    seen = predict_patches(train_model("baseline", train, config, 1, folder).network, test)
    how = {"min_illumination": 0.2, "synchronise": False, "correct_drift": False}
    result = reconstruct(seen.patches, seen.positions_px, test, **how)
    images = (result.obj, np.ones_like(test.obj))
    return tuple(normalised_complex_error(test.obj, image, mask=result.mask).value for image in images)


@pytest.mark.slow
def test_shuffled_labels_teach_the_baseline_nothing(tmp_path):
    """Patterns with the object patches of others: what remains to be learnt is the mean patch, a constant.

    Without a first guess the baseline is then no better than a constant; with one it removes what the guess
    knew (measured: E0 0.042 with the true labels, 0.148 with shuffled ones, 0.162 for a constant).
    """
    train, test = (simulate_small(200, seed=seed, photons=1e6) for seed in (11, 12))
    labels = train.object_patches()
    shuffled = replace(train, patches=labels[np.random.default_rng(0).permutation(len(labels))])
    learnt, constant = held_out_errors(replace(train, patches=labels), test, tmp_path / "true")
    unlearnt, _ = held_out_errors(shuffled, test, tmp_path / "shuffled")
    nothing, _ = held_out_errors(shuffled, test, tmp_path / "alone", first_guess_iterations=0)
    assert learnt < 0.4 * constant
    assert unlearnt > 0.8 * constant
    assert nothing > 0.98 * constant
