"""From patches to a reconstruction: perfect patches give the truth, and the maps show where it is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import simulate_small

from ptycho_lib.evaluation.comparison import comparison_mask
from ptycho_lib.evaluation.reconstruction import reconstruct, residual_map
from ptycho_lib.physics.diffraction import extract_patches
from ptycho_lib.tidy import COLLAPSE_CONTRAST


@pytest.fixture(scope="module")
def dataset():
    return simulate_small(60, seed=3)


def rebuild(patches, dataset, *, synchronise=True):
    positions = dataset.positions_px
    return reconstruct(patches, positions, dataset, min_illumination=0.1, synchronise=synchronise)


def centres(dataset, obj=None):
    size = dataset.patch_size // 2
    return extract_patches(dataset.obj if obj is None else obj, dataset.positions_px, size)


def test_perfect_patches_give_the_truth(dataset):
    result = rebuild(centres(dataset), dataset)
    table = result.compare(max_shift_px=2.0).set_index(["alignment", "component", "metric"])["value"]
    assert table["raw", "complex", "e0"] < 0.01  # what bilinear interpolation costs
    assert table["aligned", "phase", "ssim"] > 0.97
    assert result.mask.any()
    assert (result.obj[result.mask] != 0).all()


def test_the_mask_is_that_of_the_test_data(dataset):
    coverage = np.ones(dataset.obj.shape, bool)
    coverage[:40] = False
    covered = replace(dataset, coverage=coverage)
    result = rebuild(centres(covered), covered)
    expected = comparison_mask(covered.positions_px, covered.probe, covered.obj.shape, coverage=coverage)
    assert np.array_equal(result.mask, expected)
    assert not result.mask[:40].any()


def test_the_phase_of_each_patch_is_found_or_left(dataset):
    phases = np.random.default_rng(0).uniform(-3, 3, len(dataset))
    turned = (centres(dataset) * np.exp(1j * phases)[:, None, None]).astype(np.complex64)
    errors = {
        synchronise: rebuild(turned, dataset, synchronise=synchronise)
        .compare(max_shift_px=2.0)
        .query("metric == 'e0' and alignment == 'raw'")["value"]
        .item()
        for synchronise in (True, False)
    }
    assert errors[True] < 0.02
    assert errors[False] > 0.5


def test_one_bad_patch_shows_in_the_spread_and_not_as_a_seam(dataset):
    patches = centres(dataset).copy()
    patches[30] *= 1.5
    result, clean = rebuild(patches, dataset), rebuild(centres(dataset), dataset)
    change = np.abs(result.obj - clean.obj)
    row, column = np.rint(dataset.positions_px[30]).astype(int)
    half = dataset.patch_size // 4
    edge = change[row - half : row + half, column - half].max()
    assert change[row - 3 : row + 3, column - 3 : column + 3].mean() > 5 * edge
    assert result.spread[row, column] > 2 * clean.spread[row, column]


def test_the_residual_is_photon_noise_for_the_truth_and_grows_where_the_object_is_wrong(dataset):
    known = np.ones(dataset.obj.shape, bool)
    right = residual_map(dataset.obj, known, dataset)
    lit = np.isfinite(right)
    assert 0 < np.median(right[lit]) < 0.3
    spoiled = dataset.obj.copy()
    middle = dataset.obj.shape[0] // 2
    spoiled[:middle] = np.roll(spoiled, 9, axis=1)[:middle]
    worse = residual_map(spoiled, known, dataset) / right
    assert np.nanmedian(worse[: middle - 16]) > 1.5 * np.nanmedian(worse[middle + 16 :])
    assert np.isnan(residual_map(dataset.obj, ~known, dataset)).all()


def test_the_residual_does_not_depend_on_the_scale_of_object_or_data(dataset):
    known = np.ones(dataset.obj.shape, bool)
    plain = residual_map(dataset.obj, known, dataset)
    scaled = residual_map(3 * dataset.obj, known, replace(dataset, diffraction=7 * dataset.diffraction))
    assert scaled == pytest.approx(plain, rel=1e-3, nan_ok=True)


def test_what_is_saved_is_what_was_reconstructed(dataset, tmp_path):
    result = rebuild(centres(dataset), dataset)
    with np.load(result.save(tmp_path / "reconstruction.npz"), allow_pickle=False) as saved:
        assert set(saved) == {"object", "mask", "spread", "residual"}
        assert saved["object"].dtype == np.complex64
        assert np.array_equal(saved["object"], result.obj)
        assert np.array_equal(saved["mask"], result.mask)


def test_a_diverged_network_gives_nan_with_reasons_and_no_exception(dataset):
    result = rebuild(np.full_like(centres(dataset), np.nan), dataset)
    table = result.compare(max_shift_px=2.0)
    assert table["value"].isna().all()
    assert set(table["reason"]) == {"the estimate is not finite"}


def test_a_network_that_returns_a_constant_is_measured_and_has_no_contrast(dataset):
    result = rebuild(np.ones_like(centres(dataset)), dataset)
    table = result.compare(max_shift_px=2.0).set_index(["alignment", "component", "metric"])["value"]
    assert table["raw", "complex", "contrast"] < COLLAPSE_CONTRAST
    assert np.isfinite(table["aligned", "phase", "ssim"])
    assert np.isfinite(result.residual[result.mask]).all()
