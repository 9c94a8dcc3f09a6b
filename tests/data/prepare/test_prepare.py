import hashlib
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.data.options import PrepareOptions, parse_options
from ptycho_lib.data.prepare.pipeline import plan_preparation, prepare
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.errors import InputError
from ptycho_lib.physics.diffraction import extract_patches


def residual(dataset):
    return reprojection(dataset).value


def test_the_measured_star_becomes_two_halves(star_raw, tmp_path):
    before = star_raw.read_bytes()
    train_path, test_path = prepare(star_raw, tmp_path / "data")
    assert (train_path.name, test_path.name) == (
        "siemens_star_velociprobe_n64_train.npz",
        "siemens_star_velociprobe_n64_test.npz",
    )
    train, test = load_dataset(train_path), load_dataset(test_path)
    assert (len(train), len(test)) == (258, 258)
    assert train.positions_px[:, 0].max() <= test.positions_px[:, 0].min()
    with np.load(star_raw) as raw:
        counts = np.concatenate([np.asarray(part.diffraction) ** 2 for part in (train, test)])
        assert np.sort(counts.sum(axis=(1, 2))) == pytest.approx(np.sort(raw["diff3d"].sum(axis=(1, 2))), rel=1e-5)
        assert not (test.coverage & ~raw["coverage"]).any()
        np.testing.assert_array_equal(train.coverage, raw["coverage"])
    assert 10_000 < test.coverage.sum() < 12_500
    assert residual(train) == pytest.approx(0.09, abs=0.01)
    assert residual(test) == pytest.approx(0.09, abs=0.01)
    assert train.photons_per_pattern == pytest.approx(4.4e5, rel=0.01)
    assert "patterns: photon counts -> amplitude (square root)" in train.history
    assert star_raw.read_bytes() == before


def test_the_same_input_gives_the_same_bytes(star_raw, tmp_path):
    paths = [prepare(star_raw, tmp_path / name, subset=40) for name in ("a", "b")]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in pair] for pair in paths]
    assert digests[0] == digests[1]


def test_preparing_what_is_prepared_changes_no_content(star_raw, tmp_path):
    train, _ = prepare(star_raw, tmp_path, subset=40)
    (again,) = prepare(train, tmp_path / "again", split="none")
    assert load_dataset(again).fingerprint() == load_dataset(train).fingerprint()


def test_many_steps_leave_their_traces_in_order(star_raw, tmp_path):
    train, test = prepare(
        star_raw,
        tmp_path,
        subset=120,
        bad_pixels="repair",
        crop=48,
        patches=True,
        axis="column",
        test_side="low",
    )
    dataset = load_dataset(train)
    steps = [line.split(":")[0] for line in dataset.history]
    assert steps == [
        "read",
        "patterns",
        "photons per pattern",
        "subset",
        "bad pixels",
        "crop",
        "photons per pattern",
        "patches",
        "split",
        "this file",
    ]
    assert dataset.patches.shape == dataset.diffraction.shape == (60, 48, 48)
    cut = extract_patches(dataset.obj, dataset.positions_px, 48)
    np.testing.assert_array_equal(np.asarray(dataset.patches), cut)
    assert load_dataset(test).positions_px[:, 1].max() <= dataset.positions_px[:, 1].min()
    assert residual(dataset) < 0.12


def test_existing_files_and_the_input_are_never_overwritten(star_raw, tmp_path):
    train, test = prepare(star_raw, tmp_path, subset=40)
    before = train.read_bytes(), test.read_bytes()
    with pytest.raises(InputError) as caught:
        prepare(star_raw, tmp_path, subset=50)
    assert len(caught.value.problems) == 2
    assert (train.read_bytes(), test.read_bytes()) == before
    prepare(star_raw, tmp_path, subset=50, overwrite=True)
    assert len(load_dataset(train)) == 25
    with pytest.raises(InputError, match="the input file"):
        prepare(train, tmp_path, split="none", overwrite=True)


def test_a_dry_run_writes_nothing_and_prints_everything(star_raw, tmp_path):
    plan = plan_preparation(star_raw, tmp_path / "data", subset=40)
    assert [item.path.name[-9:] for item in plan] == ["train.npz", "_test.npz"]
    assert any("20 patterns to train" in line for line in plan[0].dataset.history)
    assert not (tmp_path / "data").exists()


def test_faults_after_all_steps_stop_everything(star_raw, tmp_path):
    with np.load(star_raw) as raw:
        arrays = dict(raw)
    arrays["diff3d"] = arrays["diff3d"].astype(np.float32)
    arrays["diff3d"][4, 5, 6] = np.nan
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match="NaN or infinite values in 1 of 516"):
        prepare(tmp_path / "bad.npz", tmp_path / "out", quantity="intensity")
    assert not (tmp_path / "out").exists()
    train, _ = prepare(tmp_path / "bad.npz", tmp_path / "out", quantity="intensity", bad_pixels="repair")
    assert np.isfinite(load_dataset(train).diffraction).all()
    train, test = prepare(tmp_path / "bad.npz", tmp_path / "out2", quantity="intensity", drop_bad_patterns=True)
    assert len(load_dataset(train)) + len(load_dataset(test)) == 515


def test_bad_options_are_reported_together():
    with pytest.raises(InputError) as caught:
        parse_options(PrepareOptions, "options", {"crop": 7, "axis": "diagonal", "colour": "red"})
    assert {problem.key for problem in caught.value.problems} == {"crop", "axis", "colour"}
    with pytest.raises(InputError, match=r"a test share that 3 blocks can give, .* not 0\.1"):
        parse_options(PrepareOptions, "options", {"split": "blocks", "blocks": 3, "test_fraction": 0.1})
    with pytest.raises(InputError, match="subset: found 5000 of 516 patterns"):
        plan_preparation("studies/siemens_star/siemens_star_velociprobe_n64_raw.npz", "out", subset=5000)


def test_a_large_hdf5_scan_is_prepared_without_loading_it(star_raw, tmp_path, monkeypatch):
    """Reading never asks for more than a block."""
    with np.load(star_raw) as raw, h5py.File(tmp_path / "scan.h5", "w") as file:
        file["frames"] = np.concatenate([raw["diff3d"]] * 4)
        file["where"] = np.concatenate([np.stack([raw["ycoords"], raw["xcoords"]], axis=1)] * 4)
        file["probe"], file["object"] = raw["probeGuess"], raw["objectGuess"]
    largest = []
    original = h5py.Dataset.__getitem__

    def watched(self, key, *rest):
        value = original(self, key, *rest)
        if self.name == "/frames":
            largest.append(np.asarray(value).nbytes)
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    monkeypatch.setattr("ptycho_lib.io.lazy_stack.CHUNK_BYTES", 2**20)
    monkeypatch.setattr("ptycho_lib.io.lazy_stack.blocks.__defaults__", (2**20,))
    keys = {
        "diffraction_key": "frames",
        "positions_key": "where",
        "probe_key": "probe",
        "object_key": "object",
    }
    train, _ = prepare(tmp_path / "scan.h5", tmp_path, **keys)
    assert len(load_dataset(train)) == 1032
    assert max(largest) <= 2**20


def counts_per_amplitude_squared(dataset):
    return dataset.photons_per_pattern / np.mean(np.square(dataset.diffraction).sum(axis=(1, 2)))


@pytest.mark.parametrize("options", [{"crop": 32}, {"crop": 32, "bin": 2}, {"subset": 25}, {"bad_pixels": "repair"}])
def test_a_count_stays_a_count_whatever_is_cut(options, star_raw, tmp_path):
    """photons_per_pattern is the mean of the patterns that are in the file: the Poisson loss rests on it."""
    for path in prepare(star_raw, tmp_path, **options):
        dataset = load_dataset(path)
        assert counts_per_amplitude_squared(dataset) == pytest.approx(1, rel=1e-5)
    if "crop" in options:
        assert any(line.startswith("photons per pattern: 4.406e+05 -> ") for line in dataset.history)


def test_the_shipped_modes_explain_more_of_the_test_half_than_the_single_mode(star_raw, tmp_path):
    with np.load(star_raw.parent / "siemens_star_velociprobe_n64_probe_modes.npz", allow_pickle=False) as file:
        modes, history = file["probeGuess"], str(file["history"])
    assert "on the 258 training patterns alone" in history
    _, path = prepare(star_raw, tmp_path)
    test = load_dataset(path)
    assert modes.shape == (3, 64, 64)
    assert reprojection(replace(test, probe=modes)).value < 0.8 * reprojection(test).value
