"""Losses go to a tracker that was asked for, and change neither the training nor the identity of its run."""

from types import SimpleNamespace

import pandas as pd
import pytest
import tensorflow as tf

from ptycho_lib.config import StudyConfig
from ptycho_lib.errors import InputError
from ptycho_lib.networks.trackers import MlflowTracker, NoTracker, tracker_of
from ptycho_lib.networks.training import train_model
from ptycho_lib.optional_dependencies import EXTRAS
from ptycho_lib.study.execution.plan import plan_study
from tests.support.miniature import Miniature

TINY = {
    "network": {"width": 2, "first_guess_iterations": 0},
    "training": {"steps": 4, "validations": 2, "batch_size": 4},
}


def settings(tracker=None):
    return StudyConfig.model_validate(TINY | {"training": TINY["training"] | {"tracker": tracker}})


def scalars(folder):
    """Return what event files hold, (step, name) -> value."""
    found = {}
    for path in folder.rglob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    return found


def test_tensorboard_gets_every_epoch(small_dataset, tmp_path):
    progress = tmp_path / "execution" / "progress.jsonl"
    part = small_dataset.select(range(8))
    trained = train_model("pinn", part, settings("tensorboard"), 1, tmp_path / "pinn_run", progress_file=progress)
    found = scalars(tmp_path / "execution" / "tensorboard" / "pinn")
    assert {step for step, _ in found} == {1, 2}
    last = trained.history.iloc[-1]
    assert found[2, "val_loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    assert found[2, "learning_rate"] == pytest.approx(last["learning_rate"], rel=1e-6, abs=1e-12)
    plain = train_model("pinn", part, settings(), 1, tmp_path / "plain")
    pd.testing.assert_series_equal(plain.history["val_loss"], trained.history["val_loss"])


def test_the_tracker_is_no_part_of_a_runs_identity():
    assert settings().fingerprint() == settings("mlflow").fingerprint() == settings("tensorboard").fingerprint()
    assert "tracker" not in settings("mlflow").result_settings()["training"]


def test_none_is_opened_by_default(tmp_path):
    with tracker_of(settings(), "pinn", 1, 8, tmp_path) as tracker:
        tracker.log(1, {"loss": 1.0})
    assert isinstance(tracker, NoTracker)
    assert not list(tmp_path.iterdir())


def test_a_study_that_asks_for_mlflow_without_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(EXTRAS, "mlflow", ("no_such_module",))
    study = Miniature(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match=r"(?s)pip install 'ptycho-lib\[mlflow\]'.*MLFLOW_TRACKING_URI.*no store"):
        plan_study(study.train, study.test, study.out, settings("mlflow"), template=study.template)


def test_mlflow_keeps_values_and_settings(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    store = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with tracker_of(settings("mlflow"), "pinn", 2, 8, tmp_path) as tracker:
        for epoch in (1, 2):
            tracker.log(epoch, {"loss": 1.0 / epoch})
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("ptycho_lib")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["trial"] == "2"
    assert run.data.params["training.steps"] == "4"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [1.0, 0.5]
    assert run.info.status == "FINISHED"


def test_a_store_that_fails_ends_the_tracking_alone():
    pytest.importorskip("mlflow")
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        raise ConnectionError("no route")

    tracker = MlflowTracker(SimpleNamespace(log_metric=fail), "run")
    with pytest.warns(UserWarning, match="no route"):
        tracker.log(1, {"loss": 1.0})
    tracker.log(2, {"loss": 1.0})
    assert len(calls) == 1
