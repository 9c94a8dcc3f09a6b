"""A reference for measured data without one: reconstructed, stamped, and named in what is compared with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ptycho_lib import optional_dependencies as extras
from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import load_dataset, materialise, save_dataset
from ptycho_lib.data.prepare.kept_reference import save_reference
from ptycho_lib.data.prepare.pipeline import plan_preparation, prepare as prepare_files
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.evaluation.alignment import align
from ptycho_lib.physics.probes import incoherent_modes, mode_shares
from ptycho_lib.report.results import truth_label
from tests.conftest import simulate_small

OPTIONS = ("--split", "none", "--reference-updates", "90", "--reference-modes", "1")


@pytest.fixture
def raw(tmp_path):
    """A measurement of 80 patterns that holds no object, as another program would write it."""
    dataset = simulate_small(80, seed=3, photons=1e6)
    arrays = {
        "diffraction": np.asarray(dataset.diffraction),
        "xcoords": dataset.positions_px[:, 1],
        "ycoords": dataset.positions_px[:, 0],
        "probeGuess": dataset.probe,
        "photons_per_pattern": np.float64(1e6),
    }
    np.savez(tmp_path / "scan_raw.npz", **arrays)
    return tmp_path / "scan_raw.npz", dataset


def prepare(path, *options):
    return CliRunner().invoke(main, ["prepare", str(path), str(path.parent / "data"), *options])


@pytest.mark.iterative
def test_a_measurement_without_object_gets_a_stamped_reference(raw) -> None:
    path, truth = raw
    done = prepare(path, "--reference", "iterative", *OPTIONS)
    assert done.exit_code == 0, done.output
    made = load_dataset(path.parent / "data" / "scan.npz")
    assert "iterative reconstruction of these 80 patterns" in made.reference
    assert truth_label(made) == "Iterative reference"
    assert made.obj.shape == tuple(np.ceil(np.ptp(truth.positions_px, axis=0) + 32 + 4).astype(int))
    moved = np.rint(made.positions_px[0] - truth.positions_px[0]).astype(int)
    assert np.allclose(made.positions_px - truth.positions_px, made.positions_px[0] - truth.positions_px[0])
    there = np.zeros(made.obj.shape, np.complex64)
    rows, columns = (min(a, b) for a, b in zip(made.obj.shape, truth.obj.shape, strict=True))
    assert np.abs(moved).max() <= 2
    there[:rows, :columns] = truth.obj[:rows, :columns]
    fit = align(there, np.roll(made.obj, -moved, (0, 1)), made.coverage & (there != 0), max_shift_px=2)
    inside = made.coverage & (there != 0)
    error = np.linalg.norm((fit.aligned - there)[inside]) / np.linalg.norm(there[inside])
    assert error < 0.15

    with np.load(path.parent / "data" / "scan_reference.npz", allow_pickle=False) as kept:
        assert np.array_equal(kept["object"], made.obj)
        assert kept["object_halves"].shape == (2, *made.obj.shape)
        assert not np.array_equal(*kept["object_halves"])
        assert kept["probe_modes"].shape == (1, 32, 32)
        assert kept["frc_correlation"][:3].min() > 0.9


def test_without_an_object_the_way_out_is_named(raw) -> None:
    done = prepare(raw[0], "--split", "none")
    assert done.exit_code == 2
    assert "--reference iterative" in done.output


def test_without_the_extra_nothing_is_written(raw, monkeypatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "iterative", ("a_package_that_nobody_has",))
    done = prepare(raw[0], "--reference", "iterative", *OPTIONS)
    assert done.exit_code == 2
    assert "make iterative" in done.output
    assert not (raw[0].parent / "data").exists()


@pytest.mark.iterative
def test_modes_are_refined_on_the_training_part_alone(tmp_path) -> None:
    """Two modes, of which the file knows one: both files get the modes, the test patterns play no part."""
    coherent = simulate_small(160, seed=3, photons=None)
    modes = incoherent_modes(coherent.probe, [0.7, 0.3])
    whole = materialise(simulate_dataset(coherent.obj, modes, coherent.positions_px, detector=Detector(1e6), seed=1))
    path = save_dataset(replace(whole, probe=coherent.probe), tmp_path / "scan_raw.npz")
    options = ("--probe-modes", "2", "--probe-updates", "400", "--axis", "column")
    done = prepare(path, *options)
    assert done.exit_code == 0, done.output
    train, test = (load_dataset(tmp_path / "data" / f"scan_{part}.npz") for part in ("train", "test"))
    np.testing.assert_array_equal(train.probe, test.probe)
    assert train.probe.shape == (2, 32, 32)
    note = next(line for line in test.history if line.startswith("probe: 2 incoherent modes"))
    assert f"on the {len(train)} training patterns alone" in note
    assert mode_shares(train.probe)[1] == pytest.approx(0.3, abs=0.1)
    before = reprojection(replace(test, probe=coherent.probe)).value
    assert reprojection(test).value < 0.5 * before  # with the true object: in its frame, too

    changed = np.array(whole.diffraction)
    later = np.argsort(whole.positions_px[:, 1], kind="stable")[80:]
    changed[later] = changed[later][:, ::-1]
    other = save_dataset(replace(whole, probe=coherent.probe, diffraction=changed), tmp_path / "other_raw.npz")
    assert prepare(other, *options).exit_code == 0
    again = load_dataset(tmp_path / "data" / "other_train.npz")
    np.testing.assert_array_equal(again.probe, train.probe)
    kept = tmp_path / "data" / "scan_probe_modes.npz"
    shipped = CliRunner().invoke(main, ["prepare", str(path), str(tmp_path / "twice"), "--probe-file", str(kept)])
    assert shipped.exit_code == 0, shipped.output
    read = load_dataset(tmp_path / "twice" / "scan_test.npz").probe_modes
    np.testing.assert_allclose(read[0], train.probe[0], rtol=1e-4, atol=1e-3)


def test_modes_without_the_extra_write_nothing(raw, monkeypatch, small_dataset) -> None:
    monkeypatch.setitem(extras.EXTRAS, "iterative", ("a_package_that_nobody_has",))
    path = save_dataset(small_dataset, raw[0].parent / "good_raw.npz")
    done = prepare(path, "--probe-modes", "2", "--axis", "column")
    assert done.exit_code == 2
    assert "make iterative" in done.output
    assert not (path.parent / "data").exists()


def test_the_references_of_both_parts_are_kept_and_taken_up(tmp_path, small_dataset) -> None:
    """Without the engine: what it would give each part is written, read back, and belongs to that part."""
    path = save_dataset(small_dataset, tmp_path / "scan_raw.npz")
    modes = np.stack([small_dataset.probe, 0.3j * small_dataset.probe[::-1]])
    options = {"axis": "column", "bad_pixels": "mask"}

    def reconstruct(parts, settings):
        return tuple(
            replace(part, obj=part.obj * factor, probe=modes, history=(*part.history, f"reference: {factor}"))
            for part, factor in zip(parts, (0.5, 2.0), strict=True)
        )

    plan = plan_preparation(path, tmp_path, reference="iterative-apart", reconstruct_apart=reconstruct, **options)
    made = [item.dataset for item in plan]
    kept = save_reference(tmp_path / "scan_reference.npz", made)
    again = [load_dataset(one) for one in prepare_files(path, tmp_path / "b", reference_file=str(kept), **options)]
    for before, after in zip(made, again, strict=True):
        np.testing.assert_array_equal(after.obj, before.obj)
        np.testing.assert_array_equal(after.probe, before.probe)
        np.testing.assert_array_equal(after.coverage, True if before.coverage is None else before.coverage)
        assert after.reference == before.reference
    with pytest.raises(InputError, match="object_test"):
        prepare_files(path, tmp_path / "c", reference_file=str(path), **options)
    with pytest.raises(InputError, match="a split"):
        prepare_files(path, tmp_path / "c", reference="iterative-apart", split="none")


@pytest.mark.iterative
def test_references_apart_share_one_probe_and_one_scale(tmp_path) -> None:
    scan = materialise(simulate_small(240, seed=3, photons=1e6))
    path = save_dataset(scan, tmp_path / "scan_raw.npz")
    options = ("--axis", "column", "--reference-updates", "150", "--reference-modes", "1")
    done = prepare(path, "--reference", "iterative-apart", *options)
    assert done.exit_code == 0, done.output
    train, test = (load_dataset(tmp_path / "data" / f"scan_{part}.npz") for part in ("train", "test"))
    np.testing.assert_array_equal(train.probe, test.probe)
    assert "under a known probe" in test.reference
    assert reprojection(test).value < 1.5 * reprojection(train).value
