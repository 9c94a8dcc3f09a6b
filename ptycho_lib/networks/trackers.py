"""Losses sent to a tracker while a network trains: TensorBoard's files, or an MLflow store. Never required.

What a tracker is told changes no result: the setting is no part of a run's identity, and a store that cannot be reached
ends the tracking, not the training.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from ptycho_lib.config import MLFLOW_STORE, StudyConfig

EXPERIMENT = "ptycho_lib"
"""MLflow's experiment, unless MLFLOW_EXPERIMENT_NAME names another."""

_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
)
"""What makes a tensor a scalar for TensorBoard; `tf.summary.scalar` needs TensorBoard itself."""


class Tracker(Protocol):
    """Where the losses of a training go."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the values of one epoch."""


class NoTracker:
    """Takes nothing down."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Forget the values."""
        del epoch, values


class TensorBoardTracker:
    """Writes event files that `tensorboard --logdir` shows.

    Parameters
    ----------
    folder : Path
        Receives the files.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write one scalar for each value."""
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=epoch, metadata=_SCALAR)
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()


class MlflowTracker:
    """Logs to an MLflow store.

    Parameters
    ----------
    client, run_id
        An `mlflow.MlflowClient`, and the run that takes the values.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._reachable = True

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Send the values; a store that cannot be reached gets no more."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra

        if not self._reachable:
            return
        try:
            for name, value in values.items():
                self._client.log_metric(self._run_id, name, value, step=epoch)
        except (MlflowException, OSError) as error:
            self._reachable = False
            warnings.warn(f"MLflow takes no more values: {error}", stacklevel=2)


@contextmanager
def tracker_of(config: StudyConfig, model: str, trial: int, n_patterns: int, folder: Path) -> Iterator[Tracker]:
    """Open the tracker that `training.tracker` names, for one training.

    Parameters
    ----------
    config : StudyConfig
    model : str
    trial, n_patterns : int
        What tells the trainings of a study apart.
    folder : Path
        Receives TensorBoard's files, in `tensorboard/MODEL`.

    Yields
    ------
    Tracker

    Raises
    ------
    ModuleNotFoundError
        If the extra `mlflow` is asked for and not installed.
    """
    if config.training.tracker == "tensorboard":
        board = TensorBoardTracker(folder / "tensorboard" / model)
        try:
            yield board
        finally:
            board.close()
    elif config.training.tracker == "mlflow":
        with _mlflow_run(config, model, trial, n_patterns) as tracker:
            yield tracker
    else:
        yield NoTracker()


@contextmanager
def _mlflow_run(config: StudyConfig, model: str, trial: int, n_patterns: int) -> Iterator[Tracker]:
    import mlflow  # noqa: PLC0415 - an extra
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    store = os.environ.get(MLFLOW_STORE, "")
    if not store:
        warnings.warn(f"MLflow is left out: {MLFLOW_STORE} names no store", stacklevel=2)
        yield NoTracker()
        return
    name = f"{config.name} {model} n_train {n_patterns} trial {trial}"
    facts = {"study": config.name, "model": model, "n_train": str(n_patterns), "trial": str(trial)}
    try:
        client = mlflow.MlflowClient(tracking_uri=store)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else client.create_experiment(experiment)
        run_id = client.create_run(number, run_name=name, tags=facts).info.run_id
        for key, value in config.training.model_dump(mode="json").items():
            client.log_param(run_id, f"training.{key}", value)
        for key, value in config.network.model_dump(mode="json").items():
            client.log_param(run_id, f"network.{key}", value)
    except (MlflowException, OSError) as error:
        warnings.warn(f"MLflow is left out, its store {store} does not answer: {error}", stacklevel=2)
        yield NoTracker()
        return
    state = "FAILED"
    try:
        yield MlflowTracker(client, run_id)
        state = "FINISHED"
    finally:
        try:
            client.set_terminated(run_id, status=state)
        except (MlflowException, OSError) as error:
            warnings.warn(f"MLflow was not told of the end: {error}", stacklevel=2)
