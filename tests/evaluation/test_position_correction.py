"""Positions are corrected by the measured patterns: known errors are found, right positions stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.evaluation.position_correction import corrected_positions, missing_shifts
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.physics import diffraction
from ptycho_lib.physics.probes import incoherent_modes
from tests.conftest import simulate_small

HOW = {"min_illumination": 0.1, "synchronise": False, "correct_drift": False}


@pytest.fixture(scope="module", params=[1, 2], ids=["one mode", "two modes"])
def scan(request):
    """A scan of noise-free patterns."""
    data = simulate_small(60, seed=3, photons=None)
    if request.param == 1:
        return data
    modes = incoherent_modes(data.probe, [0.7, 0.3]).astype(np.complex64)
    return replace(data, probe=modes, diffraction=diffraction.diffract(data.obj, modes, data.positions_px))


def told_wrongly(scan, sigma_px, seed=0):
    """Return the scan as told with errors of its positions, and the errors; the patterns stay."""
    size, shape = scan.patch_size, np.asarray(scan.obj.shape)
    error = np.random.default_rng(seed).normal(0, sigma_px, scan.positions_px.shape)
    wrong = np.clip(scan.positions_px + error, size / 2, shape - size / 2)
    return replace(scan, positions_px=wrong), wrong - scan.positions_px


def test_a_small_shift_of_the_illumination_is_found(scan):
    shift = np.array([0.06, -0.04])
    inner = scan.positions_px[20:24]
    measured = 3.7 * diffraction.diffract(scan.obj, scan.probe, inner + shift)
    (_, waves), *_ = diffraction.exit_waves(scan.obj, scan.probe, inner)
    step = 0.01
    moved = []
    for axis in np.eye(2):
        ends = [next(diffraction.exit_waves(scan.obj, scan.probe, inner + sign * step * axis))[1] for sign in (1, -1)]
        moved.append((ends[0] - ends[1]) / (2 * step))
    found, misfit = missing_shifts(waves, np.stack(moved, axis=1), measured)
    np.testing.assert_allclose(found, np.broadcast_to(shift, found.shape), atol=0.01)
    assert np.all(misfit > 0)


@pytest.mark.parametrize("sigma_px", [0.3, 1.0])
def test_errors_are_found_with_the_true_object(scan, sigma_px):
    told, error = told_wrongly(scan, sigma_px)
    everywhere = np.ones(scan.obj.shape, bool)
    found = corrected_positions(lambda _: (scan.obj, everywhere), told, steps=8) - scan.positions_px
    common = found.mean(axis=0)  # not observable
    assert np.abs(found - common).max() < 0.05
    assert np.std(error) > 0.2


def test_masked_pixels_do_not_count(scan):
    told, _ = told_wrongly(scan, 0.5)
    mask = np.ones((32, 32), bool)
    mask[:, :9] = mask[20, 20] = False
    broken = scan.diffraction.copy()
    broken[:, ~mask] = 1e3
    told = replace(told, diffraction=broken, mask=mask)
    found = corrected_positions(lambda _: (scan.obj, np.ones(scan.obj.shape, bool)), told, steps=8)
    found -= scan.positions_px
    assert np.abs(found - found.mean(axis=0)).max() < 0.05


def test_right_positions_stay(scan):
    everywhere = np.ones(scan.obj.shape, bool)
    found = corrected_positions(lambda _: (scan.obj, everywhere), scan, steps=4)
    np.testing.assert_allclose(found, scan.positions_px, atol=1e-3)


def test_no_step_or_nothing_known_changes_nothing(scan):
    told, _ = told_wrongly(scan, 0.5)
    everywhere, nowhere = (np.full(scan.obj.shape, value) for value in (True, False))
    for known, steps in ((everywhere, 0), (nowhere, 3)):
        found = corrected_positions(lambda _, known=known: (scan.obj, known), told, steps)
        np.testing.assert_array_equal(found, told.positions_px)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_stitched_object_becomes_sharper(copies, scan):
    """True patches at wrong places: what a perfect network would give; with groups, several of each pattern."""
    told, _ = told_wrongly(scan, 1.0)
    order = np.tile(np.arange(len(scan)), copies)
    patches = scan.object_patches(order)
    errors, masks = [], []
    for steps in (0, 6):
        result = reconstruct(patches, told.positions_px[order], told, position_steps=steps, **HOW)
        aligned = result.align().aligned
        errors.append(np.abs(aligned - scan.obj)[result.mask].mean())
        masks.append(result.mask)
    assert errors[1] < 0.4 * errors[0]
    np.testing.assert_array_equal(*masks)  # the same pixels are compared
