"""Views: the picture follows the controls, is described, is one output, and stands without a front end."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.display import HTML
from matplotlib.figure import Figure

from ptycho_lib.data.readers import open_dataset
from ptycho_lib.report.results import load_reconstructions, read_results
from ptycho_lib.report.widgets import (
    data as data_views,
    live_view,
    objects as object_views,
    study as study_views,
    training as training_views,
)
from tests.support import report_examples as examples

STAR = Path(__file__).parents[3] / "studies/siemens_star/siemens_star_velociprobe_n64_raw.npz"


class Screen:
    """Collects what is displayed, and updates of it, as a front end would."""

    def __init__(self) -> None:
        self.outputs: list[object] = []
        self.updates: list[HTML] = []

    def display(self, content: object, *, raw: bool = False, display_id: bool = False) -> Screen:
        assert raw == isinstance(content, dict)
        self.outputs.append(content)
        return self

    def update(self, content: HTML) -> None:
        self.updates.append(content)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    for module in (live_view, training_views):
        monkeypatch.setattr(module, "display", made.display)
    return made


def alt(html: str) -> str:
    return BeautifulSoup(html, "html.parser").img["alt"]


def source(html: str) -> str:
    return BeautifulSoup(html, "html.parser").img["src"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory):
    study = examples.FinishedStudy(tmp_path_factory.mktemp("views"), sizes=(4, 8), trials=2)
    return read_results(study.finish(skip=(8, 2)))


def every_view(results) -> dict[str, live_view.LiveView]:
    objects = load_reconstructions(results, 8)
    return {
        "pattern": data_views.pattern_view(examples.dataset()),
        "simulation": data_views.simulation_view(),
        "comparison": object_views.comparison_view(objects),
        "profile": object_views.profile_view(objects),
        "metric": study_views.metric_view(results),
        "run": study_views.run_view(results),
        "trial": study_views.trial_view(results),
    }


NAMES = ("pattern", "simulation", "comparison", "profile", "metric", "run", "trial")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_front_end_the_picture_stands_alone(results, screen: Screen, name: str) -> None:
    every_view(results)[name]._ipython_display_()
    controls, picture = screen.outputs
    assert "application/vnd.jupyter.widget-view+json" in controls
    assert "Controls of the picture below" in controls["text/plain"]
    assert len(alt(picture.data)) > 30
    assert source(picture.data).startswith("data:image/png;base64,")


@pytest.mark.parametrize("name", NAMES)
def test_every_control_changes_picture_or_description(results, screen: Screen, name: str) -> None:
    view = every_view(results)[name]
    view._ipython_display_()
    pictures = {screen.outputs[-1].data}
    for control in view.controls.values():
        count, new = len(screen.updates), other_value(control)
        changes = new != control.value
        control.value = new
        assert len(screen.updates) == count + changes
        pictures |= {update.data for update in screen.updates}
    assert len(pictures) > 1
    assert len(screen.outputs) == 2, "the picture is replaced, not shown again"


def other_value(control) -> object:
    """Return a value that the control does not have now; the same one if it has no other."""
    if isinstance(control.value, bool):
        return not control.value
    if hasattr(control, "options"):
        values = [o[1] if isinstance(o, tuple) else o for o in control.options]
        return next((value for value in values if value != control.value), control.value)
    middle = (control.min + control.max) / 2
    return type(control.value)(control.max if control.value < middle else control.min)


@pytest.mark.parametrize("name", NAMES)
def test_controls_have_names_for_keyboards_and_screen_readers(results, name: str) -> None:
    for control in every_view(results)[name].controls.values():
        assert control.description.strip()


def test_an_error_is_shown_in_the_pictures_place(screen: Screen) -> None:
    def draw(number: int) -> Figure:
        raise ValueError(f"<{number}> is too large")

    view = live_view.LiveView(draw, str, {"number": live_view.int_slider("number", 3, 0, 9)})
    view._ipython_display_()
    view.controls["number"].value = 4
    assert screen.updates[-1].data == '<p role="alert">&lt;4&gt; is too large</p>'


def test_a_missing_trial_is_reported_not_raised(results) -> None:
    view = study_views.trial_view(results)
    view.controls["size"].value, view.controls["second"].value = 8, 2
    assert "a missing run" in view.picture()


def test_pictures_of_real_data_follow_their_sliders() -> None:
    view = data_views.pattern_view(open_dataset(STAR))
    simulated = data_views.simulation_view(open_dataset(STAR).probe)
    for followed in (view, simulated):
        pictures = set()
        for index in (0, 30, 60):
            followed.controls["index"].value = index
            pictures.add(source(followed.picture()))
        assert len(pictures) == 3


def test_defocus_spreads_the_simulated_pattern() -> None:
    view = data_views.simulation_view()
    sharp = view.picture()
    view.controls["defocus"].value = 40
    assert source(view.picture()) != source(sharp)
    assert "defocus 40 rad" in alt(view.picture())


class TestLiveTraining:
    """The training view, with the truth's own patches in a network's place."""

    @staticmethod
    def live(every_s: float = 0.0) -> training_views.LiveTraining:
        test = examples.dataset(n_side=4)
        half = test.patch_size // 4

        def predict(model: float, dataset) -> object:
            patches = dataset.object_patches()[:, half:-half, half:-half] * np.exp(1j * model)
            return type("Seen", (), {"patches": patches, "positions_px": dataset.positions_px})()

        form = training_views.TrainingForm(8, 5, 1, available=25)
        return training_views.LiveTraining(test, form.config(), predict, every_s=every_s)

    def test_picture_is_replaced_in_place_and_says_how_far(self, screen: Screen) -> None:
        live = self.live()
        live._ipython_display_()
        watch = live.watch("pinn")
        for epoch in (1, 2, 3):
            watch["on_epoch"](0.1, examples.history(epoch))
        assert len(screen.outputs) == 2
        assert len(screen.updates) == 3
        assert "PtychoPINN after epoch 3" in alt(screen.updates[-1].data)
        assert len(BeautifulSoup(screen.updates[-1].data, "html.parser").find_all("img")) == 2

    def test_it_is_not_drawn_more_often_than_asked_for(self, screen: Screen) -> None:
        live = self.live(every_s=60.0)
        live._ipython_display_()
        watch = live.watch("pinn")
        for epoch in range(1, 20):
            watch["on_epoch"](0.1, examples.history(epoch))
        assert len(screen.updates) == 1
        live.redraw()
        assert "after epoch 19" in alt(screen.updates[-1].data)

    def test_the_button_stops_this_model_and_not_the_next(self) -> None:
        live = self.live()
        first = live.watch("pinn")
        assert not first["should_stop"]()
        live.stop_button.click()
        assert first["should_stop"]()
        assert not live.watch("baseline")["should_stop"]()

    def test_the_button_is_heard_while_a_network_trains(self, tmp_path: Path) -> None:
        live = self.live()
        stopped_after = {}

        def train_model(model, dataset, config, trial, folder, *, on_epoch, should_stop) -> str:
            for epoch in range(1, 1000):
                on_epoch(0.1, examples.history(epoch))
                time.sleep(0.005)
                if should_stop():
                    stopped_after[model] = epoch
                    return f"{model} in {folder.name}"
            raise AssertionError("never stopped")

        async def click(times: int) -> None:
            for _ in range(times):
                await asyncio.sleep(0.1)
                live.stop_button.click()

        async def both() -> dict[str, str]:
            clicking = asyncio.create_task(click(2))
            trained = await live.train(train_model, examples.dataset(), tmp_path)
            await clicking
            return trained

        trained = asyncio.run(both())
        assert trained == {"pinn": "pinn in pinn_run", "baseline": "baseline in baseline_run"}
        assert max(stopped_after.values()) < 100

    def test_form_gives_the_configuration(self) -> None:
        form = training_views.TrainingForm(16, 70, 2, available=20)
        form.controls["n_train"].value = 12
        config = form.config(training={"batch_size": 4})
        assert config.n_train_sizes == (12,)
        assert (config.training.steps, config.training.batch_size, config.network.gridsize) == (70, 4, 2)


def test_sliders_begin_at_small_values_that_the_notebook_sets() -> None:
    config = training_views.TrainingForm(4, 3, 1, available=20).config()
    assert config.n_train_sizes == (4,)
    assert config.training.steps == 3


def test_size_slider_ends_at_what_the_file_holds() -> None:
    form = training_views.TrainingForm(512, 50, 1, available=100)
    assert form.n_train == 100
    assert re.fullmatch("training patterns", form.controls["n_train"].description)
