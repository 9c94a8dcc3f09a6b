"""The slow drift of a stitched phase: found from the patterns, corrected only as far as they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import materialise
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.evaluation.phase_drift import _buffered_folds, missing_slopes, phase_drift_correction
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.physics import diffraction, objects, probes
from tests.conftest import simulate_small


@pytest.fixture(scope="module")
def scan():
    """Enough patterns to cover a part of the object that is larger than one of them."""
    return simulate_small(150, seed=5, photons=None)


@pytest.fixture(scope="module")
def known(scan):
    """Where some patch lies."""
    ones = np.ones((len(scan), 32, 32), np.float32)
    return diffraction.add_patches(ones, scan.positions_px, scan.obj.shape) > 0


@pytest.fixture(scope="module")
def seen(scan):
    """Where the light is: pixels that a reconstruction would be judged by."""
    light = np.broadcast_to(np.abs(scan.probe) ** 2, (len(scan), 32, 32))
    total = diffraction.add_patches(light, scan.positions_px, scan.obj.shape)
    return total > 0.2 * total.max()


def drift(shape, size=0.3):
    """Return a smooth phase without symmetry, another along rows than along columns, rad."""
    row, column = np.indices(shape) / np.array(shape)[:, None, None]
    return (size * (np.sin(5 * row + column) + 1.5 * np.cos(3 * column) * row)).astype(np.float32)


def roughness(phase, where):
    """Return the standard deviation of a phase without its plane, which no metric sees."""
    row, column = np.nonzero(where)
    basis = np.stack([np.ones_like(row), row, column], axis=1).astype(float)
    values = phase[where].astype(float)
    return np.std(values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0])


def phase_mae(result):
    rows = result.compare(max_shift_px=2.0).query("alignment == 'aligned' and component == 'phase'")
    return rows.set_index("metric")["value"]["mae"]


def test_a_drift_is_found_with_its_sign_on_both_axes(scan, known, seen):
    wrong = drift(scan.obj.shape)
    found = phase_drift_correction(scan.obj * np.exp(1j * wrong), known, scan)
    assert roughness(wrong, seen) > 0.04
    assert roughness(found + wrong, seen) < 0.15 * roughness(wrong, seen)


def test_an_object_without_drift_stays_as_it_is(scan, known, seen):
    assert roughness(phase_drift_correction(scan.obj, known, scan), seen) < 1e-3


@given(down=st.floats(-0.05, 0.05), right=st.floats(-0.05, 0.05), scale=st.floats(0.1, 10))
@settings(max_examples=50, deadline=None)
def test_a_slope_is_read_from_the_shift_of_its_pattern(scan, down, right, scale):
    waves = diffraction.extract_patches(scan.obj, scan.positions_px[:8], 32) * scan.probe
    row, column = np.indices((32, 32)) - 16
    tilted = waves * np.exp(1j * (down * row + right * column))
    measured = scale * np.abs(diffraction.far_field(tilted))
    slopes = missing_slopes(waves.astype(np.complex64), measured)
    # One Gauss-Newton step is exact to first order: what is left grows with the square of the slope.
    assert np.abs(slopes - [down, right]).max() < 3 * (down**2 + right**2) + 2e-5


def test_errors_of_fine_structure_are_not_taken_for_a_drift(scan, known, seen):
    """A blurred object explains its patterns badly everywhere; that must not tilt it."""
    blurred = gaussian_filter(scan.obj.real, 1.0) + 1j * gaussian_filter(scan.obj.imag, 1.0)
    found = phase_drift_correction(blurred, known, scan)
    error = np.angle(blurred * scan.obj.conj())
    assert np.abs(error + found)[seen].mean() < 1.03 * np.abs(error)[seen].mean()


def test_patterns_that_contradict_each_other_are_not_believed(scan, known):
    """Random shifts of the patterns by ±1 pixel are no drift: nearly nothing may be made of them."""
    rng = np.random.default_rng(0)
    shifted = np.array([np.roll(each, rng.integers(-1, 2, 2), (0, 1)) for each in scan.diffraction])
    found = phase_drift_correction(scan.obj, known, replace(scan, diffraction=shifted))
    believed = np.std(missing_slopes(waves_of(scan), shifted)) * 32
    assert np.std(found[known]) < 0.1 * believed


def waves_of(scan):
    return diffraction.extract_patches(scan.obj, scan.positions_px, 32) * scan.probe


def test_a_slope_of_all_patterns_is_the_centre_of_the_detector(scan, known, seen):
    row, column = np.indices((32, 32)) - 16
    tilted = waves_of(scan) * np.exp(1j * (0.03 * row - 0.02 * column))
    moved = replace(scan, diffraction=np.abs(diffraction.far_field(tilted)).astype(np.float32))
    assert roughness(phase_drift_correction(scan.obj, known, moved), seen) < 0.003


@pytest.mark.parametrize("damage", ["nothing known", "not finite", "dark object", "dark patterns", "few"])
def test_without_ground_nothing_is_changed(scan, known, damage):
    obj, where, data = scan.obj * np.exp(1j * drift(scan.obj.shape)), known, scan
    if damage == "nothing known":
        where = np.zeros_like(known)
    elif damage == "not finite":
        obj = np.where(known, np.nan, obj)
    elif damage == "dark object":
        obj = np.zeros_like(obj)
    elif damage == "dark patterns":
        data = replace(scan, diffraction=np.zeros_like(scan.diffraction))
    else:
        data = scan.select(np.arange(9))
    found = phase_drift_correction(obj, where, data)
    assert found.shape == obj.shape
    assert not found.any()


def test_patterns_with_light_outside_the_known_region_do_not_count(scan, known):
    """Their shift is not the slope of what is known: only the left half is, and it must stay level."""
    left = known.copy()
    left[:, known.shape[1] // 2 :] = False
    found = phase_drift_correction(np.where(left, scan.obj, 0), left, scan)
    assert np.std(found[left]) < 0.02


def test_the_drift_of_a_reconstruction_is_corrected_on_request(scan):
    wrong = (scan.obj * np.exp(1j * drift(scan.obj.shape))).astype(np.complex64)
    patches = diffraction.extract_patches(wrong, scan.positions_px, 32)[:, 8:24, 8:24]
    how = {"min_illumination": 0.2, "synchronise": False}
    plain, corrected = (
        reconstruct(patches, scan.positions_px, scan, correct_drift=choice, **how) for choice in (False, True)
    )

    assert phase_mae(corrected) < 0.3 * phase_mae(plain)
    np.testing.assert_allclose(np.abs(corrected.obj), np.abs(plain.obj), rtol=1e-5)
    np.testing.assert_array_equal(corrected.mask, plain.mask)
    assert corrected.residual[plain.mask].mean() < plain.residual[plain.mask].mean()


def textures(size, photons):
    """A texture under a curved probe, 0.44 patterns wide, as in benchmarks/networks.py."""
    rng = np.random.default_rng(2)
    edge, share = 7 * size // 2, 64 / size

    def texture():
        lines = objects.lines((edge, edge), rng)
        return objects.stretch(lines + 0.7 * objects.gaussian_random_field((edge, edge), rng))

    obj = objects.transmission(texture(), texture(), amplitude=(0.3, 1.0), phase_rad=(-0.5, 0.5))
    rows, columns = np.mgrid[:size, :size] - size // 2
    probe = probes.disc(size, 28 / share, smoothing_px=2 / share)
    probe = probe * np.exp(0.012j * share**2 * (rows**2 + columns**2))
    positions = rng.uniform(size // 2, edge - size // 2 - 1, (512 if size == 64 else 350, 2))
    detector = Detector(photons_per_pattern=photons)
    return materialise(simulate_dataset(obj, probe.astype(np.complex64), positions, detector=detector, seed=2))


SLOW = [pytest.param(32, photons, marks=pytest.mark.slow) for photons in (1e3, 1e5)]


# With 64 px and 1e3 photons 0.105 rad became 0.113 before there was a buffer between the folds.
@pytest.mark.parametrize(("size", "photons"), [(64, 1e3), (32, 1e4), (32, 1e6), *SLOW])
def test_no_dose_makes_the_correction_do_harm(size, photons):
    """Neighbours share the errors of a noisy object; that must not pass for a drift."""
    from ptycho_lib.networks.models import build_untrained
    from ptycho_lib.networks.prediction import predict_patches

    data = textures(size, photons)
    seen = predict_patches(build_untrained(NetworkConfig(), data), data)
    parts = (seen.patches, seen.positions_px, data)
    how = {"min_illumination": 0.1, "synchronise": True}
    plain, corrected = (phase_mae(reconstruct(*parts, correct_drift=choice, **how)) for choice in (False, True))
    assert corrected < 1.01 * plain
    if photons >= 1e5:
        assert corrected < 0.95 * plain


@pytest.mark.parametrize("diameter", [5.0, 14.0, 40.0])
def test_a_cell_is_predicted_from_patterns_that_share_no_light_with_it(scan, diameter):
    folds = _buffered_folds(scan.positions_px, 32, diameter)
    assert np.sum([fold.predicted for fold in folds], axis=0).tolist() == [1] * len(scan)
    for fold in folds:
        used = scan.positions_px[~fold.excluded]
        if len(used):
            apart = np.linalg.norm(used[:, None] - scan.positions_px[fold.predicted], axis=-1)
            assert apart.min() > diameter
    if diameter < 10:
        assert np.mean([fold.excluded for fold in folds]) < 0.7


def test_pixels_that_were_not_measured_tell_nothing(scan, known, seen):
    wrong = drift(scan.obj.shape)
    mask = np.ones((32, 32), bool)
    mask[:, 20] = mask[3:9, 12:18] = False
    garbage = np.where(mask, scan.diffraction, 1e3).astype(np.float32)
    found = phase_drift_correction(scan.obj * np.exp(1j * wrong), known, replace(scan, diffraction=garbage, mask=mask))
    assert roughness(found + wrong, seen) < 0.2 * roughness(wrong, seen)


def test_all_modes_of_the_probe_explain_the_patterns(scan, known, seen):
    tilted = scan.probe * np.exp(1j * np.indices((32, 32))[0] * 0.3) * np.linspace(-1, 1, 32)
    modes = np.stack([0.6 * tilted / np.linalg.norm(tilted) * np.linalg.norm(scan.probe), scan.probe])
    data = replace(
        scan,
        probe=modes.astype(np.complex64),
        diffraction=diffraction.diffract(scan.obj, modes.astype(np.complex64), scan.positions_px),
    )
    wrong = drift(scan.obj.shape)
    found = phase_drift_correction(scan.obj * np.exp(1j * wrong), known, data)
    assert roughness(found + wrong, seen) < 0.15 * roughness(wrong, seen)
    single = phase_drift_correction(scan.obj * np.exp(1j * wrong), known, replace(data, probe=scan.probe))
    assert roughness(single + wrong, seen) > 2 * roughness(found + wrong, seen)
