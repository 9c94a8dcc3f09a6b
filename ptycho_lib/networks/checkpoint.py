"""The callback of a training: history, best weights, early stop, progress, continuation."""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from ptycho_lib.config import TrainingConfig

STATE = "training_state.npz"
SAVE_EVERY_S = 20.0
"""A kill loses at most this much training (and one epoch)."""

Weights = list[np.ndarray]


class Checkpoints(keras.callbacks.Callback):
    """Keep the history and the best weights on validation loss, and all that a continuation needs.

    Parameters
    ----------
    folder : Path
        Receives the state of an unfinished training; removed by `finish`.
    config : TrainingConfig
    epochs : int
        Planned number.
    report : callable
        Gets each epoch's row of the history.
    should_stop : callable
        Asked after every epoch.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        epochs: int,
        *,
        report: Callable[[pd.DataFrame], None],
        should_stop: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.path, self.config, self.epochs = folder / STATE, config, epochs
        self.report, self.should_stop = report, should_stop
        self.rows: list[dict[str, float]] = []
        self.best: Weights = []
        self.best_epoch, self.best_loss = 0, math.inf
        self.diverged = ""
        self._epoch_started = self._saved = time.monotonic()

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        return pd.DataFrame(self.rows, columns=["epoch", "loss", "val_loss", "learning_rate", "seconds"])

    def restore(self, network: keras.Model) -> int:
        """Restore the state of an interrupted training; return the number of epochs already done.

        A state that is damaged, as after a power cut, counts as none: the training starts anew.
        """
        self.best = network.get_weights()
        variables = network.optimizer.variables
        try:
            with np.load(self.path, allow_pickle=False) as state:
                record = json.loads(str(state["record"]))
                weights = [state[f"weight_{k}"] for k in range(len(network.weights))]
                moments = [state[f"optimizer_{k}"] for k in range(len(variables))]
                best = [state[f"best_{k}"] for k in range(len(network.weights))]
            rows, best_epoch, best_loss = record["rows"], record["best_epoch"], record["best_loss"]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self.path.unlink(missing_ok=True)
            return 0
        _assign(network.weights, weights)
        _assign(variables, moments)
        self.best, self.rows, self.best_epoch, self.best_loss = best, rows, best_epoch, best_loss
        return len(self.rows)

    def finish(self) -> None:
        """Give the network its best weights and remove the state of the unfinished training."""
        self.model.set_weights(self.best)
        for path in (self.path, self.path.with_suffix(".partial")):
            path.unlink(missing_ok=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._epoch_started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch, keep the best weights, decide whether to go on."""
        loss, validation = float(logs["loss"]), float(logs["val_loss"])
        optimizer = self.model.optimizer
        self.rows.append(
            {
                "epoch": epoch + 1,
                "loss": loss,
                "val_loss": validation,
                "learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
                "seconds": time.monotonic() - self._epoch_started,
            }
        )
        if validation < self.best_loss:
            self.best, self.best_loss, self.best_epoch = self.model.get_weights(), validation, epoch + 1
        if not (math.isfinite(loss) and math.isfinite(validation)):
            self.diverged = f"the loss became {loss} and the validation loss {validation} in epoch {epoch + 1}"
            self.model.stop_training = True
        if self._out_of_patience() or self.should_stop():
            self.model.stop_training = True
        self.report(self.history)
        if time.monotonic() - self._saved > SAVE_EVERY_S and not self.model.stop_training:
            self._save()

    def _out_of_patience(self) -> bool:
        done = len(self.rows)
        waited = done - self.best_epoch
        return 0 < self.config.patience <= waited and done >= self.config.min_epochs

    def _save(self) -> None:
        """Write everything a continuation needs, atomically."""
        arrays = {f"weight_{k}": value for k, value in enumerate(self.model.get_weights())}
        arrays |= {f"best_{k}": value for k, value in enumerate(self.best)}
        arrays |= {
            f"optimizer_{k}": keras.ops.convert_to_numpy(variable)
            for k, variable in enumerate(self.model.optimizer.variables)
        }
        record = {"rows": self.rows, "best_epoch": self.best_epoch, "best_loss": self.best_loss}
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, record=np.array(json.dumps(record)), **arrays)
        partial.replace(self.path)
        self._saved = time.monotonic()


def _assign(variables: list[Any], values: Weights) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
