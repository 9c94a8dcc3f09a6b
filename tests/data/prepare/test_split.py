from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import PrepareOptions
from ptycho_lib.data.prepare.split import comparison_area, guard, half, interleaved, split, stripes
from ptycho_lib.errors import InputError


def scan_of(positions, size=16, extent=140):
    return PtychoDataset(
        diffraction=np.ones((len(positions), size, size), np.float32) * np.arange(1, len(positions) + 1)[:, None, None],
        positions_px=np.asarray(positions, float),
        probe=np.ones((size, size), np.complex64),
        obj=np.ones((extent, extent + 20), np.complex64),
        photons_per_pattern=100.0,
        history=("before",),
    )


def raster(n=12, step=10.0, start=10.0):
    rows, columns = np.divmod(np.arange(n * n), n)
    return np.stack([rows, columns], axis=1) * step + start


@pytest.mark.parametrize("axis", ["row", "column"])
@pytest.mark.parametrize("side", ["low", "high"])
def test_half_cuts_at_the_median(axis, side):
    positions = np.random.default_rng(0).uniform(0, 100, (101, 2))
    train, test = half(positions, axis=axis, test_side=side)
    coordinate = positions[:, 0 if axis == "row" else 1]
    assert abs(len(train) - len(test)) == 1
    if side == "high":
        assert coordinate[train].max() <= coordinate[test].min()
    else:
        assert coordinate[test].max() <= coordinate[train].min()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(8, 60),
    st.integers(0, 999),
    st.sampled_from([half, stripes, interleaved]),
    st.booleans(),
)
def test_every_split_uses_each_pattern_once(n, seed, cut, coarse):
    positions = np.random.default_rng(seed).uniform(0, 9, (n, 2))
    train, test = cut(positions.round() if coarse else positions)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert len(test)


def test_stripes_alternate():
    positions = np.stack([np.arange(80), np.zeros(80)], axis=1)
    train, test = stripes(positions, blocks=8, test_fraction=0.25)
    assert len(test) == 20
    np.testing.assert_array_equal(np.unique(test // 10), [3, 7])
    assert len(train) == 60


def test_interleaved_test_patterns_are_spread():
    positions = raster(20, 5.0)
    _, test = interleaved(positions, test_fraction=0.1)
    assert len(test) == 40
    quadrant = (positions[test] > positions.mean(axis=0)) @ [2, 1]
    assert np.bincount(quadrant, minlength=4).min() >= 7


def test_the_guard_band_keeps_its_distance():
    positions = raster(10)
    train, test = half(positions)
    kept = guard(positions, train, test, 25.0)
    distance = np.linalg.norm(positions[kept][:, None] - positions[test], axis=2)
    assert distance.min() >= 25
    assert len(kept) == 30
    np.testing.assert_array_equal(guard(positions, train, test, 0.0), train)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["half", "blocks"]), st.sampled_from(["row", "column"]))
def test_no_training_window_touches_the_comparison_area(seed, how, axis):
    positions = np.random.default_rng(seed).uniform(8, 132, (20, 2))
    options = PrepareOptions(split=how, axis=axis, blocks=2, test_fraction=0.5)
    train, test = split(scan_of(positions), options)
    seen = np.zeros_like(test.coverage)
    for first, last in zip(np.floor(train.positions_px - 8), np.ceil(train.positions_px + 8), strict=True):
        seen[int(first[0]) : int(last[0]), int(first[1]) : int(last[1])] = True
    assert not (test.coverage & seen).any()
    assert (test.coverage | seen).all()  # nothing else was taken away
    assert train.coverage is None
    assert {*map(tuple, train.positions_px)}.isdisjoint(map(tuple, test.positions_px))


def test_the_raw_coverage_still_holds():
    dataset = scan_of(raster())
    coverage = np.zeros(dataset.obj.shape, bool)
    coverage[100:130, 20:90] = True
    area = comparison_area(replace(dataset, coverage=coverage), np.array([[100.0, 50.0]]))
    assert not area[:108, 42:58].any()
    assert area[100:130, 60:90].all()
    assert not area[:100].any()


def test_counts_keep_their_scale_in_both_parts():
    dataset = scan_of(raster())
    train, test = split(dataset, PrepareOptions())
    assert train.photons_per_pattern < 100 < test.photons_per_pattern  # pattern k has amplitude k + 1
    for part in (train, test):
        assert part.amplitude_scale() == pytest.approx(dataset.amplitude_scale())


def test_the_history_states_the_split():
    train, test = split(scan_of(raster()), PrepareOptions(guard_px=15))
    assert train.history[0] == "before"
    assert "cut at the median row, test side high, 12 patterns within 15 pixels" in train.history[1]
    assert train.history[2] == "this file: training part"
    assert "16×16 windows of all training patterns" in test.history[3]


@pytest.mark.parametrize(
    ("positions", "options", "words"),
    [
        ([[20.0, 20.0]], {}, "0 training and 1 test"),
        (raster(12, 2.0), {"split": "interleaved"}, "training windows cover all that the test sees"),
        (raster(4), {"guard_px": 1000}, "0 training and 8 test"),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(positions, options, words):
    with pytest.raises(InputError, match=words):
        split(scan_of(positions), PrepareOptions(**options))
