"""Verification: an untouched study passes, and every kind of tampering is named."""

import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.study.folder.record import METRICS
from ptycho_lib.study.results.aggregate import AGGREGATED
from ptycho_lib.study.results.tables import MATCHED_SIZES, SUMMARY, write_study_tables
from ptycho_lib.study.results.verify import verify_study
from tests.support.report_examples import FinishedStudy

RUN = "n_train_8"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    study = FinishedStudy(tmp_path_factory.mktemp("verify"), sizes=(4, 8), trials=3)
    study.finish(collapse=(4, 2), skip=(8, 3))
    write_study_tables(study.folder)
    return study.folder


@pytest.fixture
def out_dir(original, tmp_path):
    return shutil.copytree(original, tmp_path / "study")


def change(path, **conditions):
    """Add 0.01 to the value of the one row that fulfils the conditions."""
    table = pd.read_csv(path)
    chosen = np.logical_and.reduce([table[key] == value for key, value in conditions.items()])
    column = "mean" if "mean" in table else "value"
    assert chosen.sum() == 1
    table.loc[chosen, column] += 0.01
    table.to_csv(path, index=False)


SSIM = {"component": "phase", "alignment": "aligned", "metric": "ssim", "model": "pinn"}


def test_an_untouched_study_is_verified(out_dir):
    result = verify_study(out_dir)
    assert result.ok, result.mismatches[:3]
    assert result.unverified == ()
    assert result.n_values > 5000
    assert result.n_files >= 5 * 5
    assert str(result).endswith("no mismatch")


def test_a_changed_metric_of_a_run_is_named_with_its_row(out_dir):
    change(out_dir / RUN / METRICS, **SSIM)
    found = [str(mismatch) for mismatch in verify_study(out_dir).mismatches]
    assert f"{RUN}/{METRICS}: content: published as in run.json, recomputed changed since" in found
    rows = [line for line in found if "pinn, nominal, phase, aligned, ssim, value" in line]
    assert any(line.startswith(f"{RUN}/{METRICS}: ") for line in rows)
    gone = [
        line for line in found if line.startswith(f"{AGGREGATED}: 8, ") or f"{AGGREGATED}: n_train 8, trial 1" in line
    ]
    assert gone  # a changed run is in no table


def test_a_changed_table_is_named(out_dir):
    change(out_dir / AGGREGATED, **SSIM, n_train=4, trial=2)
    change(out_dir / SUMMARY, **SSIM, n_train=8)
    result = verify_study(out_dir)
    assert {mismatch.file for mismatch in result.mismatches} == {AGGREGATED, SUMMARY}
    assert len(result.mismatches) == 2
    assert str(result).endswith("2 mismatches")


def test_a_changed_sentence_is_named(out_dir):
    path = out_dir / MATCHED_SIZES
    path.write_text(path.read_text().replace("PtychoPINN needs", "PtychoPINN wants"))
    mismatches = verify_study(out_dir).mismatches
    assert mismatches
    assert all(mismatch.file == MATCHED_SIZES and mismatch.what.endswith("sentence") for mismatch in mismatches)


def test_rows_that_vanished_or_appeared_are_named(out_dir):
    table = pd.read_csv(out_dir / AGGREGATED)
    table = table[~((table["trial"] == 2) & (table["metric"] == "mae") & (table["alignment"] == "raw"))]
    pd.concat([table, table.iloc[:1].assign(trial=9)]).to_csv(out_dir / AGGREGATED, index=False)
    mismatches = verify_study(out_dir).mismatches
    assert sum(mismatch.published == "no row" for mismatch in mismatches) == 2 * 2 * 3  # sizes, models, components
    assert sum(mismatch.recomputed == "none" for mismatch in mismatches) == 1


def test_an_exchanged_reconstruction_is_named(out_dir):
    first, second = (out_dir / RUN / f"{model}_run/reconstruction.npz" for model in ("pinn", "baseline"))
    shutil.copy(second, first)
    mismatches = verify_study(out_dir).mismatches
    assert mismatches[0].file == f"{RUN}/pinn_run/reconstruction.npz"
    assert any("pinn, nominal, complex, raw, e0, value" in mismatch.what for mismatch in mismatches)
    assert not any(", baseline, nominal" in mismatch.what for mismatch in mismatches if RUN in mismatch.file)


def test_pixels_that_do_not_follow_from_the_test_file_are_named(out_dir):
    """Also if all models agree on them: that alone proves nothing."""
    for path in out_dir.rglob("reconstruction.npz"):
        with np.load(path) as arrays:
            obj, mask = arrays["object"], arrays["mask"].copy()
        mask[:40] = False
        np.savez(path, object=obj, mask=mask)
    found = [str(mismatch) for mismatch in verify_study(out_dir).mismatches]
    assert any("mask: published as saved, recomputed another one from the test file" in line for line in found)
    assert any("number of pixels compared" in line for line in found)


def test_missing_files_are_named(out_dir):
    (out_dir / RUN / "comparison_plot.png").unlink(missing_ok=True)
    (out_dir / RUN / "pinn_run/reconstruction.npz").unlink()
    (out_dir / SUMMARY).unlink()
    result = verify_study(out_dir)
    assert any(mismatch.recomputed == "missing" for mismatch in result.mismatches)
    assert f"{SUMMARY} is not there" in result.unverified
    assert any("pinn, nominal" in line for line in result.unverified)


def test_without_the_test_data_metrics_are_unverified_not_wrong(out_dir, monkeypatch):
    def gone(path):
        raise InputError(Problem(str(path), "", "no such file", "the test data", "Bring it back."))

    monkeypatch.setattr("ptycho_lib.study.results.verify.load_dataset", gone)
    result = verify_study(out_dir)
    assert result.ok
    assert len(result.unverified) == 10


def test_no_study_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no run"):
        verify_study(tmp_path)


def test_the_command_names_mismatches_and_sets_the_exit_code(out_dir, tmp_path):
    runner = CliRunner()
    good = runner.invoke(main, ["verify", str(out_dir)])
    assert good.exit_code == 0
    assert good.stdout.endswith("no mismatch\n")
    change(out_dir / SUMMARY, **SSIM, n_train=8)
    bad = runner.invoke(main, ["verify", str(out_dir)])
    assert bad.exit_code == 1
    assert "study_summary.csv: n_train 8, pinn, nominal, phase, aligned, ssim, mean: published" in bad.stderr
    assert runner.invoke(main, ["verify", str(tmp_path / "nowhere")]).exit_code == 2
