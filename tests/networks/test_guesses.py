"""First guesses that are shared: the same as without a cache, found again, made anew where an entry is bad."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.config import NetworkConfig, StudyConfig
from ptycho_lib.io import array_cache, files
from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.networks import guesses
from ptycho_lib.networks.batches import Samples, input_scale, normalised_probe, sample_groups
from ptycho_lib.networks.first_guess import FirstGuess
from ptycho_lib.networks.guesses import Guesser, fitting_batch, with_first_guesses
from ptycho_lib.networks.prediction import predict_untrained
from ptycho_lib.networks.training import train_model


@pytest.fixture(scope="module")
def dataset(small_dataset):
    return small_dataset.select(np.arange(24))


@pytest.fixture
def layer(dataset):
    return FirstGuess(32, normalised_probe(dataset.probe), iterations=2)


def some_samples(dataset, gridsize=1):
    members = sample_groups(dataset.positions_px, np.arange(len(dataset)), gridsize, 0)
    return Samples(dataset, members, input_scale(dataset))


@pytest.mark.parametrize("gridsize", [1, 2])
def test_guesses_are_made_once_in_the_order_of_the_samples(dataset, layer, gridsize, tmp_path):
    samples = some_samples(dataset, gridsize)
    everything = np.arange(len(samples))
    expected = layer(samples.amplitudes(everything), samples.positions_px(everything)).numpy()
    made, seconds = with_first_guesses(layer, samples, ArrayCache(tmp_path))
    found, saved = with_first_guesses(layer, samples, ArrayCache(tmp_path))
    np.testing.assert_allclose(made.guess, expected, atol=1e-4)
    np.testing.assert_array_equal(found.guess, made.guess)
    np.testing.assert_array_equal(with_first_guesses(layer, samples)[0].guess, made.guess)
    assert (seconds, saved > 0) == (0.0, True)
    chosen = np.array([8, 2])
    np.testing.assert_array_equal(found.inputs(chosen)["guess"], made.guess[chosen])


def test_guesses_that_do_not_fit_into_memory_are_made_batch_by_batch_or_read_from_disk(
    dataset, layer, monkeypatch, tmp_path
):
    samples = some_samples(dataset)
    monkeypatch.setattr(guesses, "IN_MEMORY_BYTES", len(samples) * 32 * 32 * 8 - 1)
    assert with_first_guesses(layer, samples)[0].guess is None
    assert isinstance(with_first_guesses(layer, samples, ArrayCache(tmp_path))[0].guess, np.memmap)
    monkeypatch.setattr(guesses, "IN_MEMORY_BYTES", len(samples) * 32 * 32 * 8)
    assert with_first_guesses(layer, samples)[0].guess is not None
    assert with_first_guesses(FirstGuess(32, dataset.probe, iterations=0), samples)[0].guess is None


def test_an_entry_is_named_for_all_that_it_depends_on(dataset, layer):
    samples, probe = some_samples(dataset), layer.probe.numpy()
    name = Guesser(layer, samples, probe).name()
    assert Guesser(layer, some_samples(dataset), probe, batch_size=7).name() == name
    brighter = replace(dataset, diffraction=1.5 * np.asarray(dataset.diffraction) + 0.1)
    others = [
        Guesser(FirstGuess(32, probe, iterations=3), samples, probe),
        Guesser(layer, samples, 1.01 * probe),
        Guesser(layer, some_samples(brighter), probe),
        Guesser(layer, some_samples(dataset, gridsize=2), probe),
    ]
    assert len({name, *(other.name() for other in others)}) == 5


def damaged(path):
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def without_note(path):
    path.with_suffix(".json").unlink()


def note_cut_short(path):
    path.with_suffix(".json").write_text('{"sha2')


@pytest.mark.parametrize("harm", [damaged, cut_short, without_note, note_cut_short])
def test_what_is_damaged_or_half_written_is_made_again(dataset, layer, tmp_path, harm):
    samples = some_samples(dataset)
    expected = with_first_guesses(layer, samples, ArrayCache(tmp_path))[0].guess
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    harm(path)
    found, saved = with_first_guesses(layer, samples, ArrayCache(tmp_path))
    np.testing.assert_array_equal(found.guess, expected)
    assert (saved, path.read_bytes()) == (0.0, whole)
    assert json.loads(path.with_suffix(".json").read_text())["seconds"] > 0


def test_a_full_disk_costs_time_and_nothing_else(dataset, layer, tmp_path, monkeypatch):
    samples = some_samples(dataset)
    expected = with_first_guesses(layer, samples)[0].guess

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    np.testing.assert_array_equal(with_first_guesses(layer, samples, ArrayCache(tmp_path))[0].guess, expected)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    control = predict_untrained(NetworkConfig(first_guess_iterations=2), dataset, cached=ArrayCache(tmp_path))
    assert np.isfinite(control.patches).all()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(dataset, layer, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    found, _ = with_first_guesses(layer, some_samples(dataset), ArrayCache(tmp_path / "cache"))
    assert np.isfinite(found.guess).all()


def test_a_process_that_takes_too_long_is_not_waited_for(dataset, layer, tmp_path, monkeypatch):
    samples = some_samples(dataset)
    name = Guesser(layer, samples, layer.probe.numpy()).name()
    monkeypatch.setattr(array_cache, "PATIENCE_S", 0.05)
    with array_cache.FileLock(tmp_path / f"{name}.lock"):
        found, _ = with_first_guesses(layer, samples, ArrayCache(tmp_path))
    assert np.isfinite(found.guess).all()
    assert not list(tmp_path.glob("*.npy"))


def test_networks_and_patches_are_the_same_with_a_cache_and_without(dataset, tmp_path):
    training = {"steps": 4, "validations": 2, "batch_size": 8, "merged_patches": 2}
    config = StudyConfig(training=training, network={"width": 4, "first_guess_iterations": 2})
    ways = {"with": ArrayCache(tmp_path / "cache"), "again": ArrayCache(tmp_path / "cache"), "without": None}
    found = {way: train_model("pinn", dataset, config, 1, tmp_path / way, cached=kept) for way, kept in ways.items()}
    for way in ("with", "again"):
        for one, other in zip(found[way].network.get_weights(), found["without"].network.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    control = [predict_untrained(config.network, dataset, cached=kept) for kept in ways.values()]
    for other in control[1:]:
        np.testing.assert_array_equal(other.patches, control[0].patches)
    assert all(one.usage.seconds > 0 for one in control)


def test_a_batch_holds_fewer_patterns_the_more_waves_each_has():
    assert fitting_batch(64, 1000, 1) == 64
    assert fitting_batch(64, 1000, 3) == 21  # three modes
    assert fitting_batch(64, 1000, 4 * 3) == 5  # of groups of four
    assert fitting_batch(512, 1000, 9) == 1
    assert fitting_batch(64, 10, 1) == 10
