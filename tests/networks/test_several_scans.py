"""Training over several scans: each pattern under the probe, scale and labels of its own scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ptycho_lib.config import NetworkConfig, StudyConfig
from ptycho_lib.networks import guesses
from ptycho_lib.networks.batches import MixedSamples, photons_per_pixel, probe_in_use
from ptycho_lib.networks.guesses import with_first_guesses
from ptycho_lib.networks.models import build_pinn
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.streams import plan_batches, training_stream, validation_stream
from ptycho_lib.networks.training import train_model
from ptycho_lib.physics.probes import disc
from tests.conftest import simulate_small

MERGED = 3
SETTINGS = {
    "network": {"width": 4, "first_guess_iterations": 3},
    "training": {"steps": 6, "validations": 2, "batch_size": 6, "merged_patches": MERGED, "learning_rate": 5e-3},
}


def study(**network):
    return StudyConfig.model_validate({**SETTINGS, "network": SETTINGS["network"] | network})


@pytest.fixture(scope="module")
def scans():
    """Two scans that differ in probe, number of modes, object, dose and unit of the amplitudes."""
    first, second = simulate_small(24, seed=3), simulate_small(30, seed=5, photons=1e4)
    spot = disc(32, 14.0)
    modes = np.stack([spot, 0.5 * spot * np.linspace(-1, 1, 32)])
    return first, replace(second, probe=modes.astype(np.complex64), diffraction=7 * second.diffraction)


@pytest.fixture(scope="module")
def plan(scans):
    found = plan_batches(scans, study(), 0, labelled=False)
    layer = build_pinn(study().network, probe_in_use(scans[0], study().network)).first_guess
    return replace(found, samples=with_first_guesses(layer, found.samples)[0])


def origin(plan, chosen):
    """Return the scan of each chosen sample and its number within."""
    return plan.samples.source[chosen].T


def test_samples_are_those_of_each_scan_by_itself(scans, plan):
    alone = [plan_batches([scan], study(), 0, labelled=False) for scan in scans]
    assert plan.count == sum(one.count for one in alone)
    assert len(plan.samples) == sum(len(one.samples) for one in alone)
    chosen = np.random.default_rng(0).permutation(len(plan.samples))[:17]
    inputs = plan.samples.inputs(chosen)
    for place, (scan, number) in enumerate(zip(*origin(plan, chosen), strict=True)):
        expected = alone[scan].samples.inputs(np.array([number]))
        for name in ("diffraction", "positions_px", "weight"):
            np.testing.assert_array_equal(inputs[name][place], expected[name][0])
        modes = probe_in_use(scans[scan], study().network)
        np.testing.assert_array_equal(inputs["probe"][place, : len(modes)], modes)
        assert not inputs["probe"][place, len(modes) :].any()


def test_guesses_are_made_under_the_probe_and_at_the_dose_of_the_scan(scans, plan):
    for scan, iterations in enumerate((3, 2)):
        network = build_pinn(study().network, probe_in_use(scans[scan], study().network))
        chosen = np.flatnonzero(plan.samples.source[:, 0] == scan)[:4]
        inputs = plan.samples.inputs(chosen)
        network.first_guess.photons_px = photons_per_pixel(scans[scan])
        assert (
            sum(network.first_guess.schedule(together=False, photons_px=network.first_guess.photons_px)) == iterations
        )
        expected = network.first_guess(tf.constant(inputs["diffraction"]), tf.constant(inputs["positions_px"]))
        np.testing.assert_allclose(inputs["guess"], expected, atol=2e-4)


def test_guesses_of_several_scans_are_kept_whatever_their_size(plan, monkeypatch):
    monkeypatch.setattr(guesses, "IN_MEMORY_BYTES", 0)
    layer = build_pinn(study().network, plan.samples.probes[1]).first_guess
    assert all(part.guess is not None for part in with_first_guesses(layer, plan.samples)[0].parts)


def test_patches_that_are_merged_are_of_one_scan(plan):
    steps = iter(training_stream(plan, 0))
    seen = set()
    for _ in range(5):
        (inputs,) = next(steps)
        groups = inputs["probe"].numpy().reshape(-1, MERGED, *inputs["probe"].shape[1:])
        np.testing.assert_array_equal(groups, np.repeat(groups[:, :1], MERGED, axis=1))
        seen |= {bool(group[0, 1].any()) for group in groups}
    assert seen == {True, False}  # batches hold both scans
    held = sum(int(inputs["weight"].numpy().sum()) for (inputs,) in validation_stream(plan))
    assert held == len(plan.samples) - plan.count


def test_loss_of_a_scan_is_that_of_a_network_with_its_probe(scans, plan):
    options = {"merged_patches": MERGED, "reach_px": plan.reach_px}
    trained_under_first = build_pinn(study().network, probe_in_use(scans[0], study().network), **options)
    for scan in range(2):
        chosen = np.flatnonzero(plan.samples.source[: plan.count, 0] == scan)[: 2 * MERGED]
        inputs = {name: tf.constant(value) for name, value in plan.samples.inputs(chosen).items()}
        own = build_pinn(study().network, probe_in_use(scans[scan], study().network), **options)
        own.backbone.set_weights(trained_under_first.backbone.get_weights())
        rest = {name: value for name, value in inputs.items() if name != "probe"}
        expected = own.compute_loss(rest, y_pred=own(rest))
        found = trained_under_first.compute_loss(inputs, y_pred=trained_under_first(inputs))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        if scan == 1:  # under the other probe it is another number
            assert abs(trained_under_first.compute_loss(rest, y_pred=own(rest)) / expected - 1) > 0.1


def test_labels_have_the_unit_of_their_scan(scans):
    bright = replace(scans[1], obj=3 * scans[1].obj)
    same, other = (plan_batches((scans[0], scan), study(), 0, labelled=True) for scan in (scans[1], bright))
    chosen = np.arange(len(same.samples))
    np.testing.assert_allclose(other.samples.labels(chosen), same.samples.labels(chosen), rtol=1e-5)


def test_a_sequence_of_one_scan_is_that_scan(scans, tmp_path):
    one, listed = (train_model("pinn", data, study(), 1, tmp_path / str(len(data))) for data in (scans[1], [scans[1]]))
    for mine, theirs in zip(one.network.get_weights(), listed.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one.outcome.n_groups == listed.outcome.n_groups == 30


@pytest.mark.parametrize(("model", "gridsize"), [("pinn", 1), ("baseline", 2)])
def test_networks_learn_from_two_scans_and_predict_under_either_probe(model, gridsize, scans, tmp_path):
    trained = train_model(model, scans, study(gridsize=gridsize), 1, tmp_path)
    assert trained.outcome.n_groups == 54
    assert np.isfinite(trained.history["loss"]).all()
    assert not trained.collapsed
    np.testing.assert_allclose(trained.network.first_guess.probe, probe_in_use(scans[0], NetworkConfig()), rtol=1e-6)
    for scan in scans:
        assert np.isfinite(predict_patches(trained.network, scan).patches).all()


def test_scans_that_cannot_be_trained_on_together_are_refused(scans, tmp_path):
    with pytest.raises(ValueError, match=r"one size, not \[32, 64\]"):
        train_model("pinn", (scans[0], simulate_small(10, seed=1, size=64)), study(), 1, tmp_path)
    with pytest.raises(ValueError, match="trainable_probe"):
        train_model("pinn", scans, study(trainable_probe=True), 1, tmp_path)


def test_a_mixed_set_tells_the_unit_of_its_objects(plan):
    assert isinstance(plan.samples, MixedSamples)
    parts = [replace(part, object_scale=scale) for part, scale in zip(plan.samples.parts, (0.5, 0.9), strict=True)]
    assert replace(plan.samples, parts=tuple(parts)).object_scale == pytest.approx(0.7)
