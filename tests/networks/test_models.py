"""The two networks: shapes, sizes, files, what is trained, and what the losses mean."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ptycho_lib.config import NetworkConfig, TrainingConfig
from ptycho_lib.networks.batches import central_half, normalised_probe
from ptycho_lib.networks.losses import FLOOR, amplitude_error, loss_weights, poisson_deviance
from ptycho_lib.networks.models import build_baseline, build_pinn, load_model
from ptycho_lib.physics import diffraction
from tests.support.waves import channels, complex_noise, curved_probe, relative_error, smooth_object

BUILDERS = {"pinn": build_pinn, "baseline": build_baseline}
ROOT = Path(__file__).parents[2]


def build(model, size=32, precision="float32", **settings):
    settings = {"width": 4, "first_guess_iterations": 4} | settings
    options = {name: settings.pop(name) for name in ("loss", "merged_patches", "reach_px") if name in settings}
    probe = normalised_probe(curved_probe(size))
    return BUILDERS[model](NetworkConfig(**settings), probe, precision=precision, **options)


def measured(size=32, samples=2, patterns=1):
    """Return amplitudes of a smooth object on the input scale, and its patches."""
    patches = np.stack([np.roll(smooth_object(size), k, axis=0) for k in range(samples * patterns)])
    amplitude = diffraction.amplitude(patches, normalised_probe(curved_probe(size)))
    shape = (samples, patterns, size, size)
    return amplitude.reshape(shape), patches.reshape(shape)


def batch(size=32, samples=2, patterns=1):
    """Return what a network is trained with: inputs, and labels for the supervised model."""
    amplitude, patches = measured(size, samples, patterns)
    inputs = {
        "diffraction": amplitude,
        "positions_px": np.zeros((samples, patterns, 2), np.float32),
        "weight": np.ones((samples, patterns), np.float32),
    }
    return inputs, channels(central_half(patches))


def parameters(network):
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def disturb(network, seed=0):
    """Give every zero-started convolution a value, as training does."""
    rng = np.random.default_rng(seed)
    for weight in network.backbone.weights:
        if not np.any(weight.numpy()):
            weight.assign(rng.normal(0, 0.05, weight.shape))


@pytest.mark.parametrize("backbone", ["compact", "published"])
@pytest.mark.parametrize(("size", "gridsize"), [(32, 1), *itertools.product((64, 128, 256), (1, 2, 3))])
def test_every_pattern_size_and_group_size_gives_patches_of_its_shape(backbone, size, gridsize):
    width = 1 if backbone == "published" else 4
    network = build("pinn", size, backbone=backbone, gridsize=gridsize, width=width, reach_px=3)
    amplitude, _ = measured(size, 2, gridsize**2)
    patches = network({"diffraction": amplitude})
    assert patches.shape == (2, gridsize**2, size, size, 2)
    assert patches.dtype == tf.float32
    assert np.isfinite(patches.numpy()).all()
    predicted = network.predict_amplitude(patches, tf.zeros((2, gridsize**2, 2)))
    assert predicted.shape == amplitude.shape


@pytest.mark.parametrize("model", BUILDERS)
def test_the_published_network_has_its_published_size(model):
    network = build(model, 64, backbone="published", width=2)
    assert parameters(network) == pytest.approx(2.3e6, rel=0.02)


def test_both_models_share_one_backbone():
    pinn, baseline = build("pinn"), build("baseline")
    assert pinn.backbone.count_params() == baseline.backbone.count_params()
    assert [weight.shape for weight in pinn.backbone.weights] == [weight.shape for weight in baseline.backbone.weights]
    assert parameters(pinn) == parameters(baseline) + 1  # the intensity scale


@pytest.mark.parametrize("shape", [(48, 48), (16, 16), (64, 32), (2, 64, 32), (1, 2, 64, 64)], ids=str)
@pytest.mark.parametrize("model", BUILDERS)
def test_an_unfit_probe_is_refused(model, shape):
    with pytest.raises(ValueError, match=r"power of two from 32, not .*" + str(shape[-1])):
        BUILDERS[model](NetworkConfig(), np.ones(shape, complex))


@pytest.mark.parametrize("model", BUILDERS)
def test_an_untrained_network_returns_its_first_guess_in_the_centre_and_empty_space_around(model):
    network = build(model)
    amplitude, _ = measured()
    patches = network({"diffraction": amplitude}).numpy()
    guess = network.first_guess(tf.constant(amplitude)).numpy()
    np.testing.assert_allclose(patches[:, :, 8:24, 8:24], guess[:, :, 8:24, 8:24], atol=1e-6)
    patches[:, :, 8:24, 8:24] = [1, 0]
    np.testing.assert_allclose(patches, np.broadcast_to([1, 0], patches.shape), atol=1e-6)


def test_a_guess_computed_before_changes_nothing():
    network = build("pinn", gridsize=2)
    disturb(network)
    amplitude, _ = measured(patterns=4)
    guess = network.first_guess(tf.constant(amplitude))
    direct = network({"diffraction": amplitude})
    np.testing.assert_allclose(network({"diffraction": amplitude, "guess": guess}), direct, atol=1e-6)


def test_without_a_first_guess_the_network_starts_from_empty_space():
    network = build("pinn", first_guess_iterations=0)
    amplitude, _ = measured()
    patches = network({"diffraction": amplitude}).numpy()
    np.testing.assert_array_equal(patches, np.broadcast_to([1, 0], patches.shape))


def test_patches_of_a_group_stay_in_their_order():
    """A permutation of the patterns of a group permutes the first guesses likewise."""
    network = build("pinn", gridsize=2)
    amplitude, _ = measured(samples=1, patterns=4)
    order = [2, 0, 3, 1]
    straight = network({"diffraction": amplitude}).numpy()
    permuted = network({"diffraction": amplitude[:, order]}).numpy()
    np.testing.assert_allclose(permuted, straight[:, order], atol=1e-6)


def test_the_border_is_a_coarse_continuation():
    """Outside the resolved centre nothing changes faster than over the four pixels of the coarse head."""
    network = build("pinn", 64, width=8)
    disturb(network)
    noise = np.random.default_rng(1).random((1, 1, 64, 64), np.float32)
    patch = network({"diffraction": noise}).numpy()[0, 0]
    rows = np.abs(np.diff(patch[:15, :, 0], n=2, axis=0))
    centre = np.abs(np.diff(patch[16:48, 16:48, 0], n=2, axis=0))
    assert 0 < rows.mean() < 0.3 * centre.mean()


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_convolutions_alone_follow_the_precision(precision):
    network = build("pinn", precision=precision)
    disturb(network)
    amplitude, _ = measured()
    computed = {
        layer.compute_dtype
        for layer in network.backbone.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name not in ("fine", "coarse")
    }
    assert computed == {"bfloat16" if precision == "mixed_bfloat16" else "float32"}
    patches = network({"diffraction": amplitude})
    assert patches.dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in network.weights)


def test_bfloat16_predicts_nearly_the_same():
    single, mixed = build("pinn"), build("pinn", precision="mixed_bfloat16")
    disturb(single)
    mixed.set_weights(single.get_weights())
    amplitude, _ = measured()
    inputs = {"diffraction": amplitude}
    difference = relative_error(mixed(inputs), single(inputs))
    assert 0 < difference < 0.02


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("pinn", {}),
        ("pinn", {"gridsize": 2, "trainable_probe": True}),
        ("baseline", {}),
        ("baseline", {"backbone": "published", "width": 1, "first_guess_iterations": 0}),
    ],
)
def test_a_saved_network_predicts_the_same_in_this_process(tmp_path, model, settings):
    network = build(model, **settings)
    disturb(network)
    network.object_scale.assign(0.7)
    network.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    amplitude, _ = measured(patterns=network.options.gridsize**2)
    inputs = {"diffraction": amplitude}
    np.testing.assert_array_equal(loaded(inputs), network(inputs))
    assert type(loaded) is type(network)
    assert loaded.options == network.options
    assert float(loaded.object_scale.numpy()) == pytest.approx(0.7)
    assert parameters(loaded) == parameters(network)


def test_saved_networks_predict_the_same_in_another_process(tmp_path):
    amplitude, _ = measured()
    np.save(tmp_path / "amplitude.npy", amplitude)
    expected = {}
    for model in BUILDERS:
        network = build(model)
        disturb(network)
        network.save(tmp_path / f"{model}.keras")
        expected[model] = network.predict_on_batch({"diffraction": amplitude})
    code = (
        "import sys, numpy as np\n"
        "from ptycho_lib.networks.models import load_model\n"
        "for model in ('pinn', 'baseline'):\n"
        "    network = load_model(model + '.keras')\n"
        "    inputs = {'diffraction': np.load('amplitude.npy')}\n"
        "    np.save(model + '.npy', network.predict_on_batch(inputs))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    for model, patches in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{model}.npy"), patches)


def test_a_file_with_code_in_it_is_refused(tmp_path):
    inputs = keras.Input((2,))
    outputs = keras.layers.Lambda(lambda x: x * 2)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match="safe_mode"):
        load_model(tmp_path / "lambda.keras")


def test_a_configuration_holds_plain_values_only():
    configuration = build("pinn", trainable_probe=True).get_config()
    assert json.loads(json.dumps(configuration)) == configuration


def one_step(network):
    """Take one gradient step on patterns that are brighter than the probe says; return the inputs."""
    network.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    inputs, _ = batch(network.patch_size, patterns=network.options.gridsize**2)
    inputs["diffraction"] = inputs["diffraction"] * np.float32(1.5)
    network.train_on_batch(inputs)
    return inputs


@pytest.mark.parametrize("trainable", [True, False])
def test_trainable_scale_and_probe_move_and_frozen_ones_do_not(trainable):
    network = build("pinn", trainable_scale=trainable, trainable_probe=trainable)
    model = network.diffraction_model
    scale, probe = model.log_scale.numpy(), model.probe.numpy()
    guess_probe = network.first_guess.probe.numpy()
    one_step(network)
    assert (float(model.log_scale.numpy()) > float(scale)) == trainable  # towards the brighter patterns
    assert np.any(model.probe.numpy() != probe) == trainable
    np.testing.assert_array_equal(network.first_guess.probe.numpy(), guess_probe)


def roughness(image):
    """Return the share of power beyond a quarter of the sampling frequency."""
    power = np.abs(np.fft.fft2(image)) ** 2
    high = np.abs(np.fft.fftfreq(len(image))) > 0.25
    return power[high | high[:, None]].sum() / power.sum()


def test_smoothing_keeps_the_refinement_of_a_probe_smooth_and_the_mask_keeps_it_inside():
    changes = {}
    for smoothing, radius in ((0, None), (2, None), (0, 10)):
        network = build("pinn", trainable_probe=True, probe_smoothing_px=smoothing, probe_mask_radius_px=radius)
        before = network.diffraction_model.probe.numpy()
        one_step(network)
        changes[smoothing, radius] = (network.diffraction_model.probe.numpy() - before)[0]
    assert all(np.abs(change).max() > 1e-3 for change in changes.values())
    assert roughness(changes[2, None]) < 0.25 * roughness(changes[0, None])
    far = np.hypot(*(np.indices((32, 32)) - 16)) > 10
    assert changes[0, None][far].all()
    assert not changes[0, 10][far].any()


@pytest.mark.parametrize(("size", "gridsize"), list(itertools.product((64, 128, 256), (1, 2, 3))))
def test_every_pattern_size_and_group_size_takes_a_gradient_step(size, gridsize):
    network = build("pinn", size, gridsize=gridsize, reach_px=3)
    head = network.backbone.get_layer("fine")
    before = head.get_weights()[0]
    inputs = one_step(network)
    assert np.isfinite(head.get_weights()[0]).all()
    assert np.any(head.get_weights()[0] != before)
    assert float(network.test_on_batch(inputs)) > 0


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("pinn", {}),
        ("pinn", {"first_guess_iterations": 0}),
        ("pinn", {"backbone": "published", "width": 1}),
        ("baseline", {}),
    ],
)
def test_every_convolution_learns(model, settings):
    network = build(model, **settings)
    network.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    inputs, labels = batch()
    weights = [
        weight
        for weight in network.backbone.trainable_weights
        # What lies outside the resolved centre has no label.
        if model == "pinn" or "coarse" not in weight.path
    ]
    before = [weight.numpy() for weight in weights]
    for _ in range(2):  # convolutions that start at zero let the gradient pass from the second step on
        network.train_on_batch(inputs, labels if model == "baseline" else None)
    for weight, old in zip(weights, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path


def test_the_poisson_deviance_is_the_likelihood_ratio_of_scipy():
    """With n whole, the deviance is the difference of two Poisson log-likelihoods."""
    rng = np.random.default_rng(0)
    counts, rate = rng.poisson(30.0, 200), rng.uniform(5, 60, 200)
    found = poisson_deviance(np.sqrt(counts).astype(np.float32), np.sqrt(rate).astype(np.float32)).numpy()
    expected = scipy.stats.poisson.logpmf(counts, np.maximum(counts, 1e-300)) - scipy.stats.poisson.logpmf(counts, rate)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_poisson_deviance_is_the_kullback_leibler_divergence():
    rng = np.random.default_rng(1)
    x, predicted = rng.uniform(0, 2, 500).astype(np.float32), rng.uniform(0, 2, 500).astype(np.float32)
    expected = scipy.special.kl_div(x.astype(float) ** 2 + FLOOR, predicted.astype(float) ** 2 + FLOOR)
    found = poisson_deviance(x, predicted).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert (found > -1e-6).all()
    np.testing.assert_allclose(poisson_deviance(x, x), 0, atol=1e-6)


def test_dark_pixels_cost_their_predicted_intensity_and_stay_finite():
    found = poisson_deviance(np.zeros(3, np.float32), np.array([0, 0.5, 2], np.float32)).numpy()
    np.testing.assert_allclose(found, [0, 0.25, 4], atol=1e-4)
    bright = poisson_deviance(np.float32(3), np.float32(0)).numpy()
    assert np.isfinite(bright)
    assert bright > 100


def test_the_amplitude_error_is_absolute():
    np.testing.assert_allclose(amplitude_error(np.float32([1, 3]), np.float32([2, 1])), [1, 2])


@pytest.mark.parametrize(("counts_known", "expected"), [(True, "poisson"), (False, "amplitude_mae")])
def test_the_automatic_loss_follows_the_knowledge_of_counts(counts_known, expected):
    assert loss_weights(TrainingConfig(), counts_known=counts_known) == {expected: 1}
    other = {"poisson": "amplitude_mae", "amplitude_mae": "poisson"}[expected]
    assert loss_weights(TrainingConfig(pinn_loss=other), counts_known=counts_known) == {other: 1}


def test_a_loss_of_several_terms_is_their_weighted_sum():
    inputs, _ = batch()
    patches = tf.constant(np.random.default_rng(0).normal(1, 0.3, (2, 1, 32, 32, 2)), tf.float32)

    def loss(weights):
        return float(build("pinn", loss=weights).compute_loss(inputs, None, patches))

    poisson, amplitude = loss({"poisson": 1}), loss({"amplitude_mae": 1})
    assert poisson > 0
    assert amplitude > 0
    assert poisson != pytest.approx(amplitude, rel=0.01)
    expected = 2 * poisson + 0.3 * amplitude
    assert loss({"poisson": 2, "amplitude_mae": 0.3}) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["poisson", "amplitude_mae"])
def test_the_loss_of_the_true_object_is_zero_and_of_another_one_not(loss):
    network = build("pinn", loss={loss: 1.0})
    inputs, _ = batch()
    _, patches = measured()
    truth = channels(patches).astype(np.float32)
    assert float(network.compute_loss(inputs, None, tf.constant(truth))) == pytest.approx(0, abs=1e-5)
    wrong = network.compute_loss(inputs, None, tf.constant(truth[..., ::-1, :].copy()))
    assert float(wrong) > 1e-3


def test_patterns_of_weight_zero_do_not_count():
    network = build("pinn")
    inputs, _ = batch()
    _, patches = measured()
    truth = channels(patches).astype(np.float32)
    truth[1] *= 2
    inputs["weight"][1] = 0
    assert float(network.compute_loss(inputs, None, tf.constant(truth))) == pytest.approx(0, abs=1e-5)
    inputs["weight"][:] = 0
    assert float(network.compute_loss(inputs, None, tf.constant(truth))) == 0


def test_overlapping_samples_must_agree():
    """Patches of neighbours that contradict each other cost more than those cut from one object."""
    obj = complex_noise(3, 64, 64) * 0.2 + 1
    positions = np.array([[30.0, 30], [33, 28], [27, 31], [31, 35]])
    patches = diffraction.extract_patches(obj, positions, 32)
    probe = normalised_probe(curved_probe(32))
    inputs = {
        "diffraction": diffraction.amplitude(patches, probe)[:, None],
        "positions_px": positions[:, None].astype(np.float32),
        "weight": np.ones((4, 1), np.float32),
    }
    turned = patches * np.exp(1j * np.array([0, 1, 2, 3]))[:, None, None]

    def loss(merged, objects):
        network = build("pinn", merged_patches=merged, reach_px=8)
        predicted = tf.constant(channels(objects)[:, None], tf.float32)
        return float(network.compute_loss(inputs, None, predicted))

    assert loss(1, patches) == pytest.approx(0, abs=1e-5)
    assert loss(1, turned) == pytest.approx(0, abs=1e-5)  # no single pattern determines its global phase
    assert loss(4, patches) == pytest.approx(0, abs=1e-5)
    assert loss(4, turned) > 0.01


def test_the_supervised_loss_of_the_truth_is_zero():
    network = build("baseline")
    _, patches = measured()
    inputs, labels = batch()
    predicted = channels(patches)
    predicted[:, :, :8] = 77  # outside the resolved centre nothing is compared
    assert float(network.compute_loss(inputs, labels, tf.constant(predicted))) == pytest.approx(0, abs=1e-5)


ONE = {"weight": np.ones((1, 1), np.float32)}


def test_supervised_samples_of_no_weight_do_not_count():
    network = build("baseline")
    inputs, labels = batch(samples=2)
    predicted = np.pad(labels, [(0, 0)] * 2 + [(8, 8)] * 2 + [(0, 0)])
    predicted[1] += 0.3
    inputs["weight"][1] = 0
    assert float(network.compute_loss(inputs, labels, tf.constant(predicted))) == pytest.approx(0, abs=1e-5)
    inputs["weight"][:] = [[0], [1]]
    assert float(network.compute_loss(inputs, labels, tf.constant(predicted))) > 0.1


def test_the_supervised_loss_is_the_error_of_amplitude_and_phase():
    network = build("baseline")
    truth = np.full((1, 1, 32, 32), 0.5 + 0j)
    labels = channels(central_half(truth))
    for amplitude, phase in ((0.7, 0.0), (0.5, -0.4), (0.8, 0.3), (0.5, 3.0)):
        predicted = channels(truth / 0.5 * amplitude * np.exp(1j * phase)).astype(np.float32)
        found = float(network.compute_loss(ONE, labels.astype(np.float32), tf.constant(predicted)))
        assert found == pytest.approx(abs(amplitude - 0.5) + abs(phase), rel=1e-4)


def test_the_phase_error_takes_the_short_way_round():
    network = build("baseline")
    labels = channels(central_half(np.full((1, 1, 32, 32), np.exp(3.1j)))).astype(np.float32)
    predicted = channels(np.full((1, 1, 32, 32), np.exp(-3.1j))).astype(np.float32)
    found = float(network.compute_loss(ONE, labels, tf.constant(predicted)))
    assert found == pytest.approx(2 * np.pi - 6.2, abs=1e-3)


def test_a_validation_diffracts_only_the_patches_that_count():
    """Its loss is that of all merged patches, of which only the first of each group has a weight."""
    network = build("pinn", merged_patches=2, reach_px=3)
    disturb(network)
    inputs, *_ = batch(samples=4)
    shifts = np.random.default_rng(0).uniform(-1.5, 1.5, (4, 1, 2)).astype(np.float32)
    inputs |= {"positions_px": shifts, "weight": np.float32([[1], [0], [1], [0]])}
    patches = network(inputs)
    every = network.compute_loss(inputs, None, patches, training=True)
    first = network.compute_loss(inputs, None, patches, training=False)
    np.testing.assert_allclose(first, every, rtol=1e-6)
    only = network.predict_amplitude(patches, shifts, counted=slice(1))
    np.testing.assert_allclose(only, network.predict_amplitude(patches, shifts)[:, :1], rtol=1e-6)
