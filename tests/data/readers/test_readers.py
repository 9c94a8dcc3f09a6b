"""Each layout is written here as its program publishes it, from one simulated scan, and read back."""

from dataclasses import replace
from uuid import uuid4

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.dataset import check_dataset, save_dataset
from ptycho_lib.data.options import PrepareOptions, ReadOptions
from ptycho_lib.data.prepare.pipeline import prepare_dataset
from ptycho_lib.data.readers import open_dataset, read_file
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.errors import InputError

PIXEL_M = 2.5e-8
WAVELENGTH_M, DISTANCE_M = 1.4e-10, 2.0
DETECTOR_PIXEL_M = WAVELENGTH_M * DISTANCE_M / (32 * PIXEL_M)
ENERGY_J = 6.62607015e-34 * 299792458.0 / WAVELENGTH_M


@pytest.fixture(scope="module")
def truth(small_dataset):
    return small_dataset


@pytest.fixture(scope="module")
def counts(small_dataset):
    return np.rint(np.asarray(small_dataset.diffraction) ** 2).astype(np.uint16)


def same_scan(dataset, truth, *, position_px=1e-6):
    """The physics agrees: patterns, positions, probe and object are those of the simulation."""
    assert check_dataset(dataset) == []
    np.testing.assert_allclose(np.asarray(dataset.diffraction), truth.diffraction, atol=1e-3)
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px, atol=position_px)
    np.testing.assert_allclose(dataset.obj, truth.obj, atol=1e-6)
    assert reprojection(dataset).value < 1.05 * reprojection(truth).value
    assert dataset.history


def test_our_own_file(truth, tmp_path):
    path = save_dataset(truth, tmp_path / "own.npz")
    assert open_dataset(path).fingerprint() == truth.fingerprint()


# PtychoPINN


def test_ptychopinn_raw_counts(truth, counts, tmp_path):
    np.savez_compressed(
        tmp_path / "fly.npz",
        diff3d=counts,
        xcoords=truth.positions_px[:, 1],
        ycoords=truth.positions_px[:, 0],
        probeGuess=truth.probe,
        objectGuess=truth.obj,
        scan_index=np.zeros(60, int),
        ground_truth_patches=np.array([{"pickled": True}], dtype=object),
    )
    dataset = open_dataset(tmp_path / "fly.npz")
    same_scan(dataset, truth)
    assert dataset.photons_per_pattern == pytest.approx(counts.sum() / 60)
    assert "ignored: ground_truth_patches (Python objects)" in dataset.history


def test_ptychopinn_amplitudes_last_axis_and_start_coordinates(truth, tmp_path):
    np.savez(
        tmp_path / "transposed.npz",
        diff3d=np.moveaxis(truth.diffraction, 0, -1),
        xcoords_start=truth.positions_px[:, 1],
        ycoords_start=truth.positions_px[:, 0],
        probeGuess=truth.probe.astype(complex),
        objectGuess=truth.obj.astype(complex),
        _metadata=np.array('{"nphotons": 1e5}'),
    )
    dataset = open_dataset(tmp_path / "transposed.npz")
    same_scan(dataset, truth)
    assert any("patterns first" in line for line in dataset.history)
    assert any("xcoords_start" in line for line in dataset.history)


def test_ptychopinn_channel_axis_and_tuples_of_complex_patches(truth, tmp_path):
    np.savez(
        tmp_path / "channel.npz",
        diffraction=truth.diffraction[..., None],
        xcoords=truth.positions_px[:, 1],
        ycoords=truth.positions_px[:, 0],
        probeGuess=truth.probe,
        objectGuess=truth.obj,
        Y=truth.object_patches(),
    )
    dataset = open_dataset(tmp_path / "channel.npz")
    same_scan(dataset, truth)
    np.testing.assert_array_equal(dataset.object_patches(np.array([4])), truth.object_patches(np.array([4])))


# tike: DC at the corner, corners of patches, (row, column), leading axis of views


@pytest.mark.parametrize("views", [True, False])
def test_tike(truth, counts, views, tmp_path):
    lead = np.newaxis if views else slice(None)
    np.savez(
        tmp_path / "tike.npz",
        data=np.fft.ifftshift(counts, axes=(1, 2)).astype(np.float32)[lead],
        scan=(truth.positions_px - 16)[lead],
        probe=np.stack([truth.probe, 0.1 * truth.probe[::-1]])[None, None, None] if views else truth.probe,
        psi=truth.obj[lead],
    )
    dataset = open_dataset(tmp_path / "tike.npz")
    same_scan(dataset, truth)
    assert dataset.photons_per_pattern == pytest.approx(counts.sum() / 60)  # whole numbers, though stored as float
    assert any("DC moved from the corner" in line for line in dataset.history)
    assert any("corner -> centre, + 16 pixels" in line for line in dataset.history)
    if views:
        assert any("2 incoherent modes" in line for line in dataset.history)


# CXI


def write_cxi(path, truth, counts, **changes):
    positions_m = (truth.positions_px - np.array(truth.obj.shape) / 2) * PIXEL_M
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector.create_dataset("data", data=counts, chunks=(1, 32, 32), compression="lzf")
        detector["distance"] = DISTANCE_M
        detector["x_pixel_size"] = detector["y_pixel_size"] = DETECTOR_PIXEL_M
        mask = np.zeros((32, 32), np.uint32)
        mask[3, 4], mask[20, 21] = 1, 0x1000  # a bad pixel; a good one with signal
        detector["mask"] = mask
        file["entry_1/instrument_1/source_1/energy"] = ENERGY_J
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        translation = np.zeros((len(counts), 3))
        # The sample moves by (x, y, z): to the left and up, opposite to where rows and columns count.
        translation[:, :2] = positions_m[:, ::-1]
        if "basis" in changes:  # another detector: rows along b[0], columns along b[1]
            translation = -positions_m @ changes["basis"]
            del detector["x_pixel_size"], detector["y_pixel_size"]
            detector["basis_vectors"] = changes["basis"] * DETECTOR_PIXEL_M
            if changes.get("columns", False):
                del detector["basis_vectors"]
                detector["basis_vectors"] = (changes["basis"] * DETECTOR_PIXEL_M).T
        file["entry_1/sample_1/geometry_1/translation"] = translation
        if changes.get("with_result", True):
            file["entry_1/image_1/data"] = truth.probe[None]
            file["entry_1/image_2/data"] = truth.obj


def centred(truth):
    """A scan without origin is centred in the object: how far that is from the truth, pixels."""
    middle = (truth.positions_px.min(axis=0) + truth.positions_px.max(axis=0)) / 2
    return middle - np.array(truth.obj.shape) / 2


def test_cxi(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts)
    dataset = read_file(tmp_path / "scan.cxi", ReadOptions())
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px - centred(truth), atol=1e-6)
    np.testing.assert_allclose(np.asarray(dataset.diffraction), truth.diffraction * dataset.mask, atol=1e-3)
    assert dataset.pixel_size_m == pytest.approx(PIXEL_M)
    assert dataset.wavelength_m == pytest.approx(WAVELENGTH_M)
    assert dataset.detector_distance_m == DISTANCE_M
    np.testing.assert_array_equal(np.argwhere(~dataset.mask), [[3, 4]])
    assert "positions: sample translations (y, x), as CXI has them" in dataset.history


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("basis", [[[0, -1, 0], [-1, 0, 0]], [[0.8, 0.6, 0], [-0.6, 0.8, 0]]])
def test_cxi_detectors_that_say_how_they_stand(truth, counts, basis, columns, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts, basis=np.array(basis, float), columns=columns)
    dataset = open_dataset(tmp_path / "scan.cxi")
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px - centred(truth), atol=1e-6)
    assert dataset.pixel_size_m == pytest.approx(PIXEL_M)
    assert "positions: sample translations projected on the detector's axes" in dataset.history


@pytest.mark.parametrize(
    "options",
    [
        {"dc": "corner"},
        {"transpose_patterns": True},
        {"flip_patterns": "rows"},
        {"shift_pattern_rows": 2, "shift_pattern_columns": -1},
    ],
)
def test_the_mask_of_bad_pixels_moves_with_the_patterns(options, truth, counts, tmp_path):
    broken = counts.copy()
    broken[:, 3, 4] = 60_000
    write_cxi(tmp_path / "scan.cxi", truth, broken)
    dataset = read_file(tmp_path / "scan.cxi", ReadOptions(**options))
    unmasked = read_file(tmp_path / "scan.cxi", ReadOptions(**options, mask="ignore"))
    np.testing.assert_array_equal(~dataset.mask, np.asarray(unmasked.diffraction).min(axis=0) > 240)
    assert np.asarray(dataset.diffraction)[:, ~dataset.mask].max() == 0
    assert (~dataset.mask).sum() == 1
    report = check_file(tmp_path / "scan.cxi", **options)
    assert "1 detector pixels are masked (0.1%)" in [finding.message for finding in report.findings]
    kept = prepare_dataset(tmp_path / "scan.cxi", PrepareOptions(**options))
    np.testing.assert_array_equal(kept.mask, dataset.mask)
    fixed = prepare_dataset(tmp_path / "scan.cxi", PrepareOptions(**options, bad_pixels="repair"))
    assert fixed.mask is None
    assert np.asarray(fixed.diffraction).max() < 240


def test_a_mask_of_another_shape_is_reported(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts)
    with h5py.File(tmp_path / "scan.cxi", "a") as file:
        del file["entry_1/instrument_1/detector_1/mask"]
        file["entry_1/instrument_1/detector_1/mask"] = np.zeros((30, 32), np.uint32)
    dataset = read_file(tmp_path / "scan.cxi", ReadOptions())
    assert dataset.mask is None
    assert "mask: ignored, (30, 32) for patterns of (32, 32)" in dataset.history


def test_cxi_without_a_reconstruction_says_what_is_missing(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts, with_result=False)
    with pytest.raises(InputError) as caught:
        open_dataset(tmp_path / "scan.cxi")
    assert {problem.key for problem in caught.value.problems} == {"probe", "object"}
    assert "--object-file" in str(caught.value)


def test_cxi_with_the_reconstruction_of_another_program(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts, with_result=False)
    write_ptyr(tmp_path / "result.ptyr", truth)
    dataset = open_dataset(
        tmp_path / "scan.cxi",
        object_file=str(tmp_path / "result.ptyr"),
        probe_file=str(tmp_path / "result.ptyr"),
    )
    same_scan(dataset, truth, position_px=1e-4)
    assert "obj: from result.ptyr" in dataset.history


# ptypy


def object_coordinates(truth):
    """Metres of each object pixel, (2, 1, H, W), with an origin of its own."""
    rows, columns = np.indices(truth.obj.shape)
    middle = np.array(truth.obj.shape) / 2
    return np.stack([rows - middle[0], columns - middle[1]])[:, None] * PIXEL_M


def write_ptyr(path, truth):
    with h5py.File(path, "w") as file:
        grids = object_coordinates(truth)
        obj, probe = (
            file.create_group("content/obj/Sscan00G00"),
            file.create_group("content/probe/Sscan00G00"),
        )
        obj["data"], obj["grids"], obj["_psize"] = truth.obj[None], grids, np.array([PIXEL_M, PIXEL_M])
        probe["data"], probe["_psize"] = (
            np.stack([truth.probe, truth.probe * 0.2]),
            np.array([PIXEL_M, PIXEL_M]),
        )
        middle = np.array(truth.obj.shape) / 2
        file["content/positions/Sscan00G00"] = (truth.positions_px - middle) * PIXEL_M
        file["header/kind"] = "minimal"


def write_ptyd(path, truth, counts):
    positions = (truth.positions_px - np.array(truth.obj.shape) / 2) * PIXEL_M
    with h5py.File(path, "w") as file:
        for number in range(12):  # the order of names is not that of numbers
            part = slice(number * 5, number * 5 + 5)
            chunk = file.create_group(f"chunks/{number}")
            chunk["data"], chunk["positions"] = counts[part], positions[part]
            chunk["indices"], chunk["weights"] = np.arange(60)[part], np.array([])
        file["meta/energy"] = ENERGY_J / 1.602176634e-16  # keV
        file["meta/distance"], file["meta/psize"] = DISTANCE_M, np.array([DETECTOR_PIXEL_M] * 2)
        file["meta/center"], file["meta/shape"] = np.array([16.0, 16.0]), np.array([32, 32])
        file["common/weight2d"] = np.ones((32, 32))
        file["info/num_frames"], file["meta/lam"] = 60, "None"


def test_ptypy_data_and_reconstruction(truth, counts, tmp_path):
    write_ptyd(tmp_path / "scan.ptyd", truth, counts)
    write_ptyr(tmp_path / "result.ptyr", truth)
    together = open_dataset(tmp_path / "result.ptyr", patterns_file=str(tmp_path / "scan.ptyd"))
    same_scan(together, truth)
    assert together.pixel_size_m == PIXEL_M
    other_way = open_dataset(
        tmp_path / "scan.ptyd",
        object_file=str(tmp_path / "result.ptyr"),
        probe_file=str(tmp_path / "result.ptyr"),
    )
    same_scan(other_way, truth)
    assert other_way.wavelength_m == pytest.approx(WAVELENGTH_M)
    np.testing.assert_array_equal(other_way.diffraction[[57, 3]], other_way.diffraction[:][[57, 3]])
    with pytest.raises(InputError, match="--patterns-file"):
        open_dataset(tmp_path / "result.ptyr")


# ptychodus


def product(truth):
    shape = np.array(truth.obj.shape)
    centre_m = np.array([3e-6, -1e-6])
    positions = (truth.positions_px - shape / 2) * PIXEL_M + centre_m
    arrays = {
        "probe": np.stack([truth.probe, 0.1 * truth.probe.T])[None],
        "object": truth.obj[None],
        "probe_position_indexes": np.arange(60),
        "probe_position_x_m": positions[:, 1],
        "probe_position_y_m": positions[:, 0],
        "object_layer_spacing_m": np.array([]),
        "loss_values": np.array([1.0]),
    }
    numbers = {
        "detector_object_distance_m": DISTANCE_M,
        "probe_energy_eV": ENERGY_J / 1.602176634e-19,
        "probe_photon_count": 0.0,
    }
    return arrays, numbers, centre_m


def write_product(path, truth):
    arrays, numbers, centre = product(truth)
    if path.suffix == ".npz":
        names = {"object_center_y_m": centre[0], "object_center_x_m": centre[1]}
        names |= {f"{what}_pixel_{axis}_m": PIXEL_M for what in ("object", "probe") for axis in ("width", "height")}
        np.savez(path, name="scan", comments="", **arrays, **numbers, **names)
        return
    with h5py.File(path, "w") as file:
        file.attrs.update({"name": "scan", "comments": "", **numbers})
        for key, value in arrays.items():
            file[key] = value
        file["object"].attrs.update({"center_y_m": centre[0], "center_x_m": centre[1]})
        for what in ("object", "probe"):
            file[what].attrs.update({"pixel_width_m": PIXEL_M, "pixel_height_m": PIXEL_M})


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_ptychodus(truth, counts, ending, tmp_path):
    path = tmp_path / f"product.{ending}"
    write_product(path, truth)
    np.savez_compressed(tmp_path / "diffraction.npz", patterns=counts, indexes=np.arange(60))
    dataset = open_dataset(path, patterns_file=str(tmp_path / "diffraction.npz"))
    same_scan(dataset, truth)
    assert dataset.pixel_size_m == pytest.approx(PIXEL_M)
    assert dataset.wavelength_m == pytest.approx(WAVELENGTH_M)
    with pytest.raises(InputError, match=r"none in this ptychodus product.*--patterns-file"):
        open_dataset(path)
    with pytest.raises(InputError, match="positions"):
        open_dataset(tmp_path / "diffraction.npz")


@pytest.mark.parametrize("shuffled", [True, False])
def test_ptychodus_patterns_and_positions_are_matched_by_their_indexes(truth, counts, shuffled, tmp_path):
    """Positions may lack exposures, and the patterns file may hold them in another order."""
    write_product(tmp_path / "product.npz", truth)
    with np.load(tmp_path / "product.npz") as file:
        arrays = dict(file)
    kept = np.array([k for k in range(60) if k not in (7, 31)])
    for key in ("probe_position_indexes", "probe_position_x_m", "probe_position_y_m"):
        arrays[key] = arrays[key][kept]
    np.savez(tmp_path / "product.npz", **arrays)
    order = np.random.default_rng(1).permutation(60) if shuffled else np.arange(60)
    np.savez(tmp_path / "diffraction.npz", patterns=counts[order], indexes=order)
    dataset = open_dataset(tmp_path / "product.npz", patterns_file=str(tmp_path / "diffraction.npz"))
    same_scan(dataset, truth.select(kept))
    assert any("58 exposures have both, of 60 patterns and 58 positions" in line for line in dataset.history)
    np.savez(tmp_path / "diffraction.npz", patterns=counts, indexes=order + 100)
    with pytest.raises(InputError, match="no exposure that has both"):
        open_dataset(tmp_path / "product.npz", patterns_file=str(tmp_path / "diffraction.npz"))


def test_ptychodus_cxi(truth, counts, tmp_path):
    arrays, _, centre = product(truth)
    with h5py.File(tmp_path / "product.cxi", "w") as file:
        file["entry_1/instrument_1/detector_1/data"] = counts
        file["entry_1/sample_1/geometry_1/translation"] = np.stack(
            [arrays["probe_position_x_m"], arrays["probe_position_y_m"], np.zeros(60)], axis=1
        )
        file["entry_1/image_1/data"], file["entry_1/image_2/data"] = arrays["probe"], arrays["object"]
        extras = file.create_group("entry_1/ptychodus")
        extras["object_center_y_m"], extras["object_center_x_m"] = centre
        extras["object_pixel_width_m"] = PIXEL_M
    same_scan(open_dataset(tmp_path / "product.cxi"), truth)


# Plain files, options


def test_plain_hdf5_with_named_arrays(truth, counts, tmp_path):
    with h5py.File(tmp_path / "nexus.h5", "w") as file:
        file["entry/data/frames"] = np.fft.ifftshift(counts, axes=(1, 2)).swapaxes(1, 2)
        corner = (truth.positions_px - 16) * PIXEL_M
        file["entry/stage/x"], file["entry/stage/y"] = corner[:, 0], corner[:, 1]  # swapped on purpose
        file["probe"], file["object"] = truth.probe.conj(), truth.obj
    options = {
        "diffraction_key": "entry/data/frames",
        "x_key": "entry/stage/x",
        "y_key": "entry/stage/y",
        "probe_key": "probe",
        "object_key": "object",
        "position_unit": "m",
        "pixel_size_m": PIXEL_M,
        "swap_xy": True,
        "dc": "corner",
        "transpose_patterns": True,
        "conjugate_probe": True,
    }
    dataset = read_file(tmp_path / "nexus.h5", ReadOptions(**options))
    np.testing.assert_allclose(np.asarray(dataset.diffraction), truth.diffraction, atol=1e-3)
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px - centred(truth), atol=1e-6)
    np.testing.assert_array_equal(dataset.probe, truth.probe)
    unknown = r"unknown layout \(entry/data/frames \(60, 32, 32\) uint16; .*--diffraction-key"
    with pytest.raises(InputError, match=unknown):
        open_dataset(tmp_path / "nexus.h5")
    with pytest.raises(InputError, match=r"entry/nowhere: found no such array"):
        open_dataset(tmp_path / "nexus.h5", **{**options, "x_key": "entry/nowhere"})
    with pytest.raises(InputError, match=r"entry/stage: found a group"):
        open_dataset(tmp_path / "nexus.h5", **{**options, "x_key": "entry/stage"})


@pytest.mark.parametrize(("unit", "metre"), [("mm", 1e3), ("µm", 1e6), (b"um", 1e6), ("nanometre", 1e9)])
def test_nexus_says_its_units(truth, counts, unit, metre, tmp_path):
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry/data/data"] = counts
        for name, axis in (("x", 1), ("y", 0)):
            file[f"entry/sample/{name}"] = truth.positions_px[:, axis] * PIXEL_M * metre
            file[f"entry/sample/{name}"].attrs["units"] = unit
        file["probe"], file["object"] = truth.probe, truth.obj
    keys = {
        "x_key": "entry/sample/x",
        "y_key": "entry/sample/y",
        "probe_key": "probe",
        "object_key": "object",
    }
    options = {"diffraction_key": "entry/data/data", "pixel_size_m": PIXEL_M, **keys}
    dataset = open_dataset(tmp_path / "scan.nxs", **options)
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px - centred(truth), atol=1e-6)
    assert any(line.endswith("as the file says") for line in dataset.history)
    with pytest.raises(InputError, match="patches outside the object"):
        open_dataset(tmp_path / "scan.nxs", **options, position_unit="px")


def test_keys_name_arrays_in_the_file_that_holds_them(truth, counts, tmp_path):
    """A reconstruction of one program, patterns of a NeXus file, a probe of yet another file."""
    write_ptyr(tmp_path / "result.ptyr", truth)
    with h5py.File(tmp_path / "result.ptyr", "a") as file:
        del file["content/probe"]
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry/data/data"] = counts
    np.savez(tmp_path / "probes.npz", other=truth.probe.T, refined=truth.probe)
    options = {"patterns_file": str(tmp_path / "scan.nxs"), "diffraction_key": "entry/data/data"}
    options |= {"probe_file": str(tmp_path / "probes.npz"), "probe_key": "refined"}
    same_scan(open_dataset(tmp_path / "result.ptyr", **options), truth)
    with pytest.raises(InputError, match=r"nothing: found no such array.*other \(32, 32\) complex64"):
        open_dataset(tmp_path / "result.ptyr", **{**options, "probe_key": "nothing"})


def test_a_key_replaces_what_the_layout_would_take(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts)
    with h5py.File(tmp_path / "scan.cxi", "a") as file:
        file["refined/positions"] = truth.positions_px
        file["refined/probe"] = 2 * truth.probe
    keys = {"positions_key": "refined/positions", "probe_key": "refined/probe"}
    dataset = open_dataset(tmp_path / "scan.cxi", **keys)
    same_scan(dataset, truth)
    np.testing.assert_array_equal(dataset.probe, 2 * truth.probe)
    with pytest.raises(InputError, match="x_key and y_key together"):
        open_dataset(tmp_path / "scan.cxi", x_key="refined/positions")


def test_columns_and_rows_of_different_number_are_reported(truth, counts, tmp_path):
    np.savez(tmp_path / "a.npz", frames=counts, x=np.zeros(60), y=np.zeros(59))
    with pytest.raises(InputError, match="x: found 60 numbers, and 59 in y"):
        open_dataset(tmp_path / "a.npz", diffraction_key="frames", x_key="x", y_key="y")


def test_further_storages_of_a_ptyr_are_reported(truth, counts, tmp_path):
    write_ptyd(tmp_path / "scan.ptyd", truth, counts)
    write_ptyr(tmp_path / "result.ptyr", truth)
    with h5py.File(tmp_path / "result.ptyr", "a") as file:
        file["content/obj/Sscan01G00/data"] = truth.obj[None]
    dataset = open_dataset(tmp_path / "result.ptyr", patterns_file=str(tmp_path / "scan.ptyd"))
    same_scan(dataset, truth)
    assert "object and probe: storage Sscan00G00, 1 more ignored" in dataset.history


@pytest.mark.parametrize(("unit", "metre"), [("m", 1), ("mm", 1e3), ("um", 1e6), ("nm", 1e9)])
def test_positions_in_any_unit(truth, unit, metre, tmp_path):
    lengths = truth.positions_px * PIXEL_M * metre
    changed = replace(truth, positions_px=lengths, pixel_size_m=PIXEL_M)
    path = save_dataset(changed, tmp_path / "lengths.npz")
    dataset = read_file(path, ReadOptions(position_unit=unit))
    np.testing.assert_allclose(dataset.positions_px, truth.positions_px - centred(truth), atol=1e-6)
    with pytest.raises(InputError, match=r"pixel_size_m: found nothing.*--pixel-size-m"):
        read_file(
            save_dataset(replace(changed, pixel_size_m=None), tmp_path / "no.npz"),
            ReadOptions(position_unit=unit),
        )


def test_patches_that_do_not_fit_are_cut_anew(truth, tmp_path):
    path = save_dataset(replace(truth, patches=truth.object_patches()[:, :30]), tmp_path / "own.npz")
    dataset = open_dataset(path)
    assert dataset.patches is None
    assert any(line.startswith("Y: ignored, (60, 30, 32)") for line in dataset.history)


def test_the_object_of_another_file_replaces_coverage_and_patches(truth, tmp_path):
    wide = np.pad(truth.obj, 5, mode="edge")
    old = replace(truth, coverage=np.ones(truth.obj.shape, bool), patches=truth.object_patches())
    new = replace(truth, obj=wide, positions_px=truth.positions_px + 5)
    paths = [str(save_dataset(d, tmp_path / name)) for d, name in ((old, "old.npz"), (new, "new.npz"))]
    dataset = read_file(paths[0], ReadOptions(object_file=paths[1]))
    assert dataset.obj.shape == wide.shape
    assert dataset.coverage is None
    assert dataset.patches is None


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, ">u2", np.int32])
def test_pixels_that_were_not_measured_are_no_photons(truth, counts, dtype, tmp_path):
    flagged = counts.astype(dtype)
    flagged[:, 3, 4:9] = -1 if np.dtype(dtype).kind == "i" else np.iinfo(dtype).max
    np.savez(
        tmp_path / "t.npz",
        data=np.fft.ifftshift(flagged, axes=(1, 2)),
        scan=truth.positions_px - 16,
        probe=truth.probe,
        psi=truth.obj,
    )
    masked = open_dataset(tmp_path / "t.npz")
    assert not masked.mask[3, 4:9].any()
    assert masked.mask.sum() == 32 * 32 - 5
    assert np.asarray(masked.diffraction)[:, 3, 4:9].max() == 0
    dataset = prepare_dataset(tmp_path / "t.npz", PrepareOptions(bad_pixels="repair"))
    assert dataset.photons_per_pattern == pytest.approx((counts.sum() - counts[:, 3, 4:9].sum()) / 60, rel=1e-6)
    np.testing.assert_allclose(np.asarray(dataset.diffraction)[:, 8:], truth.diffraction[:, 8:], atol=1e-3)
    assert dataset.diffraction[:][:, 3, 4:9].max() < 10


def test_counts_of_nothing_have_no_photons(truth, counts, tmp_path):
    np.savez(tmp_path / "t.npz", data=counts * 0, scan=truth.positions_px - 16, probe=truth.probe, psi=truth.obj)
    with pytest.raises(InputError, match="zeros only in 60 of 60"):
        open_dataset(tmp_path / "t.npz")


def test_mirrored_positions(truth, tmp_path):
    path = save_dataset(truth, tmp_path / "own.npz")
    for option, axis in (("flip_rows", 0), ("flip_columns", 1)):
        mirrored = read_file(path, ReadOptions(**{option: True}))
        expected = truth.positions_px.copy()
        expected[:, axis] = np.ptp(expected[:, axis]) + 2 * expected[:, axis].min() - expected[:, axis]
        np.testing.assert_allclose(mirrored.positions_px, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"psi": np.ones((3, 80, 90), complex)}, "one slice"),
        ({"psi": np.ones((80, 90))}, "complex"),
        ({"probe": np.ones((32, 32))}, "probe"),
        ({"scan": np.ones((60, 3))}, r"positions: found shape \(60, 3\)"),
        ({"scan": np.ones((59, 2))}, "59 positions for 60 patterns"),
        ({"scan": np.full((60, 2), "x")}, "positions: found shape .* of <U1"),
        ({"scan": np.ones((60, 2), complex)}, "positions: found shape .* of complex128"),
        ({"data": np.ones((60, 32))}, r"\(n, rows, columns\)"),
        ({"data": np.full((60, 32, 32), "x")}, "real numbers"),
    ],
)
def test_arrays_that_do_not_fit(truth, counts, change, words, tmp_path):
    arrays = {"data": counts, "scan": truth.positions_px - 16, "probe": truth.probe, "psi": truth.obj}
    np.savez(tmp_path / "tike.npz", **{**arrays, **change})
    with pytest.raises(InputError, match=words):
        open_dataset(tmp_path / "tike.npz")


def test_an_unfinished_ptyd_is_reported(tmp_path):
    with h5py.File(tmp_path / "scan.ptyd", "w") as file:
        file["chunks/0/positions"] = np.zeros((3, 2))
    with pytest.raises(InputError, match="no chunk with data"):
        open_dataset(tmp_path / "scan.ptyd")


def test_unknown_options_are_refused(truth, tmp_path):
    path = save_dataset(truth, tmp_path / "own.npz")
    with pytest.raises(InputError, match="options: colour: found an unknown"):
        open_dataset(path, colour="red")


def test_a_huge_hdf5_scan_is_sliced_and_not_loaded(truth, tmp_path):
    """A virtual 50 GB stack: unwritten chunks take no space; reading three patterns reads three patterns."""
    count = 50 * 10**9 // (32 * 32 * 2)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        frames = file.create_dataset("frames", (count, 32, 32), np.uint16, chunks=(1, 32, 32))
        frames[123_456] = 7
        file["where"] = np.zeros((5, 2))
        file["probe"], file["object"] = truth.probe, truth.obj
    options = ReadOptions(diffraction_key="frames", positions_key="where", probe_key="probe", object_key="object")
    with pytest.raises(InputError, match=f"5 positions for {count} patterns"):
        read_file(tmp_path / "huge.h5", options)
    with h5py.File(tmp_path / "huge.h5", "a") as file:
        del file["where"]
        file.create_dataset("where", (10**12, 2), np.float64, chunks=(1000, 2))
    with pytest.raises(InputError, match=r"16000\.0 GB"):
        read_file(tmp_path / "huge.h5", options)


def test_patterns_of_an_hdf5_file_stay_on_disk(truth, counts, tmp_path):
    write_cxi(tmp_path / "scan.cxi", truth, counts)
    dataset = read_file(tmp_path / "scan.cxi", ReadOptions(quantity="amplitude"))
    part = dataset.select(np.array([40, 2, 2]))
    np.testing.assert_array_equal(part.diffraction[:], counts[[40, 2, 2]])
    assert part.diffraction.shape == (3, 32, 32)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_hdf5_never_crashes(data, cxi_bytes, tmp_path):
    damaged = bytearray(cxi_bytes)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(len(damaged), 6000) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.none())
    path = tmp_path / "fuzz.cxi"
    path.write_bytes(bytes(damaged[:cut]))
    try:
        result = open_dataset(path).fingerprint()
    except InputError as error:
        result = str(error)
    assert result


@pytest.fixture(scope="module")
def cxi_bytes(truth, counts, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "scan.cxi"
    write_cxi(path, truth, counts[:60])
    return path.read_bytes()


HDF5_KEYS = (
    "entry_1/instrument_1/detector_1/data",
    "entry_1/data_1/data",
    "entry_1/instrument_1/detector_1/mask",
    "entry_1/instrument_1/detector_1/basis_vectors",
    "entry_1/instrument_1/detector_1/x_pixel_size",
    "entry_1/instrument_1/detector_1/distance",
    "entry_1/instrument_1/source_1/energy",
    "entry_1/sample_1/geometry_1/translation",
    "entry_1/image_1/data",
    "entry_1/image_2/data",
    "entry_1/image_2/image_size",
    "entry_1/ptychodus/probe_position_indexes",
    "entry_1/ptychodus/object_pixel_width_m",
    "chunks/0/data",
    "chunks/0/positions",
    "chunks/1/data",
    "chunks/1/positions",
    "meta/energy",
    "meta/psize",
    "common/weight2d",
    "content/obj/S/data",
    "content/obj/S/grids",
    "content/obj/S/_psize",
    "content/probe/S/data",
    "content/positions/S",
    "probe_position_x_m",
    "probe_position_y_m",
    "probe_position_indexes",
    "probe",
    "object",
    "patterns",
    "indexes",
    "bad_pixels",
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layout=st.sampled_from(["entry_1", "chunks", "content", "p"]),
    arrays=st.dictionaries(
        st.sampled_from(HDF5_KEYS),
        st.tuples(
            st.lists(st.integers(0, 5), max_size=4),
            st.sampled_from(["f4", "f8", "c8", "u2", "i8", "?", "S2", ">f4", [("r", "f4"), ("i", "f4")]]),
        ),
        max_size=14,
    ),
)
def test_any_arrays_under_known_hdf5_keys_never_crash(layout, arrays, tmp_path):
    path = tmp_path / f"{uuid4()}.h5"  # HDF5 does not overwrite a file that something still has open
    with h5py.File(path, "w") as file:
        for key, (shape, dtype) in arrays.items():
            if key.startswith(layout) or (layout == "p" and "/" not in key):
                file[key] = np.zeros(shape, dtype)
    with pytest.raises(InputError):
        open_dataset(path)
    with pytest.raises(InputError):
        open_dataset(path, patterns_file=str(path))
    assert not check_file(path).ok
