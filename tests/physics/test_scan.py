import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.physics import scan
from ptycho_lib.physics.probes import disc


def test_raster_steps_and_order():
    positions = scan.raster(6, 5.0)
    np.testing.assert_allclose(positions, [[-2.5, -5], [-2.5, 0], [-2.5, 5], [2.5, -5], [2.5, 0], [2.5, 5]])


def test_jitter_stays_in_its_bounds_and_needs_a_generator():
    rng = np.random.default_rng(0)
    offset = scan.raster(100, 5.0, jitter_px=1.0, rng=rng) - scan.raster(100, 5.0)
    assert 0.8 < np.abs(offset).max() <= 1
    with pytest.raises(ValueError, match="rng"):
        scan.raster(4, 5.0, jitter_px=1.0)


@pytest.mark.parametrize("make", [scan.fermat_spiral, lambda n, s: scan.random(n, s, np.random.default_rng(1))])
def test_each_position_has_the_area_of_a_step(make):
    positions = make(4000, 3.0)
    inner = np.abs(positions).max(axis=1) < 60
    assert inner.sum() * 9 == pytest.approx(120**2, rel=0.1)


def test_the_spiral_keeps_its_distance():
    assert scan.neighbour_step(scan.fermat_spiral(500, 4.0)) == pytest.approx(4.0, rel=0.12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 9999))
def test_a_frame_holds_every_patch(n, seed):
    positions, shape = scan.frame(np.random.default_rng(seed).normal(0, 30, (n, 2)), 16, margin_px=2)
    assert np.all(positions - 8 >= 2)
    assert np.all(positions + 8 <= np.array(shape) - 2)
    assert np.all(positions.max(axis=0) + 8 > np.array(shape) - 4)


def test_illumination_is_the_sum_of_shifted_probes():
    probe = np.zeros((4, 4), complex)
    probe[2, 3] = 2j
    light = scan.illumination(probe, np.array([[5.0, 5.0], [5.0, 5.0], [6.0, 9.0]]), (12, 14))
    assert light[5, 6] == 8
    assert light[6, 10] == 4
    assert light.sum() == 12


def test_illumination_sums_incoherent_modes():
    modes = np.stack([disc(16, 6), disc(16, 10)])
    positions = np.array([[10.5, 12.25]])
    both = scan.illumination(modes, positions, (24, 24))
    np.testing.assert_allclose(both, sum(scan.illumination(mode, positions, (24, 24)) for mode in modes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 8), st.sampled_from([3, 4, 9]))
def test_the_union_of_windows_is_the_union(seed, n, size):
    positions = np.random.default_rng(seed).uniform(-3, 25, (n, 2)).round(1)
    expected = np.zeros((20, 22), bool)
    for row, column in positions:
        first = [max(0, int(np.floor(c - size / 2))) for c in (row, column)]
        last = [max(0, int(np.ceil(c + size / 2))) for c in (row, column)]
        expected[first[0] : last[0], first[1] : last[1]] = True
    np.testing.assert_array_equal(scan.window_union(positions, size, (20, 22)), expected)


def test_the_effective_diameter_of_a_disc_is_its_diameter():
    assert scan.probe_diameter(disc(128, 60)) == pytest.approx(60, rel=0.02)


def test_overlaps():
    assert scan.linear_overlap(2.0, 10.0) == pytest.approx(0.8)
    assert scan.linear_overlap(20.0, 10.0) == 0
    assert scan.area_overlap(0.0, 10.0) == 1
    assert scan.area_overlap(10.0, 10.0) == pytest.approx(0, abs=1e-12)
    assert scan.area_overlap(5.0, 10.0) == pytest.approx(0.391, abs=1e-3)  # circle-circle lens at half a diameter
    assert scan.linear_overlap(scan.step_for_overlap(0.7, 30.0), 30.0) == pytest.approx(0.7)
    with pytest.raises(ValueError, match=r"1\.0"):
        scan.step_for_overlap(1.0, 30.0)


def test_one_position_has_no_step():
    assert np.isnan(scan.neighbour_step(np.zeros((1, 2))))
