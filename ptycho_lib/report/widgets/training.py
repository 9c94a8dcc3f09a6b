"""Live view of a training in JupyterLab: settings, loss curves, current reconstructions, a stop button."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import HTML, DisplayHandle, display
from numpy.typing import NDArray

from ptycho_lib.config import StudyConfig, parse_config
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.evaluation.reconstruction import Reconstruction, reconstruct
from ptycho_lib.report.figures import comparison_figure, history_figure
from ptycho_lib.report.output.notebook_display import image_html
from ptycho_lib.report.results import side_by_side
from ptycho_lib.report.style import model_looks
from ptycho_lib.report.widgets.live_view import choice, int_slider, show_controls


class Patches(Protocol):
    """What a network predicts; `networks.prediction.PredictedPatches` has it."""

    @property
    def patches(self) -> NDArray[np.complex64]:
        """Central parts of the object patches, (n, N/2, N/2)."""

    @property
    def positions_px(self) -> NDArray[np.float64]:
        """Their centres (n, 2), (row, column)."""


Trained = TypeVar("Trained")
Predict = Callable[[Any, PtychoDataset], Patches]


class TrainingForm:
    """Sliders for size, gradient steps and gridsize; the last expression of a cell displays them."""

    def __init__(self, n_train: int, steps: int, gridsize: int, *, available: int) -> None:
        self.controls: dict[str, widgets.Widget] = {
            "n_train": int_slider("training patterns", min(n_train, available), min(n_train, 8), available),
            "steps": int_slider("gradient steps", steps, min(steps, 10), max(2000, steps)),
            "gridsize": choice("gridsize", [1, 2, 3], gridsize),
        }

    @property
    def n_train(self) -> int:
        """The number of training patterns chosen."""
        return int(self.controls["n_train"].value)

    def config(self, **settings: Mapping[str, Any]) -> StudyConfig:
        """Return the configuration of the current choice; `settings` are its other sections."""
        sections = {name: dict(section) for name, section in settings.items()}
        sections.setdefault("training", {})["steps"] = self.controls["steps"].value
        sections.setdefault("network", {})["gridsize"] = self.controls["gridsize"].value
        return parse_config({**sections, "n_train_sizes": [self.n_train]}, "notebook")

    def _ipython_display_(self) -> None:
        show_controls(*self.controls.values())


class LiveTraining:
    """Loss curves and reconstructions of the networks in training, in one output that is replaced in place.

    Parameters
    ----------
    test : PtychoDataset
        Patterns to reconstruct for the picture; a few dozen are enough.
    config : StudyConfig
    predict : callable
        `networks.prediction.predict_patches`.
    every_s : float
        Least time between two pictures (s).
    """

    def __init__(self, test: PtychoDataset, config: StudyConfig, predict: Predict, *, every_s: float = 3.0) -> None:
        self.stop_button = widgets.Button(
            description="Stop and keep the best",
            icon="stop",
            tooltip="Ends the training after this epoch",
            layout=widgets.Layout(width="auto"),
        )
        self.stop_button.on_click(self._stop)
        self._test, self._config, self._predict, self._every_s = test, config, predict, every_s
        self._stopped = threading.Event()
        self._histories: dict[str, pd.DataFrame] = {}
        self._models: dict[str, Any] = {}
        self._drawn = -np.inf
        self._handle: DisplayHandle | None = None

    def watch(self, model: str) -> dict[str, Callable[..., Any]]:
        """Return the keyword arguments of `networks.training.train_model` that let this view watch a model."""
        self._stopped.clear()

        def on_epoch(network: Any, history: pd.DataFrame) -> None:
            self._histories[model], self._models[model] = history, network
            if time.monotonic() - self._drawn >= self._every_s:
                self.redraw()

        return {"on_epoch": on_epoch, "should_stop": self._stopped.is_set}

    async def train(
        self,
        train_model: Callable[..., Trained],
        dataset: PtychoDataset,
        folder: str | Path,
        *,
        trial: int = 1,
    ) -> dict[str, Trained]:
        """Train every network of the configuration, watched by this view; return them by name.

        The work is done in a thread while the cell awaits it, so that the kernel can react to the button.

        Parameters
        ----------
        train_model : callable
            `networks.training.train_model`.
        dataset : PtychoDataset
            The training subset.
        folder : path
            Receives a folder for each model.
        trial : int
            Selects the seeds.
        """
        trained: dict[str, Trained] = {}
        try:
            for model in self._config.networks:
                place = Path(folder) / f"{model}_run"
                work = partial(train_model, model, dataset, self._config, trial, place, **self.watch(model))
                trained[model] = await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self._stopped.set()  # an interrupted cell must not leave its thread training
            raise
        self.redraw()
        return trained

    def redraw(self) -> None:
        """Draw the current state."""
        if self._handle is not None and self._histories:
            self._handle.update(HTML(self.picture()))
            self._drawn = time.monotonic()

    def picture(self) -> str:
        """Return losses and reconstructions as HTML."""
        epochs = {model: len(history) for model, history in self._histories.items()}
        words = ", ".join(f"{look.label} after epoch {epochs[model]}" for model, look in model_looks(epochs).items())
        losses = image_html(history_figure(self._histories), f"Losses: {words}.")
        results = {model: self._reconstruct(network) for model, network in self._models.items()}
        mask = next(iter(results.values())).mask
        objects = {model: result.obj for model, result in results.items()}
        shown = side_by_side(self._test, objects, mask, max_shift_px=self._config.evaluation.max_shift_px)
        figure = comparison_figure(shown.truth, shown.aligned, mask, rows=("phase",), truth_label=shown.truth_label)
        return losses + image_html(figure, f"Phase of truth and reconstructions: {words}.")

    def _reconstruct(self, network: Any) -> Reconstruction:
        seen, options = self._predict(network, self._test), self._config.evaluation
        return reconstruct(
            seen.patches,
            seen.positions_px,
            self._test,
            min_illumination=options.min_illumination,
            synchronise=options.synchronise_phases,
            correct_drift=options.correct_phase_drift,
            position_steps=options.position_correction_steps,
        )

    def _stop(self, button: object) -> None:
        del button
        self._stopped.set()

    def _ipython_display_(self) -> None:
        show_controls(self.stop_button)
        self._handle = display(HTML("<p>The picture appears after the first epoch.</p>"), display_id=True)
