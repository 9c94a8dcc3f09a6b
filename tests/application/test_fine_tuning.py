"""Training continues with a new scan, without an object; a baseline cannot do that."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ptycho_lib.application.fine_tuning import config_of, fine_tune, open_tuning, tuned_config
from ptycho_lib.application.network import load_model
from ptycho_lib.cli.main import main
from ptycho_lib.errors import InputError
from tests.application.conftest import without


@pytest.fixture(scope="module")
def tuned(model_dir, scan_file, tmp_path_factory):
    """A job and its result: 4 steps on half of the patterns of a scan without an object."""
    folder = tmp_path_factory.mktemp("tuned")
    alone = without(scan_file, folder / "alone.npz", "objectGuess")
    job = open_tuning(model_dir, alone, folder / "out", 4, patterns=12, learning_rate=1e-12)
    return job, job.run()


def test_the_training_starts_from_the_network_on_another_scan(tuned, network):
    """With a vanishing learning rate the network stays what it was; its probe is that of the scan."""
    job, result = tuned
    assert result.n_patterns == 12
    start, end = (one.backbone.get_weights() for one in (network.network, result.trained.network))
    for before, after in zip(start, end, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    assert result.after.total_residual == pytest.approx(result.before.total_residual, rel=1e-3)
    np.testing.assert_array_equal(result.before.obj, network.reconstruct(job.scan).obj)
    worse = replace(result, after=replace(result.after, total_residual=2 * result.before.total_residual))
    better = replace(result, after=replace(result.after, total_residual=0.5 * result.before.total_residual))
    assert "nothing was gained" in worse.sentence()
    assert "50% more of what was unexplained" in better.sentence()
    assert list(result.trained.history.columns)[:3] == ["epoch", "loss", "val_loss"]


def test_the_network_that_was_saved_is_the_one_that_reconstructed(tuned):
    job, result = tuned
    again = load_model(job.output_dir).reconstruct(job.scan)
    np.testing.assert_allclose(again.obj, result.after.obj, atol=1e-5)
    facts = json.loads((job.output_dir / "fine_tuning.json").read_text())
    assert facts["after"]["residual"] == pytest.approx(result.after.total_residual, abs=1e-5)
    assert facts["steps"] == 4
    with np.load(job.output_dir / "reconstruction_before.npz") as stored:
        np.testing.assert_array_equal(stored["object"], result.before.obj)


def test_settings_are_those_of_the_training_but_for_length_and_rate(model_dir):
    config = config_of(load_model(model_dir).file)
    tuned = tuned_config(config, 30, 1e-4)
    assert (tuned.training.steps, tuned.training.learning_rate) == (30, 1e-4)
    assert tuned.training.merged_patches == config.training.merged_patches
    assert tuned.network.width == 2


@pytest.mark.parametrize(("options", "words"), [((), "learns from a known object"), (("--patterns", 99), "at most 24")])
def test_what_cannot_be_trained_on_is_refused(options, words, baseline_dir, model_dir, scan_file, tmp_path):
    model = model_dir if options else baseline_dir
    arguments = ["fine-tune", str(model), str(scan_file), str(tmp_path / "out"), *map(str, options)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert not (tmp_path / "out").exists()


def test_a_foreign_network_is_not_replaced(model_dir, scan_file, network, scan, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"mine")
    result = CliRunner().invoke(main, ["fine-tune", str(model_dir), str(scan_file), str(tmp_path), "--overwrite"])
    assert result.exit_code == 2
    assert "would be replaced" in result.output
    with pytest.raises(InputError, match="a folder without one"):
        fine_tune(network, network.open_scan(scan_file), tmp_path, steps=1)
    assert (tmp_path / "model.keras").read_bytes() == b"mine"
