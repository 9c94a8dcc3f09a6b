import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial import cKDTree

from ptycho_lib.data.sampling import EXACT_LIMIT, METHODS, neighbour_groups, subset_order


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**31 - 1), st.sampled_from(METHODS), st.booleans())
def test_every_order_is_a_permutation(n, seed, method, coarse):
    positions = np.random.default_rng(seed).uniform(0, 10, (n, 2))
    positions = positions.round(0) if coarse else positions  # many duplicates
    order = subset_order(positions, method, seed)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, subset_order(positions, method, seed))


def test_farthest_points_by_their_definition():
    positions = np.random.default_rng(0).uniform(0, 1, (50, 2))
    order = subset_order(positions, "representative", 7)
    for k in range(1, 50):
        chosen, rest = positions[order[:k]], order[k:]
        distance = np.linalg.norm(positions[rest][:, None] - chosen, axis=2).min(axis=1)
        assert rest[distance.argmax()] == order[k]


def test_representative_subsets_leave_smaller_holes_than_random_ones():
    positions = np.random.default_rng(1).uniform(0, 100, (1000, 2))
    holes = {
        method: cKDTree(positions[subset_order(positions, method, 0)[:64]]).query(positions)[0].max()
        for method in ("representative", "random")
    }
    assert holes["representative"] < 0.6 * holes["random"]


def test_the_seed_chooses_the_start():
    positions = np.random.default_rng(2).uniform(0, 100, (300, 2))
    starts = {int(subset_order(positions, "representative", seed)[0]) for seed in range(8)}
    assert len(starts) > 4


def test_duplicates_come_last():
    positions = np.array([[0.0, 0], [0, 0], [5, 5], [5, 5], [9, 0]])
    assert len(np.unique(positions[subset_order(positions, "representative", 0)[:3]], axis=0)) == 3


def test_a_hundred_thousand_positions_are_ordered_evenly():
    positions = np.random.default_rng(3).uniform(0, 1000, (100_000, 2))
    order = subset_order(positions, "representative", 0)
    assert len(np.unique(order)) == 100_000
    count = 4 * EXACT_LIMIT
    holes = cKDTree(positions[order[:count]]).query(positions)[0].max()
    random = cKDTree(positions[subset_order(positions, "random", 0)[:count]]).query(positions)[0].max()
    assert holes < 0.6 * random


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'clever' is unknown; choose one of representative, random, sequential"):
        subset_order(np.zeros((3, 2)), "clever", 0)


def test_groups_are_the_nearest_neighbours():
    positions = np.random.default_rng(4).uniform(0, 50, (80, 2))
    groups = neighbour_groups(positions, 2, seed=0)
    assert groups.shape == (80, 4)
    np.testing.assert_array_equal(groups[:, 0], np.arange(80))
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.testing.assert_array_equal(np.sort(groups, axis=1), np.sort(np.argsort(distance, axis=1)[:, :4], axis=1))


def test_groups_on_a_raster_prefer_no_direction():
    rows, columns = np.divmod(np.arange(900), 30)
    positions = np.stack([rows, columns], axis=1) * 4.0
    groups = neighbour_groups(positions, 2, seed=1)
    inner = (rows > 1) & (rows < 28) & (columns > 1) & (columns < 28)
    offsets = (positions[groups[inner]] - positions[inner][:, None])[:, 1:]
    assert np.abs(offsets.mean(axis=(0, 1))).max() < 0.2
    assert np.array_equal(groups, neighbour_groups(positions, 2, seed=1))
    assert not np.array_equal(groups, neighbour_groups(positions, 2, seed=2))


def test_single_patterns_and_too_few():
    np.testing.assert_array_equal(neighbour_groups(np.zeros((3, 2)), 1, 0), [[0], [1], [2]])
    with pytest.raises(ValueError, match="gridsize 2 groups 4 patterns, but there are only 3"):
        neighbour_groups(np.zeros((3, 2)), 2, 0)
