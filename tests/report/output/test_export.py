"""What `export` writes is read back, by our own readers where they read the format, and is the same."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.data.readers import open_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.physics.probes import orthogonal_modes
from ptycho_lib.report.output.export import export_run
from ptycho_lib.report.output.result_files import Result, write_result
from tests.support.report_examples import PIXEL_M, FinishedStudy

WAVELENGTH_M, DISTANCE_M = 1.4e-10, 1.9


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return FinishedStudy(tmp_path_factory.mktemp("export"), sizes=(8,)).finish()


@pytest.fixture(scope="module")
def test_data(study):
    return load_dataset(study.parent / "test.npz")


@pytest.fixture
def result(test_data):
    mask = np.zeros(test_data.obj.shape, bool)
    mask[8:-8, 9:-9] = True
    modes = orthogonal_modes(np.stack([test_data.probe, 0.4j * np.roll(test_data.probe, 2, axis=0)]))
    geometry = {"pixel_size_m": PIXEL_M, "wavelength_m": WAVELENGTH_M, "detector_distance_m": DISTANCE_M}
    return Result("a title", test_data.obj, mask, modes, test_data.positions_px, **geometry)


@pytest.mark.parametrize("to", ["cxi", "ptychodus"])
def test_our_readers_read_back_what_was_written(to, result, study, tmp_path):
    path = write_result(result, tmp_path / "scan", to)
    read = open_dataset(path, patterns_file=str(study.parent / "test.npz"))
    np.testing.assert_array_equal(read.obj, result.obj)
    np.testing.assert_allclose(read.probe, result.probe_modes, atol=1e-6)
    np.testing.assert_allclose(read.positions_px, result.positions_px, atol=1e-5)
    assert read.pixel_size_m == pytest.approx(PIXEL_M)
    assert read.wavelength_m == pytest.approx(WAVELENGTH_M)
    assert read.detector_distance_m == pytest.approx(DISTANCE_M)
    with h5py.File(path) as file:
        mask = file["entry_1/image_2/mask"][()] == 0 if to == "cxi" else file["mask"][()]
    np.testing.assert_array_equal(mask, result.mask)


def test_nexus_names_what_to_plot_and_keeps_units(result, study, tmp_path):
    path = write_result(result, tmp_path / "scan", "nexus")
    with h5py.File(path) as file:
        shown = file[file.attrs["default"]][file["entry"].attrs["default"]]
        np.testing.assert_allclose(shown[shown.attrs["signal"]][()], np.angle(result.obj), atol=1e-6)
        assert [len(shown[axis]) for axis in shown.attrs["axes"]] == list(result.obj.shape)
        assert shown["x"].attrs["units"] == "m"
        assert np.diff(shown["x"][:2])[0] == pytest.approx(PIXEL_M)
        np.testing.assert_array_equal(shown["mask"][()], result.mask)
        assert file["entry/instrument/beam/incident_wavelength"][()] == pytest.approx(WAVELENGTH_M)
    keys = {"probe_key": "entry/probe/data", "object_key": "entry/object/data"}
    keys |= {"x_key": "entry/scan/x", "y_key": "entry/scan/y"}
    read = open_dataset(path, patterns_file=str(study.parent / "test.npz"), pixel_size_m=PIXEL_M, **keys)
    np.testing.assert_array_equal(read.obj, result.obj)
    relative = read.positions_px - result.positions_px
    np.testing.assert_allclose(relative, np.broadcast_to(relative[0], relative.shape), atol=1e-5)


def test_tiff_images_know_their_pixel_size(result, tmp_path):
    folder = write_result(result, tmp_path / "scan", "tiff")
    amplitude, phase = (tifffile.imread(folder / f"object_{name}.tif") for name in ("amplitude", "phase_rad"))
    np.testing.assert_allclose(amplitude * np.exp(1j * phase), result.obj, atol=1e-5)
    assert tifffile.imread(folder / "probe_amplitude.tif").shape == result.probe_modes.shape
    with tifffile.TiffFile(folder / "mask.tif") as image:
        np.testing.assert_array_equal(image.asarray(), result.mask)
        per_um, parts = image.pages[0].tags["XResolution"].value
        assert parts / per_um == pytest.approx(PIXEL_M * 1e6, rel=1e-4)
        assert image.imagej_metadata["unit"] == "um"
    table = pd.read_csv(folder / "positions.csv")
    np.testing.assert_allclose(table[["row_px", "column_px"]], result.positions_px)
    np.testing.assert_allclose(table[["y_m", "x_m"]], result.positions_m)


def test_a_pixel_size_is_asked_for_where_positions_are_metres(result, tmp_path):
    unknown = replace(result, pixel_size_m=None)
    with pytest.raises(InputError, match="--pixel-size-m"):
        write_result(unknown, tmp_path / "scan", "cxi")
    assert not list(tmp_path.iterdir())
    assert list(pd.read_csv(write_result(unknown, tmp_path / "scan", "tiff") / "positions.csv")) == [
        "row_px",
        "column_px",
    ]


def test_the_command_exports_every_model_of_a_run(study, test_data):
    done = CliRunner().invoke(main, ["export", str(study / "n_train_8"), "--to", "ptychodus"])
    assert done.exit_code == 0, done.output
    names = ["a_study_n8_trial1_baseline_ptychodus.h5", "a_study_n8_trial1_pinn_ptychodus.h5"]
    assert sorted(path.name for path in (study / "export").iterdir()) == names
    read = open_dataset(study / "export" / names[1], patterns_file=str(study.parent / "test.npz"))
    with np.load(study / "n_train_8" / "pinn_run" / "reconstruction.npz") as kept:
        np.testing.assert_array_equal(read.obj, kept["object"])
    np.testing.assert_allclose(read.positions_px, test_data.positions_px, atol=1e-5)
    again = CliRunner().invoke(main, ["export", str(study / "n_train_8"), "--to", "ptychodus"])
    assert again.exit_code == 2
    assert "--overwrite" in again.output


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        ("", {}, "found a study; expected the folder of a complete run"),
        ("n_train_8", {"model": "iterative"}, "one of: baseline, pinn"),
        ("n_train_8", {"condition": "jitter"}, "test data of its own"),
    ],
)
def test_what_cannot_be_exported_is_said(run, options, message, study, tmp_path):
    with pytest.raises(InputError, match=message):
        export_run(study / run, "cxi", out_dir=tmp_path, **options)


def test_one_model_by_its_folder(study, tmp_path):
    (path,) = export_run(study / "n_train_8" / "pinn_run", "tiff", out_dir=tmp_path)
    assert path.name == "a_study_n8_trial1_pinn_tiff"
