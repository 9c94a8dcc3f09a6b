"""Stitching: patches cut from an object return it, whatever their phases; the spread shows disagreement."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.evaluation.metrics import normalised_complex_error
from ptycho_lib.evaluation.phase_synchronisation import agreement, overlap_products, synchronise_phases
from ptycho_lib.evaluation.stitching import stitch
from ptycho_lib.physics.diffraction import extract_patches
from tests.evaluation.test_alignment import make_object, smooth

SHAPE = (110, 96)
SIZE = 24


@pytest.fixture(scope="module")
def obj():
    return make_object(0, shape=SHAPE).astype(np.complex64)


def scan(n, seed=0, shape=SHAPE, size=SIZE):
    low, high = size / 2, np.array(shape) - size / 2
    return np.random.default_rng(seed).uniform(low, high, (n, 2))


def turned(patches, phases):
    return (patches * np.exp(1j * np.asarray(phases))[:, None, None]).astype(np.complex64)


def noise(level, n):
    parts = np.random.default_rng(2).normal(0, level, (2, n, SIZE, SIZE)).astype(np.float32)
    return parts[0] + 1j * parts[1]


def wrapped(angle):
    return np.angle(np.exp(1j * angle))


def test_whole_pixel_patches_return_their_object(obj):
    positions = np.rint(scan(150))
    patches = extract_patches(obj, positions, SIZE)
    result = stitch(patches, positions, SHAPE, synchronise=False)
    known = result.weight > 0
    assert known.mean() > 0.9
    assert result.obj[known] == pytest.approx(obj[known], abs=1e-5)
    assert result.spread.max() < 1e-3
    assert not result.obj[~known].any()
    assert not result.phases.any()


def test_sub_pixel_patches_return_a_linear_object_exactly_and_any_object_nearly():
    rows, columns = np.indices(SHAPE)
    plane = (0.01 * rows + 0.02j * columns).astype(np.complex64)
    positions = scan(300)
    inner = np.s_[20:-20, 20:-20]
    result = stitch(extract_patches(plane, positions, SIZE), positions, SHAPE, synchronise=False)
    assert np.abs(result.obj - plane)[inner].max() < 0.01  # a third of a pixel
    obj = make_object(0, shape=SHAPE)
    result = stitch(extract_patches(obj, positions, SIZE), positions, SHAPE, synchronise=False)
    inside = np.zeros(SHAPE, bool)
    inside[inner] = True
    assert normalised_complex_error(obj, result.obj, mask=inside).value < 2e-3


def test_neither_axis_nor_sign_is_exchanged():
    patch = np.zeros((1, 8, 8), np.complex64)
    patch[0, 1, 6] = 1
    result = stitch(patch, np.array([[10.0, 20.0]]), (30, 40), synchronise=False)
    assert np.argwhere(result.obj).tolist() == [[10 - 4 + 1, 20 - 4 + 6]]


@pytest.mark.parametrize("spread_rad", [0.4, 20.0])
def test_synchronisation_recovers_the_phases(obj, spread_rad):
    positions = scan(200)
    phases = np.random.default_rng(1).normal(0, spread_rad, len(positions))
    patches = turned(extract_patches(obj, positions, SIZE), phases) + noise(0.2, len(positions))
    result = stitch(patches, positions, SHAPE)
    error = wrapped(result.phases + phases)
    error = wrapped(error - np.angle(np.exp(1j * error).mean()))
    assert error.std() < 0.06
    inside = result.weight > 0
    unsynchronised = stitch(patches, positions, SHAPE, synchronise=False)
    error = normalised_complex_error(obj, result.obj, mask=inside).value
    assert error < 0.5 * normalised_complex_error(obj, unsynchronised.obj, mask=inside).value
    assert result.spread[inside].mean() < unsynchronised.spread[inside].mean()


def test_patches_that_agree_are_left_alone(obj):
    positions = scan(150)
    patches = extract_patches(obj, positions, SIZE) + noise(0.5, 150)
    assert np.abs(synchronise_phases(patches, positions)).max() < 0.05


def test_independent_errors_do_not_drift_across_a_long_scan():
    """A chain of little overlap, patches with smooth phase errors: the case where trust in pairs drifts."""
    shape, size = (48, 640), 32
    obj = make_object(5, shape=shape)
    positions = np.array([[24.0, column] for column in np.arange(20, 620, 20)])
    errors = np.stack([0.4 * smooth(100 + k, 6, (size, size)) for k in range(len(positions))])
    patches = extract_patches(obj, positions, size) * np.exp(1j * errors)
    result = stitch(patches.astype(np.complex64), positions, shape)
    known = result.weight > 0
    plain = stitch(patches.astype(np.complex64), positions, shape, synchronise=False)
    trusting = synchronise_phases(patches, positions, pull=1e-6)
    drifted = stitch(turned(patches, trusting), positions, shape, synchronise=False)
    images = (result, plain, drifted)
    found, before, bad = (normalised_complex_error(obj, image.obj, mask=known).value for image in images)
    assert found < 1.05 * before
    assert bad > 1.3 * before


@pytest.mark.parametrize("spread_rad", [0.0, 0.5])
def test_patches_that_are_wrong_in_shape_are_not_made_worse_by_trusting_them(obj, spread_rad):
    positions = scan(150)
    errors = np.stack([0.4 * smooth(500 + k, 5, (SIZE, SIZE)) for k in range(150)])
    phases = np.random.default_rng(0).normal(0, spread_rad, 150) if spread_rad else np.zeros(150)
    patches = turned(extract_patches(obj, positions, SIZE) * np.exp(1j * errors), phases)
    found, before = (stitch(patches, positions, SHAPE, synchronise=choice) for choice in (True, False))
    known = found.weight > 0
    after, plain = (normalised_complex_error(obj, image.obj, mask=known).value for image in (found, before))
    ratio = after / plain
    assert ratio < (1.02 if spread_rad == 0 else 0.8)


def test_the_gauge_changes_the_patches_least(obj):
    positions = scan(120)
    patches = turned(extract_patches(obj, positions, SIZE), np.random.default_rng(3).normal(0, 0.3, 120))
    phases = synchronise_phases(patches, positions)
    degree = np.asarray(abs(overlap_products(patches, positions)).sum(axis=1)).ravel()
    assert abs(np.angle(np.sum(degree * np.exp(1j * phases)))) < 0.02


@settings(max_examples=10, deadline=None)
@given(phase=st.floats(-3, 3), scale=st.floats(0.2, 5))
def test_a_common_factor_of_all_patches_passes_through(phase, scale):
    obj = make_object(0, shape=SHAPE).astype(np.complex64)
    positions = scan(60)
    patches = turned(extract_patches(obj, positions, SIZE), 0.3 * np.random.default_rng(0).normal(size=60))
    factor = np.complex64(scale * np.exp(1j * phase))
    plain, multiplied = stitch(patches, positions, SHAPE), stitch(factor * patches, positions, SHAPE)
    assert multiplied.obj == pytest.approx(factor * plain.obj, abs=2e-3 * scale)
    assert multiplied.phases == pytest.approx(plain.phases, abs=1e-3)


def test_separate_groups_of_patches_each_agree(obj):
    positions = np.concatenate([scan(40, 1, (40, 96)), scan(40, 2, (40, 96)) + np.array([70, 0])])
    phases = np.random.default_rng(0).uniform(-np.pi, np.pi, 80)
    patches = turned(extract_patches(obj, positions, SIZE), phases)
    found = synchronise_phases(patches, positions)
    for group in (np.s_[:40], np.s_[40:]):
        error = wrapped(found[group] + phases[group])
        assert wrapped(error - np.angle(np.exp(1j * error).mean())).std() < 0.1


def test_lone_and_broken_patches_are_not_turned(obj):
    far = np.array([[20.0, 20.0], [80.0, 70.0]])
    assert not synchronise_phases(extract_patches(obj, far, SIZE), far).any()
    positions = scan(10)
    patches = extract_patches(obj, positions, SIZE)
    patches[3, 5, 5] = np.nan
    assert not synchronise_phases(patches, positions).any()
    assert not synchronise_phases(np.zeros_like(patches), positions).any()


def test_the_spread_is_the_standard_deviation_of_the_patches():
    positions = np.full((4, 2), 10.0)
    patches = np.ones((4, 8, 8), np.complex64) * np.array([1, 2, 3, 6], np.complex64)[:, None, None]
    result = stitch(patches, positions, (20, 20), synchronise=False)
    assert result.obj[10, 10] == pytest.approx(3)
    assert result.spread[10, 10] == pytest.approx(np.std([1, 2, 3, 6]))
    assert result.weight[10, 10] == 4


def test_weights_favour_the_bright_centre():
    weights = np.zeros((8, 8), np.float32)
    weights[2:6, 2:6] = 3.0
    weights[0, 0] = 1.0
    patches = np.stack([np.full((8, 8), 1), np.full((8, 8), 5)]).astype(np.complex64)
    positions = np.array([[10.0, 10.0], [14.0, 14.0]])  # corner of the second lies on the centre of the first
    result = stitch(patches, positions, (30, 30), weights=weights, synchronise=False)
    assert result.obj[10, 10] == pytest.approx((3 * 1 + 1 * 5) / 4)
    assert result.weight[10, 10] == 4


def test_agreement_is_one_for_equal_and_low_for_random_phases(obj):
    positions = scan(100)
    patches = extract_patches(obj, positions, SIZE)
    overlap = overlap_products(patches, positions)
    assert np.abs(overlap - overlap.conj().T).max() < 1e-3
    assert agreement(overlap, np.zeros(100)) > 0.99
    assert abs(agreement(overlap, np.random.default_rng(0).uniform(-np.pi, np.pi, 100))) < 0.2


def test_stitching_is_linear_in_the_patches(obj):
    positions = scan(80)
    first = extract_patches(obj, positions, SIZE)
    second = turned(first[::-1], np.arange(80))
    weights = np.hypot(*(np.indices((SIZE, SIZE)) - 8)).astype(np.float32)

    def stitched(patches):
        return stitch(patches.astype(np.complex64), positions, SHAPE, weights=weights, synchronise=False).obj

    expected = 2 * stitched(first) - 3j * stitched(second)
    assert stitched(2 * first - 3j * second) == pytest.approx(expected, abs=1e-5)


def test_the_memory_of_stitching_does_not_grow_with_the_number_of_patches():
    """Beside the patches themselves: the canvas, and one block of patches."""

    def peak(count):
        patches = np.ones((count, 32, 32), np.complex64)
        positions = scan(count, size=32)
        tracemalloc.start()
        stitch(patches, positions, SHAPE, synchronise=False)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, patches.nbytes

    (small, _), (large, patches) = peak(512), peak(4096)
    assert large < 1.1 * small
    assert large < patches / 2


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((3, 3)), r"\(24, 24\)"),
        (np.zeros((24, 24)), "not all zero"),
        (-np.ones((24, 24)), "not negative"),
    ],
)
def test_unfit_weights_are_refused(obj, weights, message):
    positions = scan(3)
    with pytest.raises(ValueError, match=message):
        stitch(extract_patches(obj, positions, SIZE), positions, SHAPE, weights=weights)


def test_unfit_patches_and_positions_are_refused(obj):
    with pytest.raises(ValueError, match=r"positions_px \(n, 2\)"):
        stitch(np.ones((3, 8, 8), complex), np.ones((2, 2)), SHAPE)
    with pytest.raises(ValueError, match="outside"):
        stitch(np.ones((1, 8, 8), complex), np.array([[2.0, 2.0]]), SHAPE)
