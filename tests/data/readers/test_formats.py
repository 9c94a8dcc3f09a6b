"""Layouts of other programs that public bug reports name: units, axes, masks, compression, linked files."""

import h5py
import hdf5plugin
import numpy as np
import pytest
import scipy.io

from ptycho_lib.data.readers import open_dataset
from ptycho_lib.errors import InputError
from tests.support.independent_scan import simulate

WAVELENGTH, DISTANCE, EDGE = 1.55e-10, 2.0, 55e-6
PIXEL = WAVELENGTH * DISTANCE / (32 * EDGE)
JOULE = 6.62607015e-34 * 299792458 / WAVELENGTH
EV = 1.602176634e-19


@pytest.fixture(scope="module")
def scan():
    return simulate()


def centred(scan):
    low, high = scan["positions"].min(0), scan["positions"].max(0)
    return scan["positions"] - (low + high) / 2


def write_cxi(path, scan, *, energy=(JOULE, None), translate=lambda t: t, grid=False, mask=None):
    with h5py.File(path, "w") as file:
        detector, source = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
        counts = scan["counts"].astype("u4")
        file[f"{detector}/data"] = counts.reshape(8, 8, 32, 32) if grid else counts
        file[f"{detector}/distance"], file[f"{detector}/x_pixel_size"] = DISTANCE, EDGE
        file[f"{source}/energy"] = energy[0]
        if energy[1]:
            file[f"{source}/energy"].attrs["units"] = energy[1]
        where = centred(scan) * PIXEL
        file["entry_1/sample_1/geometry_1/translation"] = translate(
            np.stack([where[:, 1], where[:, 0], 0 * where[:, 0]], 1)
        )
        file[f"{source}/illumination"], file["entry_1/object_1/data"] = scan["probe"], scan["obj"]
        if mask is not None:
            file[f"{detector}/mask"] = mask
    return path


@pytest.mark.parametrize("energy", [(JOULE, None), (JOULE / EV, "eV"), (JOULE / EV, None), (JOULE / EV / 1e3, None)])
def test_cxi_energies_have_a_unit_or_a_plausible_one(energy, scan, tmp_path):
    dataset = open_dataset(write_cxi(tmp_path / "scan.cxi", scan, energy=energy))
    assert dataset.wavelength_m == pytest.approx(WAVELENGTH, rel=1e-6)
    assert np.ptp(dataset.positions_px, axis=0) == pytest.approx(np.ptp(scan["positions"], axis=0))


def test_the_energy_of_a_storage_ring_is_no_photon_energy(scan, tmp_path):
    path = write_cxi(tmp_path / "scan.cxi", scan, energy=(3e9 * EV, None))
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/beam_1/incident_beam_energy"] = JOULE
    assert open_dataset(path).wavelength_m == pytest.approx(WAVELENGTH, rel=1e-6)


def test_pynx_translations_are_transposed_and_grids_are_lists(scan, tmp_path):
    dataset = open_dataset(write_cxi(tmp_path / "scan.cxi", scan, translate=np.transpose, grid=True))
    assert np.ptp(dataset.positions_px, axis=0) == pytest.approx(np.ptp(scan["positions"], axis=0))
    np.testing.assert_allclose(np.asarray(dataset.diffraction)[[3, 60]] ** 2, scan["counts"][[3, 60]], rtol=1e-5)


def test_masks_of_frames_are_kept_and_an_inverted_one_is_recognised(scan, tmp_path):
    bad = np.zeros((32, 32), "u4")
    bad[10:12] = 1
    frames = open_dataset(write_cxi(tmp_path / "a.cxi", scan, mask=np.repeat(bad[None], 64, 0)))
    inverted = open_dataset(write_cxi(tmp_path / "b.cxi", scan, mask=1 - bad))
    for dataset in (frames, inverted):
        np.testing.assert_array_equal(dataset.mask, bad == 0)


def test_matlab_of_both_kinds(scan, tmp_path):
    record = np.dtype([("real", "f8"), ("imag", "f8")])

    def compound(array):
        result = np.zeros(array.shape, record)
        result["real"], result["imag"] = array.real, array.imag
        return result

    x, y = (scan["positions"][:, axis][:, None] for axis in (1, 0))
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["dp"], file["object"] = scan["counts"].transpose(0, 2, 1), compound(scan["obj"].T)
        file["probe"], file["x"], file["y"] = compound(scan["probe"].T)[None], x, y
    with (tmp_path / "new.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    arrays = {"dp": scan["counts"].transpose(1, 2, 0), "object": scan["obj"], "probe": scan["probe"], "x": x, "y": y}
    scipy.io.savemat(tmp_path / "old.mat", arrays)
    keys = {"diffraction_key": "dp", "probe_key": "probe", "object_key": "object", "x_key": "x", "y_key": "y"}
    for name in ("new.mat", "old.mat"):
        dataset = open_dataset(tmp_path / name, **keys)
        np.testing.assert_allclose(dataset.obj, scan["obj"], rtol=1e-6)
        np.testing.assert_allclose(dataset.probe, scan["probe"], rtol=1e-6)
        np.testing.assert_allclose(np.asarray(dataset.diffraction) ** 2, scan["counts"], rtol=1e-5)
        np.testing.assert_array_equal(dataset.positions_px, scan["positions"])


PLAIN = {"probe_key": "probe", "object_key": "object", "positions_key": "pos"}


def write_plain(path, scan, **compression):
    with h5py.File(path, "w") as file:
        file.create_dataset("dp", data=scan["counts"].astype("u4"), chunks=(1, 32, 32), **compression)
        file["probe"], file["object"], file["pos"] = scan["probe"], scan["obj"], scan["positions"]
    return path


def test_bitshuffled_frames_are_read(scan, tmp_path):
    path = write_plain(tmp_path / "scan.h5", scan, **hdf5plugin.Bitshuffle())
    assert len(open_dataset(path, diffraction_key="dp", **PLAIN)) == 64


def test_a_unit_that_is_no_length_is_named(scan, tmp_path):
    path = write_plain(tmp_path / "scan.h5", scan)
    with h5py.File(path, "a") as file:
        file["pos"].attrs["units"] = "deg"
    with pytest.raises(InputError, match="the unit 'deg'"):
        open_dataset(path, diffraction_key="dp", **PLAIN)


def test_an_eiger_master_joins_its_files_and_names_a_missing_one(scan, tmp_path):
    for number in (1, 2):
        with h5py.File(tmp_path / f"scan_data_{number}.h5", "w") as file:
            file["entry/data/data"] = scan["counts"][32 * number - 32 : 32 * number].astype("u4")
    with h5py.File(tmp_path / "scan_master.h5", "w") as file:
        for number in (1, 2):
            link = h5py.ExternalLink(f"scan_data_{number}.h5", "entry/data/data")
            file[f"entry/data/data_{number:06d}"] = link
    result = write_plain(tmp_path / "result.h5", scan)
    options = {**PLAIN, "patterns_file": str(tmp_path / "scan_master.h5")}
    dataset = open_dataset(result, **options)
    np.testing.assert_allclose(np.asarray(dataset.diffraction) ** 2, scan["counts"], rtol=1e-5)
    (tmp_path / "scan_data_2.h5").unlink()
    with pytest.raises(InputError, match=r"scan_data_2\.h5"):
        open_dataset(result, **options)


def test_the_dark_image_of_a_cxi_file_is_subtracted_on_request(scan, tmp_path):
    path = write_cxi(tmp_path / "scan.cxi", scan)
    frames = np.full((3, 32, 32), 7.0)
    frames[:, 4] += [[6.0], [9.0], [12.0]]  # the mean counts
    with h5py.File(path, "a") as file:
        detector = file["entry_1/instrument_1/detector_1"]
        counts = detector["data"][()] + frames.mean(0)
        del detector["data"]
        detector["data"], detector["data_dark"] = counts, frames
    kept, without = open_dataset(path), open_dataset(path, subtract_dark="file")
    np.testing.assert_allclose(np.asarray(kept.diffraction) ** 2, counts, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(without.diffraction) ** 2, scan["counts"], atol=2e-3)
    assert any("dark" in line for line in without.history)


def test_a_result_of_pynx_gives_object_and_probe_to_its_data(scan, tmp_path):
    """As PyNX writes results: `result_1` and `result_2`, to which `object`, `probe` and `data_1` are links."""
    data = write_cxi(tmp_path / "data.cxi", scan, translate=np.transpose)
    with h5py.File(data, "a") as file:
        del file["entry_1/instrument_1/source_1/illumination"], file["entry_1/object_1"]
    with h5py.File(tmp_path / "result.cxi", "w") as file:
        entry = file.create_group("entry_1")
        entry["program_name"] = "PyNX"
        entry["result_1/data"], entry["result_1/x_pixel_size"] = scan["obj"][None], PIXEL
        entry["result_2/data"] = scan["probe"][None]
        for name, target in (("object", "result_1"), ("probe", "result_2"), ("data_1/data", "result_1/data")):
            entry[name] = h5py.SoftLink(f"/entry_1/{target}")
    result = str(tmp_path / "result.cxi")
    dataset = open_dataset(data, object_file=result, probe_file=result)
    np.testing.assert_array_equal(dataset.obj, scan["obj"])
    np.testing.assert_array_equal(dataset.probe, scan["probe"])
    assert dataset.pixel_size_m == pytest.approx(PIXEL)
    assert np.ptp(dataset.positions_px, axis=0) == pytest.approx(np.ptp(scan["positions"], axis=0))


def test_weights_of_ptypy_mask_the_pixels_that_are_zero_in_all_frames(scan, tmp_path):
    good = np.ones((32, 32), np.float32)
    good[6:8], good[:, 20] = 0, 0
    with h5py.File(tmp_path / "scan.ptyd", "w") as file:
        file["chunks/0/data"] = np.where(good > 0, scan["counts"], 1e5)  # garbage where nothing was measured
        file["chunks/0/positions"] = centred(scan) * PIXEL
        file["chunks/0/weights"] = np.repeat(good[None], 64, 0)
        file["meta/energy"], file["meta/distance"], file["meta/psize"] = JOULE / EV / 1e3, DISTANCE, EDGE
        file["rec/obj"], file["rec/probe"] = scan["obj"], scan["probe"]
    dataset = open_dataset(tmp_path / "scan.ptyd", probe_key="rec/probe", object_key="rec/obj")
    np.testing.assert_array_equal(dataset.mask, good > 0)
    assert dataset.photons_per_pattern == pytest.approx(scan["counts"][:, good > 0].sum() / 64)


def test_a_stack_of_a_raster_gets_its_positions_from_the_step(scan, tmp_path):
    """(lines, line, N, N) as 4D-STEM has it, and (n, N, N) with the length of a line; a pixel of 25 pm."""
    stack = scan["counts"].astype("u4").reshape(8, 8, 32, 32)
    size = round(7 * 4.0) + 32 + 4
    raster = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(-1, 2) * 4.0
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["cube"], file["list"] = stack, stack.reshape(64, 32, 32)
        file["probe"], file["object"] = scan["probe"], np.ones((size, size), np.complex64)
    common = {"probe_key": "probe", "object_key": "object", "pixel_size_m": 25e-12}
    step = {"scan_step": 0.1, "position_unit": "nm"}
    cube = open_dataset(tmp_path / "stack.h5", diffraction_key="cube", **common, **step)
    flat = open_dataset(tmp_path / "stack.h5", diffraction_key="list", line_length=8, **common, **step)
    for dataset in (cube, flat):
        positions = dataset.positions_px
        np.testing.assert_allclose(positions - positions.mean(0), raster - raster.mean(0), atol=1e-9)
        np.testing.assert_allclose(np.asarray(dataset.diffraction)[9] ** 2, scan["counts"][9], rtol=1e-5)
    turned = open_dataset(tmp_path / "stack.h5", diffraction_key="cube", rotate_scan=90, **common, **step)
    np.testing.assert_allclose(np.ptp(turned.positions_px, axis=0), [28, 28])
    with pytest.raises(InputError, match="--line-length"):
        open_dataset(tmp_path / "stack.h5", diffraction_key="list", line_length=9, **common, **step)
