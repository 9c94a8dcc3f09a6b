"""Training: the same number of gradient steps and the same schedule for both models and every size.

`train_model` builds, trains, keeps the weights of the least validation loss, continues after a kill, says
whether the training collapsed, and leaves `model.keras`, `history.csv` and `outcome.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ptycho_lib.config import Model, StudyConfig, TrainingConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.io.files import note_progress, write_atomically
from ptycho_lib.networks.batches import MixedSamples, Samples, central_half, photons_per_pixel, probe_in_use
from ptycho_lib.networks.checkpoint import Checkpoints
from ptycho_lib.networks.devices import configure_devices, distribution
from ptycho_lib.networks.guesses import with_first_guesses
from ptycho_lib.networks.losses import loss_weights
from ptycho_lib.networks.models import ReconstructionNetwork, build_baseline, build_pinn, load_model
from ptycho_lib.networks.optimizer import OneKernelAdam
from ptycho_lib.networks.streams import Batching, plan_batches, training_stream, validation_stream
from ptycho_lib.networks.trackers import NoTracker, Tracker, tracker_of
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
    """`resource_usage.Usage`; of a continued training, since it was continued."""
    epochs: int
    """Validations: an epoch is the steps between two of them."""
    steps: int
    """Gradient steps."""
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
    data: PtychoDataset | Sequence[PtychoDataset],
    config: StudyConfig,
    trial: int,
    output_dir: str | Path,
    *,
    start: ReconstructionNetwork | None = None,
    progress_file: str | Path | None = None,
    on_epoch: Callable[[ReconstructionNetwork, pd.DataFrame], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    cached: ArrayCache | None = None,
) -> TrainedModel:
    """Train one model on a training subset.

    Same dataset, configuration, trial, machine and number of threads give the same weights. A killed
    training that is started again in the same folder continues, to the same weights; a finished one is
    loaded.

    Parameters
    ----------
    model : {"pinn", "baseline"}
    data : PtychoDataset or sequence of them
        The training subset, in nested order; of several scans one each. Every pattern is taken under the probe,
        the input scale and the detector mask of its scan. The saved network keeps the probe of the first.
    config : StudyConfig
    trial : int
        Selects the seeds.
    output_dir : path
        Receives `model.keras`, `history.csv` and `outcome.json`.
    start : ReconstructionNetwork, optional
        A trained network of the same settings, whose backbone the training starts from. Probe and intensity scale are
        those of the dataset.
    progress_file : path, optional
        JSON lines are appended to it: time, model, epoch, epochs, loss, val_loss.
    on_epoch : callable, optional
        Called after every epoch with the network and the history so far.
    should_stop : callable, optional
        Asked after every epoch; on True the training ends with the best weights so far.
    cached : ArrayCache, optional
        Where first guesses are kept for other networks. The result is the same without.

    Returns
    -------
    TrainedModel

    Raises
    ------
    ValueError
        If the patterns' edge N is not a power of two from 32 or differs between scans, or if the probe of several
        scans is to be refined.
    """
    scans = (data,) if isinstance(data, PtychoDataset) else tuple(data)
    _refuse_different(scans, config)
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
    epochs = config.training.epochs
    with distribution().scope():
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        plan = plan_batches(scans, config, seeds["order"], labelled=model == "baseline", devices=devices)
        network = _build(model, scans, plan, config)
        if start is not None:
            network.backbone.set_weights(start.backbone.get_weights())
    found_s = 0.0
    if network.corrects_guess:
        samples, found_s = with_first_guesses(network.first_guess, plan.samples, cached)
        plan = replace(plan, samples=samples)

    tracker: Tracker = NoTracker()

    def report(history: pd.DataFrame) -> None:
        last = history.iloc[-1]
        losses = {"loss": float(last["loss"]), "val_loss": float(last["val_loss"])}
        tracker.log(int(last["epoch"]), losses | {"learning_rate": float(last["learning_rate"])})
        if progress_file is not None:
            note_progress(Path(progress_file), model, int(last["epoch"]), epochs, **losses)
        if on_epoch is not None:
            on_epoch(network, history)

    checkpoints = Checkpoints(
        folder, config.training, epochs, report=report, should_stop=should_stop or (lambda: False)
    )
    checkpoints.set_model(network)
    done = checkpoints.restore(network)
    prepared = meter.read().seconds + found_s  # a network pays for its first guesses, whoever made them
    beside = folder if progress_file is None else Path(progress_file).parent
    if done < epochs:
        with tracker_of(config, model, trial, _groups(plan.samples), beside) as tracker:
            network.fit(
                training_stream(plan, done),
                validation_data=validation_stream(plan),
                initial_epoch=done,
                epochs=epochs,
                steps_per_epoch=plan.steps,
                callbacks=[checkpoints],
                shuffle=False,
                verbose=0,
            )
    checkpoints.finish()
    reason = checkpoints.diverged or _constant(network, plan)
    outcome = Outcome(
        seconds=prepared + float(checkpoints.history["seconds"].sum()),
        peak_memory_bytes=meter.read().peak_memory_bytes,
        epochs=len(checkpoints.rows),
        steps=len(checkpoints.rows) * plan.steps,
        n_groups=_groups(plan.samples),
        parameters=_size(network),
        best_epoch=checkpoints.best_epoch,
        collapsed=bool(reason),
        reason=reason,
    )
    network.save(folder / MODEL)
    checkpoints.history.to_csv(folder / HISTORY, index=False)
    # Last: it says that the other files are whole.
    write_atomically(folder / OUTCOME, json.dumps(asdict(outcome), indent=2) + "\n")
    return TrainedModel(model, network, checkpoints.history, outcome)


def _refuse_different(scans: Sequence[PtychoDataset], config: StudyConfig) -> None:
    """Refuse scans that no one network can be trained on."""
    sizes = sorted({scan.patch_size for scan in scans})
    if len(sizes) != 1:
        raise ValueError(f"training needs scans with patterns of one size, not {sizes or 'none'}")
    if len(scans) > 1 and config.network.trainable_probe:
        raise ValueError("trainable_probe refines the probe of one scan; several training scans have one each")


def _build(model: Model, scans: Sequence[PtychoDataset], plan: Batching, config: StudyConfig) -> ReconstructionNetwork:
    """Return the network of a training, ready for its first gradient step."""
    precision, probe = config.training.precision, probe_in_use(scans[0], config.network)
    network: ReconstructionNetwork
    if model == "pinn":
        loss = loss_weights(config.training, counts_known=all(scan.photons_per_pattern is not None for scan in scans))
        group = {"merged_patches": plan.merged, "reach_px": plan.reach_px}
        network = build_pinn(config.network, probe, precision=precision, loss=loss, **group)
    else:
        network = build_baseline(config.network, probe, precision=precision)
    network.object_scale.assign(plan.samples.object_scale)
    network.first_guess.photons_px = photons_per_pixel(scans[0])
    optimizer = _optimizer(config.training)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer=optimizer, jit_compile=config.training.jit_compile)
    return network


def _optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """Return Adam with a linear warm-up and a cosine decay to zero at the last step."""
    total = training.steps_per_epoch * training.epochs
    warmup = round(total * training.warmup_fraction)
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 100 if warmup else training.learning_rate,
        max(total - warmup, 1),
        warmup_target=training.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return OneKernelAdam(schedule, beta_2=0.99, max_norm=1.0)


def _constant(network: ReconstructionNetwork, plan: Batching) -> str:
    """Return why the network's patches count as a constant object, or nothing."""
    chosen = np.arange(min(64, plan.count))
    parts = central_half(np.moveaxis(network.predict_on_batch(plan.samples.inputs(chosen)), -1, 0))
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


def _groups(samples: Samples | MixedSamples) -> int:
    """Return the number of different samples of a training: gradient steps and validation may share them."""
    parts = samples.parts if isinstance(samples, MixedSamples) else (samples,)
    return sum(len(np.unique(part.members[:, 0])) for part in parts)


def _size(network: ReconstructionNetwork) -> int:
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
