"""Uncertainty: the coverage of known distributions, calibration, and what stitching really gives."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.evaluation.uncertainty import (
    NOMINAL,
    RELIABILITY_COLUMNS,
    calibrated_radius,
    error_ratios,
    normal_radius,
    reliability,
)
from ptycho_lib.physics import diffraction
from tests.conftest import simulate_small

SHAPE = (120, 110)
EVERYWHERE = np.ones(SHAPE, bool)


def ratios(seed, factor=1.0, heavy=False):
    """Errors `factor` times as large as the spread that is stated."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.02, 0.2, SHAPE)
    error = spread * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)) / np.sqrt(2)
    if heavy:
        error = error / np.sqrt(rng.chisquare(3, SHAPE) / 3)
    truth = np.exp(1j * rng.uniform(0, 1, SHAPE))
    return error_ratios(truth, truth + factor * error, spread, EVERYWHERE)


def off(table, calibrated):
    rows = table[table["calibrated"] == calibrated]
    return (rows["observed"] - rows["nominal"]).to_numpy()


def test_normal_errors_of_the_stated_size_are_covered_as_stated():
    table = reliability({"pinn": ratios(0)}, {"pinn": ratios(1)})
    assert tuple(table.columns) == RELIABILITY_COLUMNS
    assert len(table) == 2 * len(NOMINAL)
    assert np.abs(off(table, calibrated=False)).max() < 0.025
    assert np.abs(off(table, calibrated=True)).max() < 0.025


@pytest.mark.parametrize(("factor", "heavy"), [(3.0, False), (0.3, False), (1.0, True)])
def test_calibration_corrects_a_wrong_size_and_a_wrong_distribution(factor, heavy):
    table = reliability({"pinn": ratios(0, factor, heavy)}, {"pinn": ratios(1, factor, heavy)})
    assert np.abs(off(table, calibrated=False)).max() > 0.04
    assert np.abs(off(table, calibrated=True)).max() < 0.025
    if not heavy:  # too small a spread covers too little, too large a spread too much
        assert np.sign(off(table, calibrated=False)).mean() == np.sign(1 - factor)


def test_training_errors_that_are_too_small_show_as_missing_coverage():
    table = reliability({"baseline": ratios(0, 2.0)}, {"baseline": ratios(1, 1.0)})
    assert off(table, calibrated=True).min() < -0.2


def test_models_keep_apart_and_only_what_is_known_is_calibrated():
    table = reliability(
        {"pinn": ratios(0), "untrained": ratios(2), "iterative": np.empty(0)}, {"pinn": ratios(1)}, (0.5, 0.9)
    )
    assert table.groupby(["model", "calibrated"]).size().to_dict() == {
        ("pinn", False): 2,
        ("pinn", True): 2,
        ("untrained", False): 2,
    }


def test_radii_by_hand():
    assert normal_radius(0.0) == 0.0
    assert normal_radius(0.95) == pytest.approx(np.sqrt(np.log(20)))
    known = np.arange(1.0, 20.0)  # 19 ratios: the 19th of 20 ranks is the largest
    assert calibrated_radius(known[::-1], (0.05, 0.5, 0.95, 0.999)).tolist() == [1, 10, 19, 19]
    with pytest.raises(ValueError, match="no error ratio"):
        calibrated_radius(np.empty(0), 0.5)


def test_pixels_without_a_spread_do_not_count():
    truth = np.ones((2, 2), complex)
    spread = np.array([[0.5, 0.0], [np.nan, 0.5]])
    mask = np.array([[True, True], [True, False]])
    assert error_ratios(truth, 2 * truth, spread, mask).tolist() == [2.0]


def test_the_spread_of_stitched_patches_covers_too_much_until_it_is_calibrated():
    """The mean of many patches errs less than each of them; the spread is that of a single one."""

    def ratios_of(seed):
        scan = simulate_small(150, seed=seed, photons=None)
        rng = np.random.default_rng(seed)
        patches = diffraction.extract_patches(scan.obj, scan.positions_px, 32)[:, 8:24, 8:24]
        noise = 0.1 * (rng.normal(size=patches.shape) + 1j * rng.normal(size=patches.shape))
        how = {"min_illumination": 0.2, "synchronise": False, "correct_drift": False}
        return reconstruct(patches + noise.astype(np.complex64), scan.positions_px, scan, **how).error_ratios()

    table = reliability({"pinn": ratios_of(7)}, {"pinn": ratios_of(8)})
    assert off(table, calibrated=False).min() > 0.02
    assert np.abs(off(table, calibrated=True)).max() < 0.08
