"""The control: the first guess alone, through the same prediction as the trained networks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.sampling import neighbour_groups
from ptycho_lib.networks.batches import Samples, central_half, input_scale, normalised_probe
from ptycho_lib.networks.models import build_pinn, build_untrained, load_model
from ptycho_lib.networks.prediction import predict_patches
from tests.conftest import simulate_small


@pytest.fixture(scope="module")
def data():
    return simulate_small(12, seed=5)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_it_predicts_the_first_guess_of_each_sample(data, gridsize):
    config = NetworkConfig(first_guess_iterations=4, gridsize=gridsize, width=4)
    network = build_untrained(config, data)
    members = neighbour_groups(data.positions_px, gridsize, 0)
    samples = Samples(data, members, input_scale(data))
    everything = np.arange(len(samples))
    amplitude, positions = samples.amplitudes(everything), samples.positions_px(everything)
    guess = network.first_guess(tf.constant(amplitude), tf.constant(positions)).numpy()
    expected = central_half(guess[..., 0] + 1j * guess[..., 1]).reshape(-1, 16, 16)
    found = predict_patches(network, data).patches
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - 1).mean() > 0.05


def test_a_network_before_its_first_step_is_the_control(data):
    config = NetworkConfig(first_guess_iterations=4, width=4)
    network = build_pinn(config, normalised_probe(data.probe))
    control = predict_patches(build_untrained(config, data), data).patches
    np.testing.assert_allclose(predict_patches(network, data).patches, control, atol=1e-5)


@pytest.mark.parametrize("backbone", ["compact", "published"])
def test_without_iterations_it_is_a_flat_object(data, backbone):
    network = build_untrained(NetworkConfig(first_guess_iterations=0, backbone=backbone, width=2), data)
    np.testing.assert_array_equal(predict_patches(network, data).patches, np.ones((12, 16, 16), np.complex64))


def test_nothing_in_it_can_be_trained_and_it_is_saved_and_loaded(data, tmp_path):
    network = build_untrained(NetworkConfig(first_guess_iterations=3), data)
    assert network.trainable_weights == []
    network.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    expected = predict_patches(network, data).patches
    np.testing.assert_array_equal(predict_patches(loaded, data).patches, expected)
