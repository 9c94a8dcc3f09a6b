"""Thinned scans against grids and discs whose overlap is known."""

import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.sampling import covered_share
from ptycho_lib.data.thinning import thinned
from ptycho_lib.errors import InputError
from ptycho_lib.physics import scan
from tests.conftest import simulate_small

DIAMETER = 20.0


def dense(n=600, step=4.0):
    """Return a scan of the given step under a disc of 20 px; nothing but positions and probe matters."""
    size = 32
    positions, shape = scan.frame(scan.fermat_spiral(n, step), size)
    y, x = np.indices((size, size)) - size / 2
    probe = (np.hypot(y, x) < DIAMETER / 2).astype(np.complex64)
    obj = np.ones(shape, np.complex64)
    return PtychoDataset(np.zeros((n, size, size), np.float32), positions, probe, obj, source="dense.npz")


@pytest.mark.parametrize("overlap", [0.7, 0.5, 0.25, 0.0])
def test_the_overlap_is_the_one_asked_for(overlap):
    data = dense()
    kept = thinned(data, overlap, seed=0)
    positions = data.positions_px[kept]
    step = scan.neighbour_step(positions)
    diameter = scan.probe_diameter(data.probe)
    assert diameter == pytest.approx(DIAMETER, rel=0.02)
    wanted = (1 - overlap) * diameter
    assert wanted <= step < 1.1 * wanted
    more = scan.neighbour_step(positions[:-1])
    assert more == pytest.approx(step, rel=0.1)


def test_on_a_grid_every_second_row_and_column_stays():
    data = dense()
    grid = scan.raster(49, 10.0) + 50
    kept = thinned(PtychoDataset(data.diffraction[:49], grid, data.probe, data.obj), 0.0, seed=3)
    nearest, _ = cKDTree(grid[kept]).query(grid[kept], k=2)
    assert np.median(nearest[:, 1]) == pytest.approx(20.0)
    assert len(kept) < 49 / 3


def test_sparser_scans_are_nested_even_and_repeatable():
    data = dense()
    overlaps = (0.7, 0.4, 0.1)
    subsets = [thinned(data, overlap, seed=1) for overlap in overlaps]
    for denser, sparser in itertools.pairwise(subsets):
        assert set(sparser) < set(denser)
    for kept, overlap in zip(subsets, overlaps, strict=True):
        assert (np.diff(kept) > 0).all()
        np.testing.assert_array_equal(kept, thinned(data, overlap, seed=1))
    share = [covered_share(data.positions_px, kept, int(DIAMETER)) for kept in subsets]
    assert share[0] > 0.95
    assert share[-1] > 0.6  # discs side by side: pi/4 of the plane, in squares as large more than that
    first = np.arange(len(subsets[-1]))
    assert covered_share(data.positions_px, first, int(DIAMETER)) < 0.2


def test_a_scan_that_cannot_be_had_is_refused():
    data = dense()
    with pytest.raises(InputError, match=r"dense.npz: scan_overlap: found a scan with an overlap of 0\.8"):
        thinned(data, 0.95, seed=0)
    with pytest.raises(InputError, match="too small for two such patterns"):
        thinned(simulate_small(5, seed=1), 0.0, seed=0)
