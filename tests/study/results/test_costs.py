"""Time and memory of models: from reconstructions to `run.json` to the table of the study."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.folder.record import ModelOutcome, read_record
from ptycho_lib.study.reconstruct import RunReconstructions, facts_of
from ptycho_lib.study.results.costs import COST_COLUMNS, COSTS, collect_costs
from ptycho_lib.study.results.tables import compute_tables, write_study_tables
from ptycho_lib.study.run_session import finish_run, open_run
from tests.support.miniature import Miniature

CONDITIONS = [{"name": "dead", "dead_pixel_fraction": 0.2}]
TRAINED = {
    "pinn": ModelOutcome(seconds=30.0, peak_memory_bytes=900),
    "baseline": ModelOutcome(seconds=20.0, peak_memory_bytes=800),
}
TAKEN = {
    ("pinn", "nominal"): Usage(0.5, 700, True),
    ("pinn", "dead"): Usage(0.25, 710, True),
    ("iterative", "nominal"): Usage(6.0, 500, True),
    ("pinn+iterative", "nominal"): Usage(3.0, 720, False),
}


@dataclass
class Made:
    usage: Usage | None
    mask: np.ndarray


def metrics():
    row = dict.fromkeys(COLUMNS, "") | {"condition": "nominal", "component": "phase", "alignment": "raw"}
    row |= {"metric": "mae", "value": 0.1, "shift_capped": False, "censored": False}
    return pd.DataFrame([row | {"model": name} for name in ("pinn", "baseline")])


def finish(study, size, taken=TAKEN):
    mask = np.arange(64) < 40
    config = study.folder / "study.yaml"
    config.write_text(study.config(conditions=CONDITIONS).to_yaml())
    run = open_run(study.train, study.test, study.out / f"n_train_{size}", size, config=config)
    made = {key: Made(usage, mask) for key, usage in taken.items()}
    facts = {name: facts_of(data, mask) for name, data in run.conditions()}
    return finish_run(run, metrics(), TRAINED, RunReconstructions(2.0, made, facts))


@pytest.fixture
def study(tmp_path, monkeypatch):
    study = Miniature(tmp_path)
    monkeypatch.setenv("PTYCHO_STUDY_TEMPLATE", str(study.template))
    return study


def test_the_record_keeps_what_each_reconstruction_took(study):
    record = finish(study, 8)
    assert read_record(study.out / "n_train_8") == record
    assert record.models["pinn"].peak_memory_bytes == 900
    assert record.reconstructions["pinn"]["dead"].seconds == 0.25
    assert not record.reconstructions["pinn+iterative"]["nominal"].memory_of_step
    facts = record.conditions["dead"]
    assert (facts.n_patterns, facts.compared_px, facts.photons_per_pattern) == (12, 40, None)
    assert 0 < facts.overlap < 1


def test_the_table_holds_a_row_a_reconstruction(study):
    for size in (4, 8):
        finish(study, size)
    tables = write_study_tables(study.out)
    table = pd.read_csv(study.out / COSTS)
    assert list(table) == list(COST_COLUMNS)
    assert len(table) == 2 * len(TAKEN)
    assert set(table["run"]) == {"n_train_4", "n_train_8"}
    row = table.set_index(["n_train", "model", "condition"]).loc[(8, "pinn", "dead")]
    assert row["training_s"] == 30
    assert row["patterns_per_s"] == 12 / 0.25
    assert (row["training_memory_bytes"], row["reconstruction_memory_bytes"]) == (900, 710)
    pd.testing.assert_frame_equal(table, tables.costs, check_dtype=False)


def test_an_model_that_is_not_trained_has_no_training_and_a_hybrid_pays_for_its_network(study):
    finish(study, 8)
    costs = compute_tables(study.out).costs.set_index(["model", "condition"])
    assert costs.loc[("iterative", "nominal"), "training_s"] == 0
    assert pd.isna(costs.loc[("iterative", "nominal"), "training_memory_bytes"])
    assert costs.loc[("pinn+iterative", "nominal"), "training_s"] == 30
    assert costs.loc[("pinn+iterative", "nominal"), "training_memory_bytes"] == 900
    assert costs.loc[("pinn+iterative", "nominal"), "reconstruction_s"] == 3.5
    assert not costs.loc[("pinn+iterative", "nominal"), "memory_of_step"]


def test_a_run_without_training_patterns_charges_no_training(study):
    record = finish(study, 8)
    alone = record.model_copy(
        update={
            "identity": record.identity.model_copy(update={"kind": "iterative", "n_train": 0}),
            "models": {"iterative": ModelOutcome(seconds=6.0)},
            "reconstructions": {"iterative": record.reconstructions["iterative"]},
        }
    )
    costs = collect_costs([("iterative", alone)])
    assert costs[["n_train", "training_s", "reconstruction_s"]].to_numpy().tolist() == [[0, 0, 6]]


def test_times_change_no_metric_and_may_be_missing(study):
    finish(study, 4, dict.fromkeys(TAKEN))
    without = (study.out / "n_train_4" / "comparison_metrics.csv").read_bytes()
    assert compute_tables(study.out).costs.empty
    finish(study, 4)
    assert (study.out / "n_train_4" / "comparison_metrics.csv").read_bytes() == without
