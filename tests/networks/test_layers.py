"""The Keras layers of the diffraction model against their numpy twins, and their gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter

from ptycho_lib.networks import layers
from ptycho_lib.networks.first_guess import FirstGuess
from ptycho_lib.networks.layers import DiffractionModel, merge_patches
from ptycho_lib.physics import diffraction, probes
from tests.support.waves import channels, complex_noise, curved_probe, relative_error

FLOAT32 = 2e-5


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_diffraction_model_equals_the_numpy_reference(size):
    patches, probe = complex_noise(1, 2, 3, size, size), curved_probe(size)
    model = DiffractionModel(size, probe)
    model.log_scale.assign(0.3)
    expected = diffraction.amplitude(patches.reshape(-1, size, size), probe) * np.exp(0.3)
    found = model(tf.constant(patches)).numpy()
    assert found.dtype == np.float32
    assert relative_error(found.reshape(expected.shape), expected) < FLOAT32


@pytest.mark.parametrize("shares", [(1.0,), (0.6, 0.4), (0.5, 0.5), (0.5, 0.3, 0.2), (1.0, 0.0)], ids=str)
def test_the_intensities_of_incoherent_modes_add(shares):
    patches, modes = complex_noise(2, 3, 64, 64), probes.incoherent_modes(curved_probe(64), shares)
    model = DiffractionModel(64, modes)
    found = model(tf.constant(patches)).numpy()
    assert relative_error(found, diffraction.amplitude(patches, modes)) < 1e-5
    assert found.dtype == np.float32


def test_dark_modes_and_dark_objects_have_a_finite_gradient():
    modes = probes.incoherent_modes(curved_probe(32), (1.0, 0.0))
    model = DiffractionModel(32, modes, trainable_probe=True)
    parts = tf.Variable(np.zeros((2, 32, 32, 2), np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(layers.to_complex(parts)))
    for gradient in tape.gradient(total, [parts, model.probe_change.value]):
        assert np.isfinite(gradient.numpy()).all()


def flat_model(size):
    return DiffractionModel(size, np.ones((size, size), np.complex64))


def test_parseval():
    wave = complex_noise(3, 4, 64, 64)
    power = np.square(flat_model(64)(tf.constant(wave)).numpy()).sum(axis=(1, 2))
    np.testing.assert_allclose(power, np.square(np.abs(wave)).sum(axis=(1, 2)), rtol=1e-5)


def test_a_plane_wave_goes_to_one_pixel():
    rows, columns = np.indices((32, 32))
    wave = np.exp(2j * np.pi * (3 * rows - 5 * columns) / 32).astype(np.complex64)
    field = flat_model(32)(tf.constant(wave[None])).numpy()[0]
    assert np.unravel_index(field.argmax(), field.shape) == (16 + 3, 16 - 5)
    assert field.max() == pytest.approx(32, rel=1e-5)
    assert np.sort(field.ravel())[-2] < 1e-3


def test_a_shifted_object_keeps_its_amplitude():
    obj = np.zeros((64, 64), np.complex64)
    obj[20:29, 25:41] = complex_noise(4, 9, 16)
    positions = np.array([[30.0, 32.0], [28.0, 35.0]])  # the content moves by (+2, -3) within the patch
    first, second = flat_model(32)(tf.constant(diffraction.extract_patches(obj, positions, 32))).numpy()
    assert relative_error(first, second) < FLOAT32


def test_the_gradient_of_the_diffraction_model_is_the_back_propagated_field():
    """d/dO of Σ w·|F(O·P)| is P*·F⁻¹(w·Ψ/|Ψ|); d/dP the same with O*, summed over the patches."""
    size = 32
    patches, probe = complex_noise(5, 3, size, size), curved_probe(size)
    weight = np.random.default_rng(5).uniform(0.5, 1.5, (3, size, size)).astype(np.float32)
    model = DiffractionModel(size, probe, trainable_probe=True)
    parts = tf.Variable(channels(patches))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(weight * model(layers.to_complex(parts)))
    trained = [model.probe_change, model.log_scale]
    object_gradient, probe_gradient, scale_gradient = tape.gradient(
        total, [parts, *(weight.value for weight in trained)]
    )
    field = diffraction.far_field(patches * probe)
    wave = diffraction.back_propagate(weight * field / np.abs(field))
    assert relative_error(object_gradient, channels(probe.conj() * wave)) < 1e-4
    assert relative_error(probe_gradient[0], channels(np.sum(patches.conj() * wave, axis=0))) < 1e-4
    assert scale_gradient.numpy() == pytest.approx(float(total), rel=1e-5)


def test_a_frozen_probe_and_scale_are_not_trained():
    frozen = DiffractionModel(32, curved_probe(32), trainable_scale=False)
    assert not frozen.trainable_weights
    assert len(DiffractionModel(32, trainable_probe=True).trainable_weights) == 2


def test_a_masked_probe_is_zero_outside_given_or_changed():
    probe = curved_probe(32)
    model = DiffractionModel(32, probe, trainable_probe=True, mask_radius_px=9)
    model.probe_change.assign(channels(complex_noise(21, 1, 32, 32)))
    rows, columns = np.indices((32, 32)) - 16
    outside = np.hypot(rows, columns) > 9
    assert not model.probe.numpy()[0, outside].any()
    changed = probe + complex_noise(21, 1, 32, 32)[0]
    assert relative_error(model.probe.numpy()[0, ~outside], changed[~outside]) < FLOAT32
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(tf.constant(complex_noise(22, 1, 32, 32))))
    gradient = tape.gradient(total, model.probe_change.value).numpy()[0]
    assert not gradient[outside].any()
    assert (np.abs(gradient[~outside]) > 0).all()


def test_the_change_of_a_probe_is_smoothed_by_a_gaussian_and_the_probe_is_not():
    probe = curved_probe(64)
    model = DiffractionModel(64, probe, trainable_probe=True, smoothing_px=1.5)
    np.testing.assert_array_equal(model.probe[0], probe)
    change = np.zeros((64, 64), np.complex64)
    change[20:40, 15:45] = complex_noise(23, 20, 30)
    model.probe_change.assign(channels(change)[None])
    expected = (
        probe + gaussian_filter(change.real, 1.5, truncate=20) + (1j * gaussian_filter(change.imag, 1.5, truncate=20))
    )
    assert relative_error(model.probe.numpy()[0], expected) < FLOAT32


def test_illumination_is_the_intensity_over_its_maximum():
    modes = probes.incoherent_modes(curved_probe(32), (0.7, 0.3))
    found = layers.illumination(FirstGuess(32, modes).probe).numpy()
    intensity = np.sum(np.abs(modes) ** 2, axis=0)
    assert relative_error(found, intensity / intensity.max()) < FLOAT32
    assert found.max() == 1


def merged_by_numpy(patches, offsets_px, weights, reach_px):
    """Merge one group with the reference extraction and its adjoint."""
    size = patches.shape[-1]
    frame = size + 2 * reach_px + 2
    positions = frame / 2 + offsets_px
    shape = (frame, frame)
    total = diffraction.add_patches(np.broadcast_to(weights, patches.shape), positions, shape)
    summed = diffraction.add_patches(patches * weights, positions, shape)
    merged = np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)
    return diffraction.extract_patches(merged, positions, size)


def merge(patches, offsets_px, weights, reach_px):
    tensors = (
        tf.constant(np.asarray(array, kind))
        for array, kind in (
            (patches[None], np.complex64),
            (offsets_px[None], np.float32),
            (weights, np.float32),
        )
    )
    return merge_patches(*tensors, reach_px=reach_px).numpy()[0]


@pytest.mark.parametrize(
    "offset",
    [(3, 0), (-3, 0), (0, 5), (0, -5), (2, -4), (0.5, 0), (0, -0.25), (-1.75, 3.4)],
    ids=str,
)
def test_merging_equals_the_numpy_reference_for_both_signs_and_axes(offset):
    patches = complex_noise(6, 2, 32, 32)  # noise has no symmetry to hide an exchange of axes or signs
    weights = np.abs(curved_probe(32)) ** 2 + 1e-3
    offsets = np.array([(0, 0), offset], float)
    expected = merged_by_numpy(patches, offsets, weights, reach_px=5)
    assert relative_error(merge(patches, offsets, weights, reach_px=5), expected) < 1e-4


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), reach=st.integers(0, 7))
def test_merging_equals_the_numpy_reference_for_any_group(seed, count, reach):
    rng = np.random.default_rng(seed)
    offsets = rng.uniform(-reach, reach, (count, 2)).astype(np.float32).astype(float)
    offsets[0] = 0
    weights = rng.uniform(0.1, 1, (16, 16))
    patches = complex_noise(seed, count, 16, 16)
    expected = merged_by_numpy(patches, offsets, weights, reach)
    assert relative_error(merge(patches, offsets, weights, reach), expected) < 1e-4


def test_patches_of_one_object_survive_their_merging():
    obj = complex_noise(7, 64, 64)
    positions = np.array([[30, 33], [34, 28], [27, 36]])
    patches = diffraction.extract_patches(obj, positions, 32)
    merged = merge(patches, positions - positions[0], np.ones((32, 32)), reach_px=6)
    assert relative_error(merged, patches) < FLOAT32


def test_a_lone_patch_is_not_changed_and_overlapping_ones_are_averaged():
    alone = complex_noise(8, 1, 16, 16)
    assert relative_error(merge(alone, np.zeros((1, 2)), np.ones((16, 16)), 0), alone) < FLOAT32
    two = np.stack([np.full((16, 16), 1 + 0j), np.full((16, 16), 0 + 3j)])
    merged = merge(two, np.array([[0, 0], [4, 0]]), np.ones((16, 16)), 4)
    np.testing.assert_allclose(merged[0, :4], 1, atol=1e-6)
    np.testing.assert_allclose(merged[0, 4:], 0.5 + 1.5j, atol=1e-6)
    np.testing.assert_allclose(merged[1, :12], 0.5 + 1.5j, atol=1e-6)
    np.testing.assert_allclose(merged[1, 12:], 3j, atol=1e-6)


def test_the_gradient_of_the_merging_is_exact():
    """Merging is linear in the patches: the gradient of Re⟨c, M p⟩ gives every change of it exactly."""
    patches, direction, cotangent = (complex_noise(seed, 3, 16, 16) for seed in (9, 10, 11))
    offsets = np.array([[0, 0], [1.3, -2.6], [-3.9, 0.2]])
    weights = np.random.default_rng(9).uniform(0.1, 1, (16, 16)).astype(np.float32)
    parts = tf.Variable(channels(patches)[None])
    with tf.GradientTape() as tape:
        merged = merge_patches(
            layers.to_complex(parts), tf.constant(offsets[None], tf.float32), tf.constant(weights), reach_px=4
        )
        value = tf.reduce_sum(tf.math.real(tf.math.conj(cotangent) * merged))
    gradient = tape.gradient(value, parts).numpy()[0]
    difference = merged_by_numpy(patches + direction, offsets, weights, 4) - merged_by_numpy(
        patches, offsets, weights, 4
    )
    expected = float(np.vdot(cotangent, difference).real)
    assert float(np.sum(gradient * channels(direction))) == pytest.approx(expected, rel=1e-4)


def test_the_resolved_centre_replaces_the_coarse_one_and_nothing_else():
    rng = np.random.default_rng(12)
    fine, coarse = rng.random((2, 16, 16, 3), np.float32), rng.random((2, 32, 32, 3), np.float32)
    found = layers.CentreOn()((fine, coarse)).numpy()
    expected = coarse.copy()
    expected[:, 8:24, 8:24] = fine
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_folding_and_unfolding_are_inverse():
    images = np.random.default_rng(13).random((2, 8, 12, 3), np.float32)
    folded = layers.SpaceToDepth()(images)
    assert folded.shape == (2, 4, 6, 12)
    np.testing.assert_array_equal(folded[0, 1, 2, :3], images[0, 2, 4])
    np.testing.assert_array_equal(layers.DepthToSpace()(folded), images)


def test_amplitude_and_phase_of_each_patch_become_its_neighbouring_channels():
    rng = np.random.default_rng(14)
    amplitude, phase = rng.random((2, 8, 8, 4), np.float32), rng.uniform(-3, 3, (2, 8, 8, 4))
    found = layers.PolarObject()((amplitude, phase.astype(np.float32))).numpy()
    expected = amplitude * np.exp(1j * phase)
    for patch in range(4):
        parts = found[..., 2 * patch] + 1j * found[..., 2 * patch + 1]
        np.testing.assert_allclose(parts, expected[..., patch], atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        FirstGuess(32, curved_probe(32), iterations=2, damping=0.1),
        FirstGuess(32, probes.incoherent_modes(curved_probe(32), (0.7, 0.3)), iterations=2),
        DiffractionModel(
            32,
            curved_probe(32),
            trainable_scale=False,
            trainable_probe=True,
            smoothing_px=2,
            mask_radius_px=8,
        ),
    ],
    ids=["first guess", "two modes", "diffraction model"],
)
def test_a_layer_is_rebuilt_from_its_configuration_and_weights(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again.set_weights(layer.get_weights())
    patches = complex_noise(15, 1, 32, 32) if isinstance(layer, DiffractionModel) else np.ones((1, 32, 32))
    np.testing.assert_array_equal(again(tf.constant(patches)), layer(tf.constant(patches)))
    assert len(again.trainable_weights) == len(layer.trainable_weights)


def test_complex_arithmetic_stays_single_precision_under_a_mixed_policy():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = DiffractionModel(32, curved_probe(32))
        assert model(tf.constant(complex_noise(16, 1, 32, 32))).dtype == tf.float32
        assert model.probe.dtype == tf.complex64
    finally:
        keras.config.set_dtype_policy(before)
