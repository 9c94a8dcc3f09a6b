"""Training: it learns, repeats itself, survives a kill, names a collapse, and writes what it promises."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.networks import checkpoint
from ptycho_lib.networks.batches import central_half, normalised_probe
from ptycho_lib.networks.devices import keep_freed_memory
from ptycho_lib.networks.models import load_model
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import HISTORY, MODEL, OUTCOME, train_model
from tests.conftest import simulate_small

ROOT = Path(__file__).parents[2]
MODELS = ("pinn", "baseline")
SHORT = {"steps": 16, "validations": 4, "batch_size": 8, "merged_patches": 2, "learning_rate": 5e-3}


def study(network=(), sampling=(), **training):
    """Return the configuration of a training that takes seconds."""
    return StudyConfig.model_validate(
        {
            "network": {"width": 4, "first_guess_iterations": 2} | dict(network),
            "sampling": dict(sampling),
            "training": SHORT | training,
        }
    )


@pytest.fixture(scope="module")
def data():
    return simulate_small(24, seed=3)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The standard training of each model, and its folder."""
    result = {}
    for model in MODELS:
        folder = tmp_path_factory.mktemp(model)
        progress = folder / "progress.jsonl"
        result[model] = train_model(model, data, study(), 1, folder, progress_file=progress), folder
    return result


def same_weights(first, second):
    pairs = zip(first.network.get_weights(), second.network.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def patch_error(network, data):
    """Return the mean error of predicted patches, up to the one phase each that no pattern determines."""
    found, truth = predict_patches(network, data).patches, central_half(data.object_patches())
    phase = np.exp(1j * np.angle(np.sum(truth * found.conj(), axis=(1, 2), keepdims=True)))
    return float(np.abs(found * phase - truth).mean())


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_falls_and_the_object_becomes_better(tmp_path, model):
    ideal = simulate_small(24, seed=3, photons=None)
    trained = train_model(model, ideal, study(steps=120, validations=6), 1, tmp_path)
    losses = trained.history[["loss", "val_loss"]]
    assert (losses.iloc[-1] < 0.95 * losses.iloc[0]).all()
    untrained = load_model(tmp_path / MODEL)
    for name in ("fine", "coarse"):
        layer = untrained.backbone.get_layer(name)
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    assert patch_error(trained.network, ideal) < 0.95 * patch_error(untrained, ideal)


@pytest.mark.parametrize("model", MODELS)
def test_a_training_leaves_model_history_and_outcome_and_nothing_else(runs, model):
    trained, folder = runs[model]
    assert {path.name for path in folder.iterdir()} == {MODEL, HISTORY, OUTCOME, "progress.jsonl"}
    history = pd.read_csv(folder / HISTORY)
    assert list(history) == ["epoch", "loss", "val_loss", "learning_rate", "seconds"]
    pd.testing.assert_frame_equal(history, trained.history)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert json.loads((folder / OUTCOME).read_text())["steps"] == 16
    assert trained.outcome.n_groups == 24
    steps = history["seconds"].sum()
    assert steps < trained.seconds  # preparation counts, too
    assert trained.peak_memory_bytes > 50_000_000
    assert not trained.collapsed
    assert trained.reason == ""
    loaded = load_model(folder / MODEL)
    for read, kept in zip(loaded.get_weights(), trained.network.get_weights(), strict=True):
        np.testing.assert_array_equal(read, kept)


@pytest.mark.parametrize("model", MODELS)
def test_progress_is_a_json_line_an_epoch(runs, model):
    trained, folder = runs[model]
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert {(line["model"], line["epochs"]) for line in lines} == {(model, 4)}
    assert [line["loss"] for line in lines] == trained.history["loss"].tolist()
    assert [line["val_loss"] for line in lines] == trained.history["val_loss"].tolist()
    times = [line["time"] for line in lines]
    assert times == sorted(times)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_network(runs, data, tmp_path, model):
    again = train_model(model, data, study(), 1, tmp_path)
    assert same_weights(again, runs[model][0])
    np.testing.assert_array_equal(again.history["loss"], runs[model][0].history["loss"])
    first, second = (predict_patches(one.network, data).patches for one in (again, runs[model][0]))
    np.testing.assert_array_equal(first, second)


def test_another_trial_gives_another_network(runs, data, tmp_path):
    other = train_model("baseline", data, study(), 2, tmp_path)
    assert not same_weights(other, runs["baseline"][0])


def test_a_dataset_on_disk_trains_the_same_network(runs, data, tmp_path):
    on_disk = load_dataset(save_dataset(data, tmp_path / "scan.npz"))
    assert same_weights(train_model("baseline", on_disk, study(), 1, tmp_path / "run"), runs["baseline"][0])


def test_a_finished_training_is_loaded_and_not_repeated(runs, data):
    trained, folder = runs["baseline"]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    epochs = []
    again = train_model("baseline", data, study(), 1, folder, on_epoch=lambda *_: epochs.append(1))
    assert epochs == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert again.outcome == trained.outcome
    assert same_weights(again, trained)


def run_python(code, folder):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


KILLED = """
import os, sys
from tests.networks.test_training import study
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.networks import checkpoint
from ptycho_lib.networks.training import train_model
checkpoint.SAVE_EVERY_S = 0.0
def die(network, history):
    if len(history) == 3:
        os._exit(9)
train_model("pinn", load_dataset("scan.npz"), study(), 1, "run", on_epoch=die)
"""


def test_a_killed_training_continues_to_the_same_network(runs, data, tmp_path):
    save_dataset(data, tmp_path / "scan.npz")
    ending = run_python(KILLED, tmp_path)
    assert ending.returncode == 9, ending.stderr
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {checkpoint.STATE}  # nothing looks finished
    epochs = []
    continued = train_model(
        "pinn", data, study(), 1, tmp_path / "run", on_epoch=lambda _, history: epochs.append(len(history))
    )
    assert epochs == [3, 4]
    whole = runs["pinn"][0]
    assert same_weights(continued, whole)
    np.testing.assert_array_equal(continued.history["val_loss"], whole.history["val_loss"])
    assert continued.outcome.best_epoch == whole.outcome.best_epoch
    assert {path.name for path in (tmp_path / "run").iterdir()} == {MODEL, HISTORY, OUTCOME}


def test_the_weights_of_the_best_epoch_are_kept(data, tmp_path):
    seen = []
    trained = train_model(
        "baseline",
        data,
        study(steps=8, validations=8, learning_rate=0.05, warmup_fraction=0),
        1,
        tmp_path,
        on_epoch=lambda network, _: seen.append(network.get_weights()),
    )
    best = int(trained.history["val_loss"].idxmin())
    assert trained.outcome.best_epoch == best + 1
    for kept, weight in zip(trained.network.get_weights(), seen[best], strict=True):
        np.testing.assert_array_equal(kept, weight)


@pytest.mark.parametrize(("patience", "min_epochs", "epochs"), [(2, 1, 3), (1, 4, 4)])
def test_early_stopping_waits_for_patience_and_the_least_number_of_epochs(data, tmp_path, patience, min_epochs, epochs):
    frozen = study(
        steps=6, validations=6, learning_rate=1e-30, patience=patience, min_epochs=min_epochs
    )  # nothing gets better after the first epoch
    trained = train_model("baseline", data, frozen, 1, tmp_path)
    assert trained.outcome.epochs == len(trained.history) == epochs
    assert trained.outcome.best_epoch == 1


def test_a_training_can_be_stopped_from_outside(data, tmp_path):
    histories = []
    trained = train_model(
        "baseline",
        data,
        study(),
        1,
        tmp_path,
        on_epoch=lambda _, history: histories.append(history),
        should_stop=lambda: len(histories) == 1,  # asked before the report of the same epoch
    )
    assert trained.outcome.epochs == len(histories) == 2
    assert (tmp_path / MODEL).exists()
    assert (tmp_path / OUTCOME).exists()


def test_a_diverging_training_is_a_collapse_and_keeps_finite_weights(data, tmp_path):
    trained = train_model("pinn", data, study(learning_rate=1e30, warmup_fraction=0), 1, tmp_path)
    assert trained.collapsed
    assert "loss became" in trained.reason
    assert trained.outcome.epochs == 1
    assert all(np.isfinite(weight).all() for weight in trained.network.get_weights())
    assert json.loads((tmp_path / OUTCOME).read_text())["collapsed"] is True


def test_a_pattern_that_is_not_a_number_is_a_collapse(data, tmp_path):
    patterns = data.diffraction.copy()
    patterns[5, 3, 3] = np.nan
    trained = train_model("pinn", replace(data, diffraction=patterns), study(), 1, tmp_path)
    assert trained.collapsed
    assert "nan" in trained.reason


def test_a_constant_object_is_a_collapse(data, tmp_path):
    """Equal patterns and labels leave nothing to learn but the constant."""
    blind = replace(data, obj=np.ones_like(data.obj), diffraction=np.ones_like(data.diffraction))
    flat = train_model("baseline", blind, study({"first_guess_iterations": 0}), 1, tmp_path)
    assert flat.collapsed
    assert "constant object" in flat.reason


def test_the_loss_follows_the_knowledge_of_photons(runs, data, tmp_path):
    assert data.photons_per_pattern == 1e5
    assert runs["pinn"][0].network.loss_weights == {"poisson": 1}
    unknown = replace(data, photons_per_pattern=None)
    trained = train_model("pinn", unknown, study(steps=3, validations=1), 1, tmp_path)
    assert trained.network.loss_weights == {"amplitude_mae": 1}


@pytest.mark.parametrize("trainable", [True, False])
def test_a_training_refines_scale_and_probe_where_it_may(data, tmp_path, trainable):
    options = {"trainable_scale": trainable, "trainable_probe": trainable, "probe_mask_radius_px": 9}
    trained = train_model("pinn", data, study(options), 1, tmp_path)
    given = normalised_probe(data.probe, 9)
    for network in (trained.network, load_model(tmp_path / MODEL)):
        model = network.diffraction_model
        assert (float(model.log_scale.numpy()) != 0) == trainable
        inside = np.hypot(*(np.indices((32, 32)) - 16)) <= 9
        assert not model.probe.numpy()[:, ~inside].any()
        assert np.any(np.abs(model.probe.numpy() - given)[:, inside] > 1e-3) == trainable
        np.testing.assert_array_equal(network.first_guess.probe, given)


def test_weights_of_the_loss_change_the_training(runs, data, tmp_path):
    both = train_model("pinn", data, study(pinn_loss={"poisson": 1, "amplitude_mae": 0.5}), 1, tmp_path)
    assert not same_weights(both, runs["pinn"][0])
    assert both.history["loss"].iloc[0] > runs["pinn"][0].history["loss"].iloc[0]


def test_the_learning_rate_rises_and_falls_to_zero(data, tmp_path):
    config = study(steps=40, validations=10, learning_rate=1e-3, warmup_fraction=0.3)
    rates = train_model("baseline", data, config, 1, tmp_path).history["learning_rate"]
    assert rates.idxmax() == 2  # the third of ten epochs ends the warm-up
    assert rates.max() == pytest.approx(1e-3, rel=0.02)
    assert rates.iloc[:3].is_monotonic_increasing
    assert rates.iloc[3:].is_monotonic_decreasing
    assert rates.iloc[-1] == pytest.approx(0, abs=1e-9)


def test_every_size_takes_the_same_number_of_gradient_steps(data, tmp_path):
    for count in (2, 24):
        trained = train_model("baseline", data.select(range(count)), study(steps=11), 1, tmp_path / str(count))
        assert (trained.outcome.steps, trained.outcome.epochs) == (12, 4)  # rounded up to four epochs of three


@pytest.mark.parametrize(("model", "count"), [("pinn", 1), ("pinn", 3), ("baseline", 1), ("baseline", 3)])
def test_a_handful_of_patterns_can_be_trained_on(data, tmp_path, model, count):
    trained = train_model(
        model, data.select(range(count)), study(merged_patches=8, steps=4, validations=1), 1, tmp_path
    )
    assert trained.outcome.n_groups == count
    assert np.isfinite(trained.history["val_loss"]).all()


@pytest.mark.parametrize("model", MODELS)
def test_groups_of_neighbours_are_trained_and_predicted(data, tmp_path, model):
    trained = train_model(model, data, study({"gridsize": 2}, steps=6, validations=2), 1, tmp_path)
    assert trained.outcome.n_groups == 24
    seen = predict_patches(trained.network, data)
    assert seen.patches.shape == (24 * 4, 16, 16)
    assert seen.positions_px.shape == (24 * 4, 2)
    np.testing.assert_array_equal(seen.positions_px[::4], data.positions_px)


def test_bfloat16_trains_to_nearly_the_same(runs, data, tmp_path):
    trained = train_model("pinn", data, study(precision="mixed_bfloat16"), 1, tmp_path)
    assert not trained.collapsed
    assert np.isfinite(predict_patches(trained.network, data).patches).all()
    found, usual = (one.history["val_loss"].iloc[-1] for one in (trained, runs["pinn"][0]))
    assert found != usual
    assert found == pytest.approx(usual, rel=0.1)


COMPILED = """
from tests.networks.test_training import study
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.networks.training import train_model
config = study(jit_compile=True, precision={precision!r})
trained = train_model({model!r}, load_dataset("scan.npz"), config, 1, "run")
assert trained.network.jit_compile
"""


@pytest.mark.slow  # XLA compiles for half a minute
@pytest.mark.parametrize(
    ("model", "precision"), [("pinn", "float32"), ("pinn", "mixed_bfloat16"), ("baseline", "float32")]
)
def test_a_step_compiled_by_xla_trains_to_nearly_the_same(runs, data, tmp_path, model, precision):
    """In its own process: determinism, once promised to the other trainings, excludes XLA."""
    save_dataset(data, tmp_path / "scan.npz")
    ending = run_python(COMPILED.format(model=model, precision=precision), tmp_path)
    assert ending.returncode == 0, ending.stderr
    found = pd.read_csv(tmp_path / "run" / HISTORY)["val_loss"]
    assert found.iloc[-1] == pytest.approx(runs[model][0].history["val_loss"].iloc[-1], rel=0.1)


@pytest.mark.parametrize("model", MODELS)
def test_predicted_patches_are_the_networks_central_regions(runs, data, model):
    network = runs[model][0].network
    seen = predict_patches(network, data)
    scaled = data.diffraction * np.float32(16 / np.sqrt(np.square(data.diffraction).sum() / len(data)))
    parts = central_half(np.moveaxis(network({"diffraction": scaled[:, None]}).numpy(), -1, 0))[:, :, 0]
    expected = (parts[0] + 1j * parts[1]) * float(network.object_scale.numpy())
    assert seen.patches.dtype == np.complex64
    np.testing.assert_allclose(seen.patches, expected, atol=2e-5)
    np.testing.assert_array_equal(seen.positions_px, data.positions_px)
    assert seen.usage.seconds > 0
    assert seen.usage.peak_memory_bytes > 50_000_000


def test_predictions_do_not_depend_on_the_batch_size_or_the_dose(runs, data):
    network = runs["pinn"][0].network
    expected = predict_patches(network, data).patches
    np.testing.assert_allclose(predict_patches(network, data, batch_size=7).patches, expected, atol=1e-5)
    brighter = replace(data, diffraction=data.diffraction * np.float32(50))
    np.testing.assert_allclose(predict_patches(network, brighter).patches, expected, atol=1e-4)


def test_a_supervised_network_answers_in_the_units_of_its_labels(runs, data, tmp_path):
    larger = replace(data, obj=data.obj * np.complex64(5))
    trained = train_model("baseline", larger, study(), 1, tmp_path)
    usual = predict_patches(runs["baseline"][0].network, data).patches
    np.testing.assert_allclose(predict_patches(trained.network, larger).patches, 5 * usual, rtol=0.02, atol=0.02)


DEVICES = """
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * {count})
from tests.networks.test_training import study
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.networks import training
names = ["CPU:%d" % number for number in range({count})]
training.distribution = lambda: tf.distribute.MirroredStrategy(names)
config = study({{"first_guess_iterations": 5}}, merged_patches=4)
training.train_model({model!r}, load_dataset("scan.npz"), config, 1, "run")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("model", "count"), [("pinn", 2), ("pinn", 3), ("baseline", 3)])
def test_several_devices_share_each_batch(data, tmp_path, model, count):
    """Groups are never divided between devices, whatever the batch size; the result is that of one device."""
    save_dataset(data, tmp_path / "scan.npz")
    ending = run_python(DEVICES.format(model=model, count=count), tmp_path)
    assert ending.returncode == 0, ending.stderr
    batch_size = {"pinn": 4 * count, "baseline": 6 if count == 3 else 8}[model]
    alone = study({"first_guess_iterations": 5}, merged_patches=4, batch_size=batch_size)
    whole = train_model(model, data, alone, 1, tmp_path / "one").history
    found = pd.read_csv(tmp_path / "run" / HISTORY)
    for loss in ("loss", "val_loss"):
        np.testing.assert_allclose(found[loss], whole[loss], rtol=1e-2)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_freed_memory_is_kept_where_the_c_library_can():
    assert keep_freed_memory()
