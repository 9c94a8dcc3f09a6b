"""A trained network on a new scan: without object, without probe, in parts, of another size; what is refused."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import ptycho_lib as pl
from ptycho_lib.application.model_file import find_model
from ptycho_lib.application.new_scan import probe_agreement
from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.physics.probes import defocus
from ptycho_lib.study.folder import locks
from tests.application.conftest import without
from tests.conftest import simulate_small
from tests.support.report_examples import FinishedStudy


def call(*arguments):
    return CliRunner().invoke(main, ["reconstruct", *map(str, arguments)])


def test_the_object_of_the_file_is_not_needed(network, scan, scan_file, tmp_path):
    """Only its grid is used: without it, the same object comes on the smallest grid."""
    whole = network.reconstruct(scan_file)
    alone = network.reconstruct(without(scan_file, tmp_path / "alone.npz", "objectGuess"))
    shift = alone.positions_px[0] - whole.positions_px[0]
    np.testing.assert_allclose(shift, shift.round(), atol=1e-9)
    rows, columns = (np.arange(length) + round(by) for length, by in zip(whole.obj.shape, shift, strict=True))
    inside = np.ix_((rows >= 0) & (rows < alone.obj.shape[0]), (columns >= 0) & (columns < alone.obj.shape[1]))
    moved = alone.obj[np.ix_(rows[inside[0].ravel()], columns[inside[1].ravel()])]
    np.testing.assert_allclose(moved, whole.obj[inside], atol=2e-4)
    assert whole.total_residual < 0.6 * whole.flat_residual
    assert alone.total_residual == pytest.approx(whole.total_residual, rel=1e-3)
    assert len(alone.positions_px) == len(scan)


def test_a_dataset_and_its_file_give_the_same(network, scan, scan_file):
    seen = []
    first = network.reconstruct(scan, progress=lambda done, total: seen.append((done, total)))
    second = network.reconstruct(scan_file)
    np.testing.assert_array_equal(first.obj, second.obj)
    assert seen[-1] == (len(scan), len(scan))


def test_a_result_is_kept_with_what_it_needs(network, scan, tmp_path):
    result = network.reconstruct(scan)
    with np.load(result.save(tmp_path / "result.npz")) as stored:
        np.testing.assert_array_equal(stored["object"], result.obj)
        assert {"mask", "spread", "residual", "positions_px", "probe"} <= set(stored.files)
    with pytest.raises(InputError):
        result.save(tmp_path / "result.npz")
    facts = json.loads(json.dumps(result.facts()))
    assert facts["n_patterns"] == len(scan)
    assert facts["error_radius_in_spreads"] is None


def test_parts_in_a_folder_are_one_scan(network, scan, scan_file, parts, tmp_path):
    whole = network.reconstruct(without(scan_file, tmp_path / "whole.npz", "objectGuess"))
    np.testing.assert_array_equal(network.reconstruct(parts).obj, whole.obj)


def test_a_missing_probe_is_replaced_by_that_of_the_training_and_said(network, scan_file, tmp_path):
    result = network.reconstruct(without(scan_file, tmp_path / "scan.npz", "probeGuess", "objectGuess"))
    assert "no probe: that of the training is used" in result.notes[0]
    own = network.reconstruct(scan_file)
    assert result.total_residual == pytest.approx(own.total_residual, rel=0.05)
    assert "agrees with that of the training to 1.000" in own.notes[0]


def test_another_probe_is_allowed_and_described(network, scan):
    changed = replace(scan, probe=defocus(scan.probe, 6.0))
    note = network.reconstruct(changed).notes[0]
    assert "another than that of the training (agreement 0." in note
    assert probe_agreement(scan.probe, np.roll(scan.probe, (3, -2), (0, 1)) * 2j) == pytest.approx(1)


def test_another_pattern_size_is_refused_or_cut(network, model_dir, tmp_path):
    path = save_dataset(simulate_small(12, seed=2, size=64), tmp_path / "larger.npz")
    with pytest.raises(InputError, match="64×64 pixels; expected patterns of 32×32"):
        network.reconstruct(path)
    refused = call(model_dir, path, tmp_path / "out")
    assert refused.exit_code == 2
    assert "--crop" in refused.output
    result = network.reconstruct(network.open_scan(path, crop=True))
    assert result.probe.shape[-1] == 32
    assert result.total_residual < result.flat_residual


def test_every_problem_is_named_at_once(tmp_path, model_dir):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "reconstruction.json").write_text("{}")
    result = call(model_dir, tmp_path / "none.npz", tmp_path / "out")
    assert result.exit_code == 2
    assert "an earlier result" in result.output
    assert "none.npz" in result.output
    result = call(tmp_path / "nothing", tmp_path / "none.npz", tmp_path / "new", "--model", "unet")
    assert result.exit_code == 2
    assert "unet" in result.output
    assert not (tmp_path / "new").exists()


def edited(source, target, change):
    """Copy a .keras file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["config"]["settings"].update(attention=True), "does not know: attention"),
        (lambda config: config["config"]["settings"].update(backbone="mamba"), "does not know: backbone"),
        (lambda config: config.update(registered_name="other>Net"), "the network other>Net"),
        (lambda config: config.pop("config"), "no network of this library"),
    ],
)
def test_a_network_of_a_newer_version_is_refused(model_dir, tmp_path, change, words):
    path = edited(model_dir / "model.keras", tmp_path / "model.keras", change)
    with pytest.raises(InputError, match=words):
        find_model(path)


def test_what_is_no_network_is_refused(tmp_path, model_dir, baseline_dir):
    with pytest.raises(InputError, match="no trained network"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        find_model(tmp_path / "model.keras")
    (tmp_path / "model.keras").write_bytes((model_dir / "model.keras").read_bytes()[:500])
    with pytest.raises(InputError, match="no network of this library"):
        find_model(tmp_path)
    assert find_model(baseline_dir).model == "baseline"
    with pytest.raises(InputError, match="SupervisedBaseline"):
        find_model(baseline_dir, "pinn")


def test_a_study_is_not_a_run_and_a_run_in_progress_not_complete(tmp_path):
    study = FinishedStudy(tmp_path, sizes=(4,), trials=2).finish()
    with pytest.raises(InputError, match=r"2 of 2 runs are complete.*Give one of n_train_4, n_train_4/trial_2 in"):
        find_model(study)
    run = study / "n_train_4"
    with pytest.raises(InputError, match="no trained network"):
        find_model(run)
    lock = locks.take_lock(run, "kernel")
    try:
        with pytest.raises(InputError, match="a run in progress"):
            find_model(run)
        with pytest.raises(InputError, match="n_train_4 in progress"):
            find_model(study)
    finally:
        lock.release(force=True)
    record = run / "run.json"
    record.write_text(record.read_text().replace('"format": 2', '"format": 9, "new_field": 1'))
    with pytest.raises(InputError, match=r"new_field.*written by ptycho_lib"):
        find_model(run)
    record.unlink()
    with pytest.raises(InputError, match="a run that is not complete"):
        find_model(run)


def test_the_public_names_reach_it(model_dir, scan):
    done = pl.load_model(model_dir).reconstruct(scan)
    assert isinstance(done, pl.ScanReconstruction)
    assert len(repr(done)) < 120
    assert f"from {len(scan)} patterns, residual {done.total_residual:.3f}" in repr(done)
    assert "pinn, 32×32 pixels" in repr(pl.load_model(model_dir))
