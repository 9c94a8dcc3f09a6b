"""The generalization gap in words."""

from __future__ import annotations

import pytest

from ptycho_lib.metrics_table import select
from ptycho_lib.report.text.generalization import generalization_alt, has_training_scan
from tests.support import report_examples as examples


def test_both_scans_are_quoted_at_the_largest_size() -> None:
    table = examples.tidy_table(trials=3, models=("pinn", "untrained"), conditions=("nominal", "train"))
    wanted = {"metric": "ssim", "component": "phase", "alignment": "aligned", "model": "pinn", "n_train": 128}
    train, test = (select(table, condition=name, **wanted)["value"].mean() for name in ("train", "nominal"))
    assert f"PtychoPINN {train:.3g} on the training scan, {test:.3g} on the test scan" in generalization_alt(table)
    assert "Untrained" not in generalization_alt(table)


def test_a_control_alone_is_no_training_scan() -> None:
    table = examples.tidy_table(models=("pinn", "untrained"), conditions=("nominal", "train"))
    assert has_training_scan(table)
    assert not has_training_scan(table[(table["model"] == "untrained") | (table["condition"] == "nominal")])
    with pytest.raises(ValueError, match="'train' is not in the table"):
        generalization_alt(table[table["condition"] == "nominal"])
