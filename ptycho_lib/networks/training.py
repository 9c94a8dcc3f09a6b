"""Training: the same schedule, batches and care for both models.

`train_model` is all that a notebook needs: it builds, trains, keeps the best weights on validation loss,
survives a kill, says whether the training collapsed, and leaves `model.keras` and `history.csv`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ptycho_lib.config import Model, StudyConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.networks.batches import (
    Indices,
    Samples,
    central_half,
    epoch_batches,
    first_guesses,
    hold_out,
    input_scale,
    normalised_probe,
    overlap_partners,
    sample_groups,
)
from ptycho_lib.networks.checkpoint import Keeper
from ptycho_lib.networks.devices import configure_devices, distribution
from ptycho_lib.networks.models import (
    PtychoPINN,
    ReconstructionNetwork,
    build_baseline,
    build_pinn,
    load_model,
)
from ptycho_lib.resource_usage import Meter

MODEL, HISTORY, OUTCOME = "model.keras", "history.csv", "outcome.json"

CONSTANT = 0.01
"""Patches that vary by less than this share of their mean amplitude are a constant object: a collapse."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    seconds: float
    """Wall time of preparation (building, first guesses), gradient steps and validations."""
    peak_memory_bytes: int
    """`usage.Usage`; of a continued training, since it was continued."""
    epochs: int
    steps: int
    n_groups: int
    """Training samples: patterns at gridsize 1, groups above."""
    parameters: int
    """Trainable weights."""
    best_epoch: int
    """The epoch whose weights were kept: least validation loss."""
    collapsed: bool
    reason: str
    """Why it counts as collapsed; empty if it does not."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network and the record of its training."""

    name: Model
    """Name of the model, such as `pinn`."""
    network: ReconstructionNetwork
    history: pd.DataFrame
    """One row an epoch: epoch, loss, val_loss, learning_rate, seconds."""
    outcome: Outcome

    @property
    def seconds(self) -> float:
        """Wall time of the training."""
        return self.outcome.seconds

    @property
    def peak_memory_bytes(self) -> int:
        """Largest memory of the process meanwhile."""
        return self.outcome.peak_memory_bytes

    @property
    def collapsed(self) -> bool:
        """Whether the training diverged or ended in a constant object."""
        return self.outcome.collapsed

    @property
    def reason(self) -> str:
        """Why it counts as collapsed; empty if it does not."""
        return self.outcome.reason


def train_model(
    model: Model,
    dataset: PtychoDataset,
    config: StudyConfig,
    trial: int,
    output_dir: str | Path,
    *,
    progress_file: str | Path | None = None,
    on_epoch: Callable[[ReconstructionNetwork, pd.DataFrame], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainedModel:
    """Train one model on a training subset.

    Same dataset, configuration, trial, machine and number of threads give the same weights. A killed
    training that is started again in the same folder continues, to the same weights; a finished one is
    loaded.

    Parameters
    ----------
    model : {"pinn", "baseline"}
    dataset : PtychoDataset
        The training subset, in nested order.
    config : StudyConfig
    trial : int
        Selects the seeds.
    output_dir : path
        Receives `model.keras`, `history.csv` and `outcome.json`.
    progress_file : path, optional
        JSON lines are appended to it: time, model, epoch, epochs, loss, val_loss.
    on_epoch : callable, optional
        Called after every epoch with the network and the history so far.
    should_stop : callable, optional
        Asked after every epoch; on True the training ends with the best weights so far.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = _finished(folder)
    if outcome is not None:
        return TrainedModel(model, load_model(folder / MODEL), pd.read_csv(folder / HISTORY), outcome)

    meter = Meter()
    configure_devices()
    seeds = config.seeds(trial)
    keras.utils.set_random_seed(seeds["weights"])
    if not config.training.jit_compile:
        # Keras refuses XLA where TensorFlow promises determinism: not every gradient has both.
        tf.config.experimental.enable_op_determinism()
    probe = normalised_probe(dataset.probe, config.network.probe_mask_radius_px)
    with distribution().scope():
        build = build_pinn if model == "pinn" else build_baseline
        network = build(config.network, probe, precision=config.training.precision)
        feed = _Feed(network, dataset, config, seeds["order"])
        feed.prepare(network)

    def report(history: pd.DataFrame) -> None:
        if progress_file is not None:
            _append_progress(Path(progress_file), model, history, feed.epochs)
        if on_epoch is not None:
            on_epoch(network, history)

    keeper = Keeper(folder, config.training, feed.epochs, report=report, should_stop=should_stop or (lambda: False))
    keeper.set_model(network)
    done = keeper.restore(network)
    prepared = meter.read().seconds
    if done < feed.epochs:
        network.fit(
            feed.training(done),
            validation_data=feed.validation(),
            initial_epoch=done,
            epochs=feed.epochs,
            steps_per_epoch=feed.steps,
            callbacks=[keeper],
            shuffle=False,
            verbose=0,
        )
    keeper.finish()
    reason = keeper.diverged or _constant(network, feed)
    outcome = Outcome(
        seconds=prepared + float(keeper.history["seconds"].sum()),
        peak_memory_bytes=meter.read().peak_memory_bytes,
        epochs=len(keeper.rows),
        steps=len(keeper.rows) * feed.steps,
        n_groups=len(np.unique(feed.samples.members[:, 0])),
        parameters=_size(network),
        best_epoch=keeper.best_epoch,
        collapsed=bool(reason),
        reason=reason,
    )
    network.save(folder / MODEL)
    keeper.history.to_csv(folder / HISTORY, index=False)
    # Last, and under its name only once it is whole: it says that the other files are.
    partial = folder / f".{OUTCOME}"
    partial.write_text(json.dumps(asdict(outcome), indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / OUTCOME)
    return TrainedModel(model, network, keeper.history, outcome)


class _Feed:
    """All that a training is fed with: samples, batches, schedule, loss."""

    def __init__(self, network: ReconstructionNetwork, dataset: PtychoDataset, config: StudyConfig, seed: int) -> None:
        self.config, self.seed, self.dataset = config.training, seed, dataset
        self.labels = not isinstance(network, PtychoPINN)
        gridsize = config.network.gridsize
        fit, held = hold_out(len(dataset), config.sampling.validation_fraction, gridsize)
        groups = [sample_groups(dataset.positions_px, part, gridsize, seed) for part in (fit, held)]
        self.count, scale = len(groups[0]), input_scale(dataset)
        self.samples = Samples(dataset, np.concatenate(groups), scale, self._object_scale() if self.labels else 1.0)
        if network.corrects_guess:
            self.samples = replace(self.samples, guess=first_guesses(network.first_guess, self.samples))
        single = self.labels or gridsize > 1
        self.overlap = 1 if single else min(self.config.overlap, self.count)
        # Devices share a batch evenly, and never divide a group.
        self.devices = tf.distribute.get_strategy().num_replicas_in_sync
        unit = self.overlap * self.devices
        self.batch_size = max(unit, self.config.batch_size // unit * unit)
        self.epochs = self.config.epochs
        self.steps = max(-(-self.count // self.batch_size), -(-self.config.min_steps // self.epochs))
        centres = dataset.positions_px[self.samples.members[:, 0]]
        self.partners = overlap_partners(centres, centres[: self.count], reach_px=dataset.patch_size / 2)

    def prepare(self, network: ReconstructionNetwork) -> None:
        """Set scale, loss and optimiser of the network."""
        network.object_scale.assign(self.samples.object_scale)
        if isinstance(network, PtychoPINN):
            counts_known = self.dataset.photons_per_pattern is not None
            network.prepare_loss(
                self.config, counts_known=counts_known, overlap=self.overlap, reach_px=self._reach_px()
            )
        total = self.steps * self.epochs
        warmup = round(total * self.config.warmup_fraction)
        schedule = keras.optimizers.schedules.CosineDecay(
            self.config.learning_rate / 100 if warmup else self.config.learning_rate,
            max(total - warmup, 1),
            warmup_target=self.config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.Adam(schedule, beta_2=0.99, global_clipnorm=1.0)
        optimizer.build(network.trainable_variables)
        network.compile(optimizer=optimizer, jit_compile=self.config.jit_compile)

    def training(self, epoch: int) -> tf.data.Dataset:
        """Return the batches from an epoch on."""

        def batches() -> Iterator[Any]:
            for number in itertools.count(epoch):
                shape = (self.steps, self.batch_size, self.overlap)
                order = epoch_batches(self.count, *shape, self.partners, self.seed, number)
                yield from (self._batch(chosen) for chosen in order)

        return self._stream(batches, self.batch_size)

    def validation(self) -> tf.data.Dataset:
        """Return the held-out samples, each with its nearest training samples as overlap partners."""
        once = np.arange(self.count, len(self.samples))
        # Repeated to fill the devices; what is repeated does not count.
        held = np.resize(once, -(-len(once) // self.devices) * self.devices)
        counts = np.zeros((len(held), self.overlap), np.float32)
        counts[: len(once), 0] = 1
        groups = np.repeat(held[:, None], self.overlap, axis=1)
        nearest = self.partners[held, : self.overlap - 1]
        groups[:, 1:] = np.where(nearest >= 0, nearest, groups[:, 1:])
        per_batch = max(1, 64 // self.overlap // self.devices) * self.devices

        def batches() -> Iterator[Any]:
            for start in range(0, len(held), per_batch):
                chosen = slice(start, start + per_batch)
                yield self._batch(groups[chosen].ravel(), counts[chosen].ravel())

        count = tf.data.experimental.assert_cardinality(-(-len(held) // per_batch))
        return self._stream(batches, None).apply(count)

    def _batch(self, chosen: Indices, counts: np.ndarray | float = 1.0) -> Any:
        inputs = self.samples.inputs(chosen)
        inputs["weight"] *= np.reshape(counts, (-1, 1))
        return (inputs, self.samples.labels(chosen)) if self.labels else (inputs,)

    def _stream(self, batches: Callable[[], Iterator[Any]], size: int | None) -> tf.data.Dataset:
        example = self._batch(np.zeros(1, np.int64))
        signature = tf.nest.map_structure(lambda x: tf.TensorSpec((size, *x.shape[1:]), x.dtype), example)
        stream = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
        options = tf.data.Options()
        # There is nothing to tune, and at the end of a training its thread is waited for up to half a minute.
        options.autotune.enabled = False
        return stream.with_options(options)

    def _object_scale(self) -> float:
        """Return the root mean square amplitude of the object that the labels are cut from."""
        some = np.unique(np.linspace(0, len(self.dataset) - 1, 512).astype(np.int64))
        power = np.square(np.abs(central_half(self.dataset.object_patches(some))), dtype=np.float64).mean()
        return float(np.sqrt(power)) or 1.0

    def _reach_px(self) -> int:
        """Return the largest offset within a group of merged patches, whole pixels."""
        positions = self.dataset.positions_px
        members = self.samples.members
        offsets = [positions[members] - positions[members[:, :1]]]
        if self.overlap > 1:
            near = np.where(self.partners >= 0, self.partners, np.arange(len(members))[:, None])
            centres = positions[members[:, 0]]
            offsets.append(centres[near] - centres[:, None])
        return math.ceil(max(float(np.abs(offset).max()) for offset in offsets))


def _constant(network: ReconstructionNetwork, feed: _Feed) -> str:
    """Return why the network's patches count as a constant object, or nothing."""
    chosen = np.arange(min(64, feed.count))
    parts = central_half(np.moveaxis(network.predict_on_batch(feed.samples.inputs(chosen)), -1, 0))
    patches = parts[0] + 1j * parts[1]
    if not np.isfinite(patches).all():
        return "the network returns values that are not finite"
    share = float(np.std(patches) / max(float(np.abs(patches).mean()), np.finfo(np.float32).tiny))
    return f"the network returns a constant object (contrast {share:.1e})" if share < CONSTANT else ""


def _finished(folder: Path) -> Outcome | None:
    """Return how an earlier training in the folder ended, or None if none did, or its note is damaged."""
    try:
        return Outcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _size(network: ReconstructionNetwork) -> int:
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def _append_progress(path: Path, model: str, history: pd.DataFrame, epochs: int) -> None:
    last = history.iloc[-1]
    line = {
        "time": time.time(),
        "model": model,
        "epoch": int(last["epoch"]),
        "epochs": epochs,
        "loss": float(last["loss"]),
        "val_loss": float(last["val_loss"]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + os.linesep)
