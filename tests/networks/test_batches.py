"""From a dataset to batches: what is held out, what is merged with what, in which order, on which scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.config import MOST_MERGED
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.networks.batches import (
    MOST_HELD_OUT,
    NEIGHBOURS,
    Samples,
    central_half,
    epoch_batches,
    hold_out,
    input_scale,
    normalised_probe,
    overlap_partners,
    sample_groups,
)
from ptycho_lib.physics import diffraction
from tests.conftest import simulate_small

SEEDS = st.integers(0, 2**32 - 1)


def scattered(n, seed=0, extent=40.0):
    return np.random.default_rng(seed).uniform(0, extent, (n, 2))


@pytest.mark.parametrize("dose", [1.0, 100.0])
def test_the_input_scale_makes_the_mean_power_that_of_a_half_filled_patch(small_dataset, dose):
    dataset = replace(small_dataset, diffraction=small_dataset.diffraction * np.float32(dose))
    scaled = dataset.diffraction.astype(float) * input_scale(dataset)
    assert np.square(scaled).sum(axis=(1, 2)).mean() == pytest.approx((32 / 2) ** 2, rel=1e-6)


def test_counts_of_sixteen_bits_are_not_squared_in_sixteen_bits(small_dataset):
    counts = np.full((3, 32, 32), 60000, np.uint16)
    dataset = replace(small_dataset.select(np.arange(3)), diffraction=counts)
    assert input_scale(dataset) == pytest.approx(16 / (60000 * 32), rel=1e-6)


def test_the_probe_scale_fits_the_input_scale(small_dataset):
    """An object of unit amplitude then has the measured mean power, by Parseval."""
    probe = normalised_probe(small_dataset.probe * 37)
    assert probe.dtype == np.complex64
    assert np.square(np.abs(probe)).sum() == pytest.approx(16**2, rel=1e-5)
    np.testing.assert_allclose(np.angle(probe[0]), np.angle(small_dataset.probe), atol=1e-5)
    flat = diffraction.amplitude(np.ones((1, 32, 32), np.complex64), probe)
    assert np.square(flat).sum() == pytest.approx(16**2, rel=1e-5)


def test_the_central_half_is_the_centre():
    rows, columns = np.indices((32, 32))
    centre = central_half(np.stack([rows, columns])[None])
    assert centre.shape == (1, 2, 16, 16)
    assert centre[0, :, 8, 8].tolist() == [16, 16]
    assert centre[0, 0, :, 0].tolist() == list(range(8, 24))


@given(count=st.integers(2, 300), fraction=st.floats(0.01, 0.9), gridsize=st.integers(1, 3))
def test_held_out_patterns_are_never_fitted(count, fraction, gridsize):
    fit, held = hold_out(count, fraction, gridsize)
    group = gridsize**2
    if count < max(min(round(fraction * count), MOST_HELD_OUT), group) + group:
        np.testing.assert_array_equal(fit, np.arange(count))
        np.testing.assert_array_equal(held, np.arange(count))
        return
    assert not set(fit) & set(held)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, held])), np.arange(count))
    assert len(held) == max(min(round(fraction * count), MOST_HELD_OUT), group)
    assert len(fit) >= group


def test_held_out_patterns_are_spread_through_the_order():
    _, held = hold_out(128, 0.125, 1)
    assert len(held) == 16
    assert np.diff(held).max() <= 9
    _, held = hold_out(2048, 0.125, 1)
    assert (len(held), held[0], held[-1]) == (MOST_HELD_OUT, 0, 2047)


def test_samples_group_chosen_patterns_among_themselves():
    positions = scattered(40)
    chosen = np.arange(1, 40, 3)
    members = sample_groups(positions, chosen, 2, seed=0)
    assert members.shape == (len(chosen), 4)
    assert set(members.ravel()) <= set(chosen)
    np.testing.assert_array_equal(members[:, 0], chosen)
    for row in members:
        distance = np.linalg.norm(positions[chosen] - positions[row[0]], axis=1)
        nearest = set(chosen[np.argsort(distance)[:4]])
        assert set(row) == nearest


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, among=st.integers(1, 30), reach=st.floats(1, 60))
def test_partners_are_the_nearest_other_samples_in_reach(seed, among, reach):
    centres = scattered(among + 5, seed)
    partners = overlap_partners(centres, centres[:among], reach)
    assert partners.shape == (among + 5, NEIGHBOURS)
    distance = np.linalg.norm(centres[:, None] - centres[None, :among], axis=-1)
    for own, row in enumerate(partners):
        expected = [k for k in np.argsort(distance[own]) if 0 < distance[own, k] < reach][:NEIGHBOURS]
        assert row.tolist() == expected + [-1] * (NEIGHBOURS - len(expected))


def test_a_sample_is_no_partner_of_itself_not_even_measured_twice():
    centres = np.array([[0.0, 0], [0, 0], [1, 0]])
    partners = overlap_partners(centres, centres, 5)
    assert partners[0].tolist() == [2] + [-1] * (NEIGHBOURS - 1)
    assert set(partners[2]) == {0, 1, -1}


def test_the_largest_overlap_of_the_configuration_has_enough_partners():
    assert MOST_MERGED == NEIGHBOURS + 1
    batches, _ = batches_of(batch_size=2 * (NEIGHBOURS + 1), overlap=NEIGHBOURS + 1, reach=100.0)
    assert all(len(set(group)) == NEIGHBOURS + 1 for group in batches.reshape(-1, NEIGHBOURS + 1))


def batches_of(count=20, steps=6, batch_size=8, overlap=4, seed=5, epoch=2, reach=15.0):
    centres = scattered(count, 1)
    partners = overlap_partners(centres, centres, reach)
    return epoch_batches(count, steps, batch_size, overlap, partners, seed, epoch), partners


def test_the_order_depends_on_seed_and_epoch_alone():
    first, _ = batches_of()
    np.testing.assert_array_equal(batches_of()[0], first)
    assert np.any(batches_of(seed=6)[0] != first)
    assert np.any(batches_of(epoch=3)[0] != first)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    epoch=st.integers(0, 1000),
    count=st.integers(1, 50),
    steps=st.integers(1, 12),
    groups=st.integers(1, 5),
    overlap=st.integers(1, NEIGHBOURS + 1),
)
def test_every_sample_is_drawn_as_often_as_any_other(seed, epoch, count, steps, groups, overlap):
    centres = scattered(count, seed)
    partners = overlap_partners(centres, centres, 20.0)
    batches = epoch_batches(count, steps, groups * overlap, overlap, partners, seed, epoch)
    assert batches.shape == (steps, groups * overlap)
    assert batches.min() >= 0
    assert batches.max() < count
    drawn = np.bincount(batches.reshape(-1, overlap)[:, 0], minlength=count)
    assert drawn.max() - drawn.min() <= 1
    for first, *others in batches.reshape(-1, overlap).tolist():
        usable = set(partners[first]) - {-1}
        found = [other for other in others if other != first]
        assert set(found) <= usable
        assert len(set(found)) == len(found) == min(len(usable), overlap - 1)


def test_one_pass_without_overlap_shows_every_sample_once():
    batches = epoch_batches(24, 3, 8, 1, np.empty((24, NEIGHBOURS), int), 0, 0)
    assert sorted(batches.ravel()) == list(range(24))


def some_samples(dataset, gridsize=1, **options):
    members = sample_groups(dataset.positions_px, np.arange(len(dataset)), gridsize, 0)
    return Samples(dataset, members, input_scale(dataset), **options)


def test_inputs_are_the_scaled_patterns_of_each_member(small_dataset):
    part = some_samples(small_dataset, gridsize=2)
    chosen = np.array([7, 3, 7])
    inputs = part.inputs(chosen)
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.float32)}
    members = part.members[chosen]
    expected = small_dataset.diffraction[members] * np.float32(part.scale)
    np.testing.assert_array_equal(inputs["diffraction"], expected)
    np.testing.assert_allclose(inputs["positions_px"], small_dataset.positions_px[members], rtol=1e-6)
    np.testing.assert_array_equal(inputs["weight"], np.ones((3, 4)))
    assert "guess" not in inputs


def test_labels_are_the_central_patches_of_the_object(small_dataset):
    part = some_samples(small_dataset, object_scale=0.5)
    labels = part.labels(np.array([4, 11]))
    patches = diffraction.extract_patches(small_dataset.obj, small_dataset.positions_px[[4, 11]], 32)
    assert labels.shape == (2, 1, 16, 16, 2)
    found = labels[:, 0, ..., 0] + 1j * labels[:, 0, ..., 1]
    np.testing.assert_allclose(found, patches[:, 8:24, 8:24] / 0.5, rtol=1e-5)


def test_stored_patches_are_the_labels_where_a_file_has_them(small_dataset):
    stored = np.random.default_rng(0).random((len(small_dataset), 32, 32)).astype(np.complex64)
    part = some_samples(replace(small_dataset, patches=stored))
    np.testing.assert_allclose(part.labels(np.array([9]))[0, 0, ..., 0], stored[9, 8:24, 8:24].real)


def test_a_dataset_on_disk_gives_the_same_batches(small_dataset, tmp_path):
    on_disk = load_dataset(save_dataset(small_dataset, tmp_path / "scan.npz"))
    assert not isinstance(on_disk.diffraction, np.ndarray) or isinstance(on_disk.diffraction, np.memmap)
    order = np.random.default_rng(1).permutation(60)[:40]
    chosen = np.array([5, 0, 33, 5])
    in_memory, streamed = (some_samples(dataset.select(order), gridsize=2) for dataset in (small_dataset, on_disk))
    assert streamed.scale == in_memory.scale
    for name, array in in_memory.inputs(chosen).items():
        np.testing.assert_array_equal(streamed.inputs(chosen)[name], array)
    np.testing.assert_array_equal(streamed.labels(chosen), in_memory.labels(chosen))


def test_another_scan_has_its_own_scale():
    bright, dim = (simulate_small(10, seed=1, photons=photons) for photons in (1e6, 1e3))
    ratio = np.sqrt(np.square(bright.diffraction).mean() / np.square(dim.diffraction).mean())
    assert ratio > 20
    assert input_scale(dim) / input_scale(bright) == pytest.approx(ratio, rel=1e-3)
