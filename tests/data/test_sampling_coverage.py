"""The known problem of sequential selection, shown; the default covers the object."""

import numpy as np
import pytest

from ptycho_lib.data.sampling import covered_share, selection_warning, subset_order
from ptycho_lib.physics import scan

RASTER = scan.raster(400, 6.0)  # 20 x 20 positions, row by row
SIZE = 32


def test_covered_share_by_hand():
    positions = np.array([[0.0, 0.0], [0.0, 16.0], [16.0, 0.0], [16.0, 16.0]])
    assert covered_share(positions, np.arange(4), 16) == 1
    assert covered_share(positions, np.array([2]), 16) == pytest.approx(0.25)
    assert covered_share(positions, np.array([0, 3]), 16) == pytest.approx(0.5)


@pytest.mark.parametrize("n_train", [32, 64, 128])
def test_sequential_selection_trains_on_one_side_and_the_default_does_not(n_train):
    shares = {
        method: covered_share(RASTER, subset_order(RASTER, method, 0)[:n_train], SIZE // 2)
        for method in ("sequential", "representative")
    }
    assert shares["sequential"] < n_train / 400 + 0.15  # what its rows cover, no more
    assert shares["representative"] > 1.8 * shares["sequential"]
    spread = RASTER[subset_order(RASTER, "representative", 0)[:n_train]]
    assert np.ptp(spread, axis=0).tolist() == np.ptp(RASTER, axis=0).tolist()  # from corner to corner
    chosen = RASTER[subset_order(RASTER, "sequential", 0)[:n_train]]
    assert chosen[:, 0].max() < np.median(RASTER[:, 0])  # the lower half of the object was never seen


def test_sequential_selection_is_warned_of_with_its_numbers():
    warning = selection_warning(RASTER, SIZE, "sequential", 64, 0)
    assert warning.startswith("sequential selection: 64 of 400 training patterns cover ")
    assert "an even choice would cover" in warning


@pytest.mark.parametrize(("method", "n_train"), [("representative", 32), ("sequential", 400), ("sequential", 390)])
def test_nothing_is_said_where_nothing_is_wrong(method, n_train):
    assert selection_warning(RASTER, SIZE, method, n_train, 0) == ""


def test_a_scan_without_order_has_no_bias():
    shuffled = np.random.default_rng(0).permutation(RASTER)
    assert selection_warning(shuffled, SIZE, "sequential", 128, 0) == ""
