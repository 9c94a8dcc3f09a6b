"""Networks under partially coherent light, under a probe they were not trained with, behind a detector mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptycho_lib.config import NetworkConfig, StudyConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.errors import InputError
from ptycho_lib.networks.batches import central_half, input_scale, normalised_probe, probe_in_use
from ptycho_lib.networks.models import build_baseline, build_pinn, build_untrained, load_model, refined_probe
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import MODEL, train_model
from ptycho_lib.physics import diffraction, probes
from tests.conftest import simulate_small

OLDER = Path(__file__).parent / "older_version"
BUILDERS = {"pinn": build_pinn, "baseline": build_baseline}
SHORT = {"steps": 16, "validations": 2, "batch_size": 8, "merged_patches": 2}


def under(data, probe):
    """Return the noise-free scan of the same object and positions under another probe, or modes."""
    patches = diffraction.extract_patches(data.obj, data.positions_px, data.patch_size)
    return replace(data, probe=probe, diffraction=diffraction.amplitude(patches, probe), photons_per_pattern=None)


@pytest.fixture(scope="module")
def data():
    return simulate_small(24, seed=3)


@pytest.fixture(scope="module")
def partial(data):
    """The scan in light of two modes."""
    return under(data, probes.incoherent_modes(data.probe, (0.65, 0.35)))


def small(**network):
    return NetworkConfig(**({"width": 4, "first_guess_iterations": 4} | network))


def study(training=(), **network):
    plain = {"network": {"width": 4, "first_guess_iterations": 2} | network, "training": SHORT | dict(training)}
    return StudyConfig.model_validate(plain)


def disturbed(network, seed=0):
    """Give every weight that starts at zero a value, as training does."""
    rng = np.random.default_rng(seed)
    for weight in network.backbone.weights:
        if not np.any(weight.numpy()):
            weight.assign(rng.normal(0, 0.03, weight.shape))
    return network


def patch_error(network, data):
    """Return the mean error of predicted patches, up to one phase each."""
    found, truth = predict_patches(network, data).patches, central_half(data.object_patches())
    phase = np.exp(1j * np.angle(np.sum(truth * found.conj(), axis=(1, 2), keepdims=True)))
    return float(np.abs(found * phase - truth).mean())


def test_the_modes_in_use_hold_nearly_all_of_the_light_or_are_as_many_as_asked_for(data):
    modes = probes.incoherent_modes(data.probe, (0.7, 0.295, 0.005))
    dataset = replace(data, probe=modes[::-1])
    used = probe_in_use(dataset, NetworkConfig())
    assert used.shape == (2, 32, 32)
    assert np.square(np.abs(used)).sum() == pytest.approx(16**2, rel=1e-5)
    shares = np.square(np.abs(used)).sum(axis=(1, 2)) / 16**2
    np.testing.assert_allclose(shares, [0.7 / 0.995, 0.295 / 0.995], rtol=1e-3)
    assert len(probe_in_use(dataset, NetworkConfig(probe_modes=1))) == 1
    assert len(probe_in_use(dataset, NetworkConfig(probe_modes=3))) == 3


def test_a_mode_without_light_is_left_out(data):
    dark = replace(data, probe=probes.incoherent_modes(data.probe, (1.0, 0.0)))
    used = probe_in_use(dark, NetworkConfig(probe_modes=2))
    assert used.shape == (1, 32, 32)
    np.testing.assert_allclose(np.abs(used), np.abs(normalised_probe(data.probe)), atol=1e-4)


def test_modes_that_are_not_orthogonal_are_made_so(data):
    """A unitary mixture gives the same patterns; its strongest mode holds less light than it could."""
    modes = probes.incoherent_modes(data.probe, (0.9, 0.1))
    mixed = np.stack([modes[0] + modes[1], modes[0] - modes[1]]) / np.sqrt(2)
    used, plain = (probe_in_use(replace(data, probe=each), NetworkConfig(probe_modes=1)) for each in (mixed, modes))
    np.testing.assert_allclose(np.abs(used), np.abs(plain), atol=1e-3)


def test_the_first_guess_uses_all_modes_of_a_file_and_gains_from_them(partial):
    config = [small(first_guess_iterations=20, probe_modes=modes) for modes in (1, 2)]
    errors = [patch_error(build_untrained(each, partial), partial) for each in config]
    assert errors[1] < 0.75 * errors[0]


@pytest.mark.parametrize("model", BUILDERS)
@pytest.mark.parametrize("gridsize", [1, 2])
def test_a_probe_at_prediction_is_what_the_network_would_have_been_built_with(data, partial, model, gridsize):
    config = small(gridsize=gridsize)
    trained = disturbed(BUILDERS[model](config, probe_in_use(data, config)))
    built = disturbed(BUILDERS[model](config, probe_in_use(partial, config)))
    built.backbone.set_weights(trained.backbone.get_weights())
    expected = predict_patches(built, partial).patches
    np.testing.assert_allclose(predict_patches(trained, partial).patches, expected, atol=1e-5)
    under_its_own = predict_patches(trained, data).patches
    np.testing.assert_allclose(predict_patches(trained, partial).patches, expected, atol=1e-5)
    np.testing.assert_allclose(predict_patches(trained, data).patches, under_its_own, atol=1e-5)
    assert np.abs(under_its_own - expected).mean() > 1e-2


def test_training_with_modes_saves_refines_and_loads_them(partial, tmp_path):
    config = study(trainable_probe=True)
    trained = train_model("pinn", partial, config, 1, tmp_path)
    assert not trained.collapsed
    given, refined = probe_in_use(partial, config.network), refined_probe(trained.network)
    assert refined.shape == given.shape == (2, 32, 32)
    assert (np.abs(refined - given).max(axis=(1, 2)) > 1e-3).all()
    loaded = load_model(tmp_path / MODEL)
    np.testing.assert_array_equal(refined_probe(loaded), refined)
    np.testing.assert_array_equal(loaded.first_guess.probe, given)
    assert loaded.get_config() == trained.network.get_config()
    assert (loaded.merged_patches, loaded.loss_weights) == (2, {"amplitude_mae": 1.0})
    expected = predict_patches(trained.network, partial).patches
    np.testing.assert_array_equal(predict_patches(loaded, partial).patches, expected)


def test_a_loss_with_all_modes_is_lower_than_with_one(partial, tmp_path):
    losses = {}
    for modes in (1, 2):
        trained = train_model("pinn", partial, study(probe_modes=modes), 1, tmp_path / str(modes))
        losses[modes] = trained.history["val_loss"].iloc[-1]
    assert losses[2] < 0.8 * losses[1]


@pytest.mark.parametrize("iterations", [0, 4])
def test_what_dead_pixels_read_changes_neither_training_nor_prediction(data, tmp_path, iterations):
    mask = np.ones((32, 32), bool)
    mask[:, :16] = False  # half the detector
    garbage = np.where(mask, data.diffraction, 1e3).astype(np.float32)
    config = study({"steps": 4, "validations": 1}, first_guess_iterations=iterations)
    found = []
    for name, patterns in (("as_measured", data.diffraction), ("garbage", garbage)):
        scan = replace(data, mask=mask, diffraction=patterns)
        trained = train_model("pinn", scan, config, 1, tmp_path / name)
        found.append((trained.history["loss"].to_numpy(), predict_patches(trained.network, scan).patches))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    whole = train_model("pinn", data, config, 1, tmp_path / "whole")
    assert np.any(whole.history["loss"].to_numpy() != found[0][0])


def test_the_input_scale_does_not_count_missing_pixels_as_dark(data):
    mask = np.ones((32, 32), bool)
    mask[12:20, 16:20] = False
    masked = input_scale(replace(data, mask=mask))
    assert masked == pytest.approx(input_scale(data), rel=0.05)
    dark = replace(data, diffraction=np.where(mask, data.diffraction, 0))
    assert input_scale(dark) > 1.05 * masked


def test_a_mask_of_everything_changes_nothing(data):
    network = build_untrained(small(), data)
    everything = replace(data, mask=np.ones((32, 32), bool))
    expected = predict_patches(network, data).patches
    np.testing.assert_allclose(predict_patches(network, everything).patches, expected, atol=1e-5)


def test_patterns_of_another_size_are_refused(data):
    network = build_pinn(small(), np.ones((64, 64), np.complex64))
    with pytest.raises(InputError, match="32×32 pixels; expected patterns of 64×64"):
        predict_patches(network, data)


def test_a_network_of_an_older_version_predicts_what_it_did():
    """Saved before there were probe modes, with settings of old names and a refined probe."""
    network, known = load_model(OLDER / "pinn.keras"), np.load(OLDER / "predictions.npz")
    assert network.options.first_guess_iterations == 4
    np.testing.assert_allclose(refined_probe(network), known["refined_probe"], atol=1e-6)
    scan = {name: known[name] for name in ("diffraction", "positions_px", "probe")}
    found = predict_patches(network, PtychoDataset(**scan, obj=np.ones((1, 1), np.complex64))).patches
    np.testing.assert_allclose(found, known["patches"], atol=2e-5)
