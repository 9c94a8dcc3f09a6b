"""From patches to a reconstruction: the object, the pixels compared, and the maps of uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.evaluation.comparison import comparison_mask
from ptycho_lib.evaluation.reconstruction import reconstruct, residual_map
from ptycho_lib.physics import diffraction
from ptycho_lib.resource_usage import Usage
from tests.conftest import simulate_small

HOW = {"min_illumination": 0.1, "synchronise": False, "correct_drift": False}


@pytest.fixture(scope="module")
def data():
    """A noise-free scan at whole pixels: patches cut from the object are exact."""
    scan = simulate_small(60, seed=3, photons=None)
    positions = np.rint(scan.positions_px)
    patches = diffraction.extract_patches(scan.obj, positions, 32)
    return replace(
        scan,
        positions_px=positions,
        diffraction=diffraction.amplitude(patches, scan.probe),
        pixel_size_m=5e-8,
    )


def central(data, obj=None):
    patches = diffraction.extract_patches(data.obj if obj is None else obj, data.positions_px, 32)
    return patches[:, 8:24, 8:24]


@pytest.fixture(scope="module")
def exact(data):
    return reconstruct(central(data), data.positions_px, data, **HOW)


def test_what_it_took_is_prediction_and_stitching(data, exact):
    assert exact.usage.seconds > 0
    predicted = Usage(1000.0, 10**15, True)
    both = reconstruct(central(data), data.positions_px, data, predicted=predicted, **HOW).usage
    assert both.seconds > 1000
    assert both.peak_memory_bytes == 10**15


def damaged(obj, place, size=6):
    """Return the object with the phase turned in a small square."""
    wrong = obj.copy()
    row, column = place
    wrong[row - size // 2 : row + size // 2, column - size // 2 : column + size // 2] *= np.exp(1.5j)
    return wrong


@pytest.mark.parametrize("size", [16, 24, 32])
def test_patches_of_an_object_of_any_central_size_come_back_as_the_object(data, size):
    border = (32 - size) // 2
    whole = diffraction.extract_patches(data.obj, data.positions_px, 32)
    result = reconstruct(whole[:, border : 32 - border, border : 32 - border], data.positions_px, data, **HOW)
    assert result.obj.dtype == np.complex64
    np.testing.assert_allclose(result.obj[result.mask], data.obj[result.mask], atol=1e-5)
    assert result.spread[result.mask].max() < 2e-3
    assert result.truth is data.obj
    assert result.pixel_size_m == 5e-8


def test_nothing_is_invented_where_no_patch_lies(data, exact):
    reached = np.zeros(data.obj.shape, bool)
    for row, column in data.positions_px.astype(int):
        reached[row - 8 : row + 8, column - 8 : column + 8] = True
    np.testing.assert_array_equal(exact.obj != 0, reached)


def test_phases_of_patches_are_synchronised_on_request(data):
    turned = central(data) * np.exp(1j * np.random.default_rng(0).normal(0, 0.8, 60))[:, None, None]
    plain, synchronised = (
        reconstruct(turned, data.positions_px, data, **(HOW | {"synchronise": choice})) for choice in (False, True)
    )

    def error(result):
        return np.abs(result.align(max_shift_px=2).aligned - data.obj)[result.mask].mean()

    assert error(synchronised) < 0.3 * error(plain)
    assert synchronised.spread[plain.mask].mean() < 0.3 * plain.spread[plain.mask].mean()


def test_pixels_compared_are_those_of_the_test_scan_alone(data, exact):
    expected = comparison_mask(data.positions_px, data.probe, data.obj.shape, coverage=None, min_illumination=0.1)
    np.testing.assert_array_equal(exact.mask, expected)
    other = reconstruct(np.zeros_like(central(data)), data.positions_px, data, **HOW)
    np.testing.assert_array_equal(other.mask, expected)
    coverage = np.zeros(data.obj.shape, bool)
    coverage[:30] = True
    covered = reconstruct(central(data), data.positions_px, replace(data, coverage=coverage), **HOW)
    np.testing.assert_array_equal(covered.mask, expected & coverage)
    strict = reconstruct(central(data), data.positions_px, data, **(HOW | {"min_illumination": 0.9}))
    assert 0 < strict.mask.sum() < expected.sum()


def test_bright_and_inner_parts_of_a_patch_count_more(data):
    """Where a bright inner pixel of one patch meets a dim outer one of another, the first decides."""
    centre = np.rint(data.positions_px.mean(axis=0))
    positions = np.array([centre, centre + np.array([0, 7])])
    patches = np.stack([np.full((16, 16), 1), np.full((16, 16), 3)]).astype(np.complex64)
    result = reconstruct(patches, positions, data, **HOW)
    row, column = centre.astype(int)
    across = result.obj[row, column - 1 : column + 8].real  # from the edge of the second to that of the first
    assert np.all(np.diff(across) > 0)
    assert across[0] < 1.1
    assert across[-1] > 2.9
    uneven = replace(data, probe=data.probe * np.where(np.arange(32) < 16, 10, 1).astype(np.complex64))
    favoured = reconstruct(patches, positions, uneven, **HOW).obj[row, column + 2].real
    assert favoured > across[3] + 0.3  # bright in the second patch, dim in the first


def test_the_residual_of_the_truth_is_zero(data):
    everywhere = np.ones(data.obj.shape, bool)
    residual = residual_map(data.obj, everywhere, data)
    lit = np.isfinite(residual)
    assert lit.any()
    assert residual[lit].max() < 1e-5
    assert np.isnan(residual[0, 0])  # no light there, nothing to say


@pytest.mark.parametrize("factor", [0.01, 3 * np.exp(2j)])
def test_the_residual_ignores_what_patterns_cannot_tell(data, factor):
    """One common scale and the global phase."""
    residual = residual_map(data.obj * np.complex64(factor), np.ones(data.obj.shape, bool), data)
    assert np.nanmax(residual) < 1e-4


@pytest.mark.parametrize("side", ["upper left", "lower right"])
def test_the_residual_is_higher_where_the_object_is_wrong(data, side):
    low, high = data.positions_px.min(axis=0), data.positions_px.max(axis=0)
    share = 0.25 if side == "upper left" else 0.75
    place = np.rint(low + share * (high - low)).astype(int)
    opposite = np.rint(low + (1 - share) * (high - low)).astype(int)
    residual = residual_map(damaged(data.obj, place), np.ones(data.obj.shape, bool), data)
    assert residual[tuple(place)] > 3 * residual[tuple(opposite)]
    peak = np.unravel_index(np.nanargmax(residual), residual.shape)
    assert np.linalg.norm(peak - place) < 12


def test_the_residual_is_the_misfit_that_its_documentation_defines(data):
    """Σ|x − Â| / Σx of each pattern, averaged with the illumination."""
    few = data.select(np.arange(7))
    wrong = (data.obj * (1 + 0.2 * np.random.default_rng(1).standard_normal(data.obj.shape))).astype(np.complex64)
    predicted = diffraction.amplitude(diffraction.extract_patches(wrong, few.positions_px, 32), few.probe)
    scale = np.sum(few.diffraction * predicted) / np.sum(predicted**2)
    misfit = np.abs(few.diffraction - scale * predicted).sum(axis=(1, 2)) / few.diffraction.sum(axis=(1, 2))
    light, mean = np.zeros(data.obj.shape), np.zeros(data.obj.shape)
    for (row, column), value in zip(few.positions_px.astype(int), misfit, strict=True):
        window = np.s_[row - 16 : row + 16, column - 16 : column + 16]
        light[window] += np.abs(few.probe) ** 2
        mean[window] += np.abs(few.probe) ** 2 * value
    residual = residual_map(wrong, np.ones(data.obj.shape, bool), few)
    bright = light > 0.01 * light.max()
    np.testing.assert_allclose(residual[bright], (mean / np.where(bright, light, 1))[bright], rtol=1e-3)


def test_unknown_pixels_are_filled_with_the_mean_and_an_empty_object_has_no_residual(data):
    known = np.zeros(data.obj.shape, bool)
    known[20:-20, 20:-20] = True
    garbage = np.where(known, data.obj, np.complex64(np.nan))
    filled = np.where(known, data.obj, data.obj[known].mean())
    everywhere = np.ones_like(known)
    np.testing.assert_array_equal(
        residual_map(garbage, known, data), residual_map(filled.astype(np.complex64), everywhere, data)
    )
    assert np.isnan(residual_map(data.obj, ~everywhere, data)).all()


def test_a_reconstruction_holds_the_residual_of_its_object(data, exact):
    expected = residual_map(exact.obj, exact.obj != 0, data)
    np.testing.assert_array_equal(exact.residual, expected)


def test_the_saved_file_holds_object_mask_spread_and_residual(exact, tmp_path):
    path = exact.save(tmp_path / "reconstruction.npz")
    assert path == tmp_path / "reconstruction.npz"
    with np.load(path, allow_pickle=False) as saved:
        assert set(saved) == {"object", "mask", "spread", "residual"}
        np.testing.assert_array_equal(saved["object"], exact.obj)
        np.testing.assert_array_equal(saved["mask"], exact.mask)
        np.testing.assert_array_equal(saved["spread"], exact.spread)
        np.testing.assert_array_equal(saved["residual"], exact.residual)
        kinds = {name: saved[name].dtype.name for name in saved}
    assert kinds == {"object": "complex64", "mask": "bool", "spread": "float32", "residual": "float32"}


def test_the_truth_compares_as_perfect_and_a_damaged_object_does_not(data, exact):
    def score(result, metric):
        table = result.compare(max_shift_px=2)
        return table.query("metric == @metric and component == 'phase' and alignment == 'aligned'")["value"].item()

    assert score(exact, "mae") < 1e-3
    assert score(exact, "ssim") > 0.999
    place = np.rint(data.positions_px.mean(axis=0)).astype(int)
    wrong = reconstruct(central(data, damaged(data.obj, place)), data.positions_px, data, **HOW)
    assert score(wrong, "mae") > 10 * score(exact, "mae")
    assert score(wrong, "ssim") < 0.99


def test_a_streamed_dataset_gives_the_same_residual(data, tmp_path):
    from ptycho_lib.data.dataset import load_dataset, save_dataset

    on_disk = load_dataset(save_dataset(data, tmp_path / "scan.npz"))
    everywhere = np.ones(data.obj.shape, bool)
    np.testing.assert_array_equal(residual_map(data.obj, everywhere, on_disk), residual_map(data.obj, everywhere, data))
