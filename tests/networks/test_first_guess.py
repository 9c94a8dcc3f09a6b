"""The first guess against its definition in double precision, and what it is good for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from ptycho_lib.config import NetworkConfig
from ptycho_lib.networks import layers
from ptycho_lib.networks.batches import central_half, photons_per_pixel
from ptycho_lib.networks.first_guess import FINE_ITERATIONS, FINE_TOGETHER, FirstGuess, iterations_at
from ptycho_lib.networks.prediction import predict_untrained
from ptycho_lib.physics import diffraction, probes
from tests.conftest import simulate_small
from tests.support.waves import curved_probe, flat_probe, relative_error, smooth_object


def retrieved_by_numpy(obj, amplitude, modes, iterations, damping):
    """Iterate the difference map with β = 1 under the modes (m, N, N), in double precision and centred."""
    intensity = (np.abs(modes) ** 2).sum(axis=0)
    eps = damping * intensity.max()

    def behind(waves, obj):
        return ((modes.conj() * waves).sum(axis=1) + eps * obj) / (intensity + eps)

    waves = modes * obj[:, None]
    for _ in range(iterations):
        far = diffraction.far_field(waves)
        total = np.sqrt((np.abs(far) ** 2).sum(axis=1))
        measured = diffraction.back_propagate(far * (amplitude / total)[:, None])
        obj = behind(measured, obj)
        waves = waves + modes * behind(2 * measured - waves, obj)[:, None] - measured
    return obj


def guessed_by_numpy(amplitude, probe, iterations, damping=0.2):
    """Retrieve the phase as `FirstGuess` documents it: first on the inner half of the detector."""
    modes, quarter = diffraction.as_modes(probe).astype(complex), probe.shape[-1] // 4
    inner = (..., slice(quarter, -quarter), slice(quarter, -quarter))
    light = np.abs(diffraction.far_field(modes)) ** 2
    coarse = max(0, iterations - FINE_ITERATIONS) if light[inner].sum() > 0.99 * light.sum() else 0
    if coarse == 0:
        return retrieved_by_numpy(np.ones(amplitude.shape, complex), amplitude, modes, iterations, damping)
    blurred = diffraction.back_propagate(diffraction.far_field(modes)[inner])
    obj = retrieved_by_numpy(np.ones(amplitude[inner].shape, complex), amplitude[inner], blurred, coarse, damping)
    spectrum = np.fft.fftshift(np.fft.fft2(obj - 1), axes=(-2, -1))
    spectrum = np.pad(spectrum, [(0, 0)] * (obj.ndim - 2) + [(quarter, quarter)] * 2)
    obj = 1 + 4 * np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1)))
    return retrieved_by_numpy(obj, amplitude, modes, iterations - coarse, damping)


def partially_coherent(size, shares=(0.5, 0.3, 0.2)):
    """Return modes of a curved probe that hold these shares of the light."""
    return probes.incoherent_modes(curved_probe(size), shares)


def two_equal_modes(size):
    return partially_coherent(size, (0.5, 0.5))


def wide_probe(size):
    """Return a probe out of focus whose far field fills the detector."""
    aperture = 0.05 + probes.disc(size, 0.9 * size, smoothing_px=1.0)
    squared = np.square(np.subtract(np.indices((size, size)), size // 2)).sum(axis=0)
    return size * diffraction.back_propagate(aperture * np.exp(1j * squared / size)).astype(np.complex64)


@pytest.mark.parametrize(
    ("make_probe", "size", "iterations"),
    [
        (curved_probe, 64, 1),
        (curved_probe, 64, 3),
        (curved_probe, 64, 5),
        (curved_probe, 32, 12),
        (curved_probe, 128, 8),
        (wide_probe, 64, 5),
        (partially_coherent, 64, 5),
        (partially_coherent, 32, 12),
        (two_equal_modes, 64, 3),
    ],
)
def test_the_first_guess_is_the_documented_iteration(make_probe, size, iterations):
    probe = make_probe(size)
    patches = np.stack([smooth_object(size), smooth_object(size)[::-1]])
    measured = diffraction.amplitude(patches, probe)
    guess = layers.to_complex(FirstGuess(size, probe, iterations=iterations)(tf.constant(measured))).numpy()
    expected = guessed_by_numpy(measured, probe, iterations)
    light = probes.total_intensity(probe)
    bright = light > 0.01 * light.max()
    assert relative_error(guess[:, bright], expected[:, bright]) < 1e-3


def test_half_the_resolution_is_for_probes_whose_far_field_lies_in_the_inner_half():
    narrow, wide = (
        FirstGuess(64, curved_probe(64), iterations=20),
        FirstGuess(64, wide_probe(64), iterations=20),
    )
    assert narrow.schedule(together=False) == (20 - FINE_ITERATIONS, FINE_ITERATIONS)
    assert narrow.schedule(together=True) == (20, FINE_TOGETHER)
    assert wide.schedule(together=False) == wide.schedule(together=True) == (0, 20)


@pytest.mark.parametrize("together", [False, True])
def test_few_iterations_are_all_made_at_full_resolution_too(together):
    for iterations in (0, 1, 2):
        schedule = FirstGuess(64, curved_probe(64), iterations=iterations).schedule(together=together)
        assert schedule == (iterations if together else 0, iterations)


@pytest.mark.parametrize("size", [64, 128])
def test_more_iterations_find_the_object_better(size):
    probe = curved_probe(size)
    obj = smooth_object(size)[None]
    measured = tf.constant(diffraction.amplitude(obj, probe))
    light = np.abs(probe) ** 2
    errors = []
    for iterations in (0, 1, 2, 4, 10, 20):
        guess = layers.to_complex(FirstGuess(size, probe, iterations=iterations)(measured)).numpy()
        product = (light * obj * guess.conj()).sum()
        turned = guess * product / abs(product)  # the global phase is not observable
        errors.append(np.sqrt((light * np.abs(turned - obj) ** 2).sum()))
    assert np.all(np.diff(errors[:-1]) < 0)  # at half the resolution ten have converged
    assert max(errors[-2:]) < 0.2 * errors[0]


def test_the_first_guess_finds_the_object_where_it_must():
    """Without an object the guess is exact; a bright spot of an object in a bright probe is seen."""
    probe = curved_probe(64)
    empty = diffraction.amplitude(np.ones((1, 64, 64), np.complex64), probe)
    guess = FirstGuess(64, probe)
    np.testing.assert_allclose(layers.to_complex(guess(tf.constant(empty))), 1, atol=1e-4)
    obj = np.ones((1, 64, 64), np.complex64)
    obj[0, 28:31, 36:42] = 0.4
    found = np.abs(layers.to_complex(guess(tf.constant(diffraction.amplitude(obj, probe)))).numpy())[0]
    inside = np.zeros((64, 64), bool)
    inside[28:31, 36:42] = True
    bright = np.abs(probe) > 0.5 * np.abs(probe).max()
    assert found[inside].mean() < found[bright & ~inside].mean() - 0.2


def group_of_four(probe, size=32):
    """Return amplitudes, positions and true patches of four overlapping patterns, and their guess's error."""
    obj = smooth_object(3 * size // 2)
    texture = gaussian_filter(np.random.default_rng(15).uniform(0, 1, obj.shape), 1.5)
    obj = (obj * (0.5 + texture)).astype(np.complex64)
    positions = np.array([[24.0, 24.0], [21.3, 29.5], [28.6, 26.2], [26.4, 19.7]])
    patches = diffraction.extract_patches(obj, positions, size)
    light = np.abs(probe) ** 2

    def error(guess):
        guess = layers.to_complex(guess).numpy()[0]
        product = (light * patches * guess.conj()).sum(axis=(1, 2), keepdims=True)
        turned = guess * product / (light * np.abs(guess) ** 2).sum(axis=(1, 2), keepdims=True)
        return float((light * np.abs(turned - patches)).sum() / (light * np.abs(patches)).sum())

    measured = tf.constant(diffraction.amplitude(patches, probe)[None])
    return measured, tf.constant(positions[None], tf.float32), error


def test_patterns_of_a_group_help_each_other_where_one_alone_is_ambiguous():
    """Under a flat, symmetric probe an object and its twin give the same pattern; overlap decides."""
    probe = flat_probe(32)
    measured, positions, error = group_of_four(probe)
    guess = FirstGuess(32, probe, iterations=20)
    assert error(guess(measured, positions)) < 0.4 * error(guess(measured))


def test_exchanged_axes_or_signs_of_the_positions_spoil_the_guess():
    probe = flat_probe(32)
    measured, positions, error = group_of_four(probe)
    guess = FirstGuess(32, probe, iterations=20)
    right = error(guess(measured, positions))
    for wrong in (-positions, positions[..., ::-1], positions * [1.0, -1.0], positions * [-1.0, 1.0]):
        assert error(guess(measured, wrong)) > 2 * right


def test_the_guess_of_a_group_does_not_depend_on_its_frame():
    probe = curved_probe(32)
    measured, positions, _ = group_of_four(probe)
    guess = FirstGuess(32, probe, iterations=5)
    expected = guess(measured, positions).numpy()
    np.testing.assert_allclose(guess(measured, positions + 100.0), expected, atol=2e-3)
    np.testing.assert_allclose(guess(measured, positions, fixed_shape=True), expected, atol=2e-3)


def test_patterns_too_far_apart_to_overlap_do_not_touch_each_other():
    probe = curved_probe(32)
    measured, positions, _ = group_of_four(probe)
    guess = FirstGuess(32, probe, iterations=3)
    far = positions + np.array([[0, 0], [0, 0], [0, 0], [500, 0]], np.float32)
    before = guess(measured, far).numpy()
    changed = measured * np.array([1, 1, 1, 0.5], np.float32)[:, None, None]
    after = guess(changed, far).numpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-5)
    assert np.abs(after[:, 3] - before[:, 3]).max() > 0.1
    together = guess(changed, positions).numpy()
    assert np.abs(together[:, 0] - guess(measured, positions).numpy()[:, 0]).max() > 1e-2


def test_a_lone_pattern_needs_no_position():
    guess = FirstGuess(32, curved_probe(32), iterations=3)
    measured, positions, _ = group_of_four(curved_probe(32))
    alone = measured[:, :1]
    np.testing.assert_array_equal(guess(alone, positions[:, :1]), guess(alone))


def test_no_iterations_return_the_starting_object():
    guess = FirstGuess(32, curved_probe(32), iterations=0)(tf.ones((1, 2, 32, 32)))
    assert guess.shape == (1, 2, 32, 32, 2)
    np.testing.assert_array_equal(layers.to_complex(guess), 1)


def test_a_dark_pattern_gives_a_finite_guess():
    guess = FirstGuess(32, curved_probe(32))(tf.zeros((1, 32, 32)))
    assert np.isfinite(guess.numpy()).all()


def light_weighted_error(guess, obj, probe):
    """Return the mean error where the light is, up to one phase, relative to the object."""
    light, found = probes.total_intensity(probe), layers.to_complex(guess).numpy()
    product = (light * obj * found.conj()).sum()
    return float((light * np.abs(found * product / abs(product) - obj)).sum() / (light * np.abs(obj)).sum())


def test_all_modes_explain_the_patterns_of_partially_coherent_light_and_one_does_not():
    modes, obj = partially_coherent(64, (0.6, 0.4)), smooth_object(64)[None]
    measured = tf.constant(diffraction.amplitude(obj, modes))
    alone = modes[:1] * np.float32(np.sqrt(1 / 0.6))
    errors = [light_weighted_error(FirstGuess(64, probe)(measured), obj, modes) for probe in (modes, alone)]
    assert errors[0] < 0.5 * errors[1]


def test_one_mode_is_what_a_probe_without_modes_is():
    probe, measured = curved_probe(64), tf.constant(diffraction.amplitude(smooth_object(64)[None], curved_probe(64)))
    np.testing.assert_array_equal(FirstGuess(64, probe)(measured), FirstGuess(64, probe[None])(measured))


@pytest.mark.parametrize("make_probe", [curved_probe, partially_coherent])
def test_pixels_that_were_not_measured_are_left_to_the_object(make_probe):
    """Six columns near the centre are missing; taken as dark they would spoil the guess."""
    probe, obj = make_probe(64), smooth_object(64)[None]
    measured = diffraction.amplitude(obj, probe)
    errors = {}
    for value in (-1, 0):
        seen = measured.copy()
        seen[..., 34:40] = value
        errors[value] = light_weighted_error(FirstGuess(64, probe)(tf.constant(seen)), obj, probe)
    assert errors[-1] < 0.6 * errors[0]


@pytest.mark.parametrize(
    ("iterations", "photons_px", "expected"),
    [
        (20, None, 20),  # unknown
        (20, 400, 20),
        (20, 1e6, 20),
        (20, 100, 10),
        (20, 16, 4),
        (20, 1e-3, 2),
        (60, 100, 30),
        (2, 1, 2),
        (0, 1, 0),
    ],
)
def test_fewer_iterations_are_made_where_the_dose_is_low(iterations, photons_px, expected):
    assert iterations_at(iterations, photons_px) == expected
    layer = FirstGuess(64, wide_probe(64), iterations=iterations)
    assert layer.schedule(together=False, photons_px=photons_px) == (0, expected)
    unmoved = FirstGuess(64, wide_probe(64), iterations=iterations, by_dose=False)
    assert unmoved.schedule(together=False, photons_px=photons_px) == (0, iterations)


def test_dose_is_counted_on_the_pixels_that_the_probe_illuminates(small_dataset):
    lit = np.zeros((32, 32), np.complex64)
    lit[10:20, 8:16] = 3j
    assert photons_per_pixel(replace(small_dataset, probe=lit, photons_per_pattern=4000.0)) == pytest.approx(50)
    assert photons_per_pixel(replace(small_dataset, photons_per_pattern=None)) is None


def test_a_regularised_guess_of_noisy_patterns_is_nearer_to_the_object():
    data = simulate_small(40, seed=3, photons=3e3)
    true = central_half(data.object_patches())
    errors = []
    for by_dose in (True, False):
        config = NetworkConfig(first_guess_by_dose=by_dose)
        found = predict_untrained(config, data).patches
        scale = (found.conj() * true).sum(axis=(1, 2)) / (np.abs(found) ** 2).sum(axis=(1, 2))  # of each patch
        errors.append(np.linalg.norm(scale[:, None, None] * found - true) / np.linalg.norm(true))
    assert errors[0] < 0.95 * errors[1]


def test_a_saved_guess_keeps_the_dose_of_its_training():
    layer = FirstGuess(32, curved_probe(32), iterations=20, by_dose=False, photons_px=30.0)
    again = FirstGuess.from_config(layer.get_config())
    assert (again.by_dose, again.photons_px) == (False, 30.0)
