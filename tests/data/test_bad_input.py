"""Every problem of a file gets one paragraph: what, where, and how to fix it; the file is never changed."""

import io
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.data.readers import open_dataset
from ptycho_lib.errors import InputError


@pytest.fixture(scope="module")
def arrays(small_dataset, tmp_path_factory):
    """The arrays of a good file."""
    path = save_dataset(small_dataset, tmp_path_factory.mktemp("good") / "good.npz")
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def at(array, place, value):
    changed = np.array(array)
    changed[place] = value
    return changed


def modes(probe):
    return np.stack([probe, 0.5 * probe * np.linspace(-1, 1, probe.shape[-1])])


def without(arrays, *keys):
    return {key: value for key, value in arrays.items() if key not in keys}


def exporting_code(good):
    class Hostile:
        def __reduce__(self):
            return (os.system, ("touch /tmp/ptycho_lib_was_here",))

    return {**good, "probeGuess": np.array([Hostile()], dtype=object)}


NAN, INF = float("nan"), float("inf")

# name: (change of the arrays, what the message must hold)
FAULTS = {
    "missing key": (
        lambda a: without(a, "probeGuess"),
        ["probeGuess", "no such key", "Data contract"],
    ),
    "raw counts": (
        lambda a: {**without(a, "diffraction"), "diff3d": a["diffraction"].astype(np.uint16)},
        ["no such key, but 'diff3d'", "ptycho-study prepare"],
    ),
    "zero patterns": (
        lambda a: {
            **a,
            "diffraction": a["diffraction"][:0],
            "xcoords": a["xcoords"][:0],
            "ycoords": a["ycoords"][:0],
        },
        ["no pattern"],
    ),
    "all-zero pattern": (
        lambda a: {**a, "diffraction": at(a["diffraction"], 5, 0)},
        ["zeros only in 1 of 60 patterns (index 5)", "--drop-bad-patterns"],
    ),
    "NaN": (
        lambda a: {**a, "diffraction": at(a["diffraction"], (7, 1, 2), NAN)},
        ["NaN or infinite values in 1 of 60", "index 7", "--bad-pixels repair"],
    ),
    "infinite": (
        lambda a: {**a, "diffraction": at(a["diffraction"], (8, 1, 2), INF)},
        ["NaN or infinite values in 1 of 60", "index 8"],
    ),
    "negative": (
        lambda a: {**a, "diffraction": at(a["diffraction"], (slice(3, 9), 0, 0), -1)},
        ["negative values in 6 of 60", "index 3, 4, 5, …"],
    ),
    "intensity": (
        lambda a: {**a, "diffraction": a["diffraction"] ** 2},
        ["probably intensity", "--quantity intensity"],
    ),
    "complex diffraction": (
        lambda a: {**a, "diffraction": a["diffraction"] + 0j},
        ["complex numbers", "modulus"],
    ),
    "float16": (
        lambda a: {**a, "diffraction": a["diffraction"].astype(np.float16)},
        ["float16", "65504"],
    ),
    "uint16 that would overflow when squared": (
        lambda a: {**a, "diffraction": np.full(a["diffraction"].shape, 4000, np.uint16)},
        ["integers (uint16), probably photon counts", "prepare"],
    ),
    "text": (lambda a: {**a, "diffraction": np.full((60, 32, 32), "a")}, ["dtype <U1"]),
    "odd N": (
        lambda a: {**a, "diffraction": a["diffraction"][:, :31, :31]},
        ["31×31", "even edge", "--crop"],
    ),
    "non-square": (lambda a: {**a, "diffraction": a["diffraction"][:, :, :30]}, ["32×30", "--crop"]),
    "patterns last": (
        lambda a: {**a, "diffraction": a["diffraction"].transpose(1, 2, 0)},
        ["patterns last", "--pattern-axis last"],
    ),
    "two-dimensional": (lambda a: {**a, "diffraction": a["diffraction"][0]}, ["shape (32, 32)", "(n, N, N)"]),
    "probe of zeros": (lambda a: {**a, "probeGuess": a["probeGuess"] * 0}, ["probeGuess: found zeros only"]),
    "probe of another size": (
        lambda a: {**a, "probeGuess": a["probeGuess"][:30, :30]},
        ["probeGuess", "(30, 30)", "(32, 32)"],
    ),
    "real probe": (
        lambda a: {**a, "probeGuess": a["probeGuess"].real},
        ["probeGuess", "real numbers", "exp(iφ)"],
    ),
    "NaN in the probe": (
        lambda a: {**a, "probeGuess": at(a["probeGuess"], (0, 0), NAN)},
        ["probeGuess: found 1 NaN"],
    ),
    "real object": (
        lambda a: {**a, "objectGuess": np.abs(a["objectGuess"])},
        ["objectGuess", "real numbers"],
    ),
    "object smaller than a patch": (
        lambda a: {**a, "objectGuess": a["objectGuess"][:20]},
        ["objectGuess", "at least 32"],
    ),
    "object of zeros": (
        lambda a: {**a, "objectGuess": a["objectGuess"] * 0},
        ["objectGuess: found zeros only"],
    ),
    "positions outside": (
        lambda a: {**a, "xcoords": a["xcoords"] + 1000},
        ["60 of 60 patches outside", "object pixels"],
    ),
    "corners for centres": (
        lambda a: {**a, "xcoords": a["xcoords"] - 16, "ycoords": a["ycoords"] - 16},
        ["--position-reference corner"],
    ),
    "swapped axes": (
        lambda a: {**a, "xcoords": a["ycoords"], "ycoords": a["xcoords"]},
        ["patches outside", "--swap-xy"],
    ),
    "metres": (
        lambda a: {**a, "xcoords": a["xcoords"] * 1e-8, "ycoords": a["ycoords"] * 1e-8},
        ["metres", "--position-unit m"],
    ),
    "NaN position": (lambda a: {**a, "ycoords": at(a["ycoords"], 3, NAN)}, ["ycoords: found 1 NaN"]),
    "mismatched n": (
        lambda a: {**a, "xcoords": a["xcoords"][:59]},
        ["xcoords: found shape (59,)", "(60,), one for each pattern"],
    ),
    "complex positions": (lambda a: {**a, "xcoords": a["xcoords"] + 1j}, ["xcoords: found dtype complex128"]),
    "patches of another shape": (
        lambda a: {**a, "Y": np.ones((59, 32, 32), np.complex64)},
        ["Y: found shape (59, 32, 32)", "optional"],
    ),
    "coverage of another shape": (
        lambda a: {**a, "coverage": np.ones((3, 3), bool)},
        ["coverage: found shape (3, 3)"],
    ),
    "coverage of numbers": (
        lambda a: {**a, "coverage": np.ones(a["objectGuess"].shape)},
        ["coverage: found dtype float64"],
    ),
    "empty coverage": (
        lambda a: {**a, "coverage": np.zeros(a["objectGuess"].shape, bool)},
        ["coverage: found no pixel"],
    ),
    "scan index of floats": (
        lambda a: {**a, "scan_index": np.zeros(60)},
        ["scan_index: found dtype float64"],
    ),
    "negative photons": (
        lambda a: {**a, "photons_per_pattern": np.float64(-1)},
        ["photons_per_pattern: found -1.0", "positive"],
    ),
    "NaN pixel size": (lambda a: {**a, "pixel_size_m": np.float64(NAN)}, ["pixel_size_m: found nan"]),
    "a vector of wavelengths": (
        lambda a: {**a, "wavelength_m": np.ones(2)},
        ["wavelength_m: found shape (2,)"],
    ),
    "foreign history": (lambda a: {**a, "history": np.array("{not json")}, ["history", "JSON"]),
    "pickle inside": (exporting_code, ["probeGuess", "Python objects, which are never read"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_message(name, arrays, tmp_path):
    change, words = FAULTS[name]
    path = tmp_path / "faulty.npz"
    np.savez(path, **change(arrays))
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        load_dataset(path)
    message = str(caught.value)
    for word in words:
        assert word in message
    for problem in caught.value.problems:
        assert problem.source == str(path)
        assert problem.fix.endswith(".")
        assert problem.found
        assert problem.expected
    assert check_file(path).ok == (name in CONVERTED)
    assert path.read_bytes() == before
    assert not Path("/tmp/ptycho_lib_was_here").exists()


CONVERTED = {
    "raw counts",
    "uint16 that would overflow when squared",
    "float16",
    "patterns last",
    "patches of another shape",
    "foreign history",
    "negative photons",
    "NaN pixel size",
    "a vector of wavelengths",
}
"""What `prepare` converts or leaves out, saying so."""


PROBE_AND_MASK = {
    "modes of another size": (
        lambda a: {**a, "probeGuess": modes(a["probeGuess"])[:, :30, :30]},
        ["probeGuess: found shape (2, 30, 30)", "(m, 32, 32) for m modes"],
    ),
    "modes in four dimensions": (
        lambda a: {**a, "probeGuess": modes(a["probeGuess"])[None]},
        ["probeGuess: found shape (1, 2, 32, 32)"],
    ),
    "no mode": (
        lambda a: {**a, "probeGuess": modes(a["probeGuess"])[:0]},
        ["probeGuess: found shape (0, 32, 32)"],
    ),
    "modes parallel to each other": (
        lambda a: {**a, "probeGuess": np.concatenate([modes(a["probeGuess"]), 0.3j * a["probeGuess"][None]])},
        ["probeGuess: found parallel modes: 0 and 2", "orthogonal_modes"],
    ),
    "NaN in a mode": (
        lambda a: {**a, "probeGuess": at(modes(a["probeGuess"]), (1, 0, 0), NAN)},
        ["probeGuess: found 1 NaN"],
    ),
    "mask of another shape": (
        lambda a: {**a, "mask": np.ones((32, 30), bool)},
        ["mask: found shape (32, 30)", "(32, 32)"],
    ),
    "mask of integers": (
        lambda a: {**a, "mask": np.ones((32, 32), np.uint8)},
        ["mask: found dtype uint8", "True where a pixel was measured"],
    ),
    "mask that hides most of the light": (
        lambda a: {**a, "mask": np.hypot(*(np.indices((32, 32)) - 16)) > 14},
        ["of the expected light on measured pixels", "at least half", "invert the mask"],
    ),
    "mask that is True at bad pixels": (
        lambda a: {**a, "mask": at(np.zeros((32, 32), bool), (3, slice(5)), True)},
        ["of the expected light on measured pixels", "at least half", "invert the mask"],
    ),
}


@pytest.mark.parametrize("name", PROBE_AND_MASK)
def test_modes_and_mask_that_break_the_contract(name, arrays, tmp_path):
    change, words = PROBE_AND_MASK[name]
    np.savez(tmp_path / "faulty.npz", **change(arrays))
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path / "faulty.npz")
    for word in words:
        assert word in str(caught.value)


def test_a_beam_stop_may_hide_most_of_the_light(arrays, tmp_path):
    mask = np.hypot(*(np.indices((32, 32)) - 16)) > 6
    light = np.square(arrays["diffraction"], dtype=float).sum(axis=0)
    assert light[mask].sum() < 0.5 * light.sum()
    np.savez(tmp_path / "stop.npz", **{**arrays, "mask": mask})
    np.testing.assert_array_equal(load_dataset(tmp_path / "stop.npz").mask, mask)


def test_all_faults_at_once(arrays, tmp_path):
    path = tmp_path / "faulty.npz"
    np.savez(path, **{**arrays, "probeGuess": arrays["probeGuess"].real, "xcoords": arrays["xcoords"][1:]})
    with pytest.raises(InputError) as caught:
        load_dataset(path)
    assert {problem.key for problem in caught.value.problems} == {"probeGuess", "xcoords"}


@pytest.mark.parametrize("variant", ["big-endian", "Fortran order", "double", "compressed"])
def test_harmless_variants_are_read(variant, arrays, small_dataset, tmp_path):
    changed = dict(arrays)
    for key in ("diffraction", "objectGuess", "probeGuess", "xcoords"):
        if variant == "big-endian":
            changed[key] = arrays[key].astype(arrays[key].dtype.newbyteorder(">"))
        elif variant == "Fortran order":
            changed[key] = np.asfortranarray(arrays[key])
        elif variant == "double":
            changed[key] = arrays[key].astype(np.result_type(arrays[key].dtype, np.float64))
    path = tmp_path / "variant.npz"
    (np.savez_compressed if variant == "compressed" else np.savez)(path, **changed)
    loaded = load_dataset(path)
    assert loaded.fingerprint() == small_dataset.fingerprint()
    assert loaded.diffraction[3:5].dtype == np.float32
    assert loaded.diffraction.dtype.isnative


def test_one_pattern_and_duplicates_are_allowed_with_a_warning(arrays, tmp_path):
    path = tmp_path / "one.npz"
    one = {key: arrays[key][:1] for key in ("diffraction", "xcoords", "ycoords")}
    np.savez(path, **{**arrays, **one})
    assert len(load_dataset(path)) == 1
    assert "one-pattern" in {finding.code for finding in check_file(path).findings}
    twice = {key: np.concatenate([arrays[key], arrays[key][:4]]) for key in ("diffraction", "xcoords", "ycoords")}
    np.savez(path, **{**arrays, **twice})
    codes = {finding.code for finding in check_file(path).findings}
    assert {"duplicate-positions", "duplicate-patterns"} <= codes


# Files that are no dataset at all


def raises(path, *words):
    for read in (load_dataset, open_dataset):
        with pytest.raises(InputError) as caught:
            read(path)
        for word in words:
            assert word in str(caught.value)
    report = check_file(path)
    assert not report.ok
    assert report.findings[0].code == "unreadable"
    with pytest.raises(InputError, match="a file that can be read"):
        report.readable()


def test_missing_files_and_folders(tmp_path):
    raises(tmp_path / "nowhere.npz", "No such file or directory")
    raises(tmp_path, "a folder")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
        (b"\x93NUMPY\x01\x00", "a single array (npy)"),
        (b"\x80\x04\x95", "pickle, which is never opened"),
        (b"BZh91AY", "a bzip2 file"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"II*\x00", "a TIFF image"),
        (b"x,y\n1,2\n", "a file of unknown type"),
    ],
)
def test_unknown_file_types(content, words, tmp_path):
    (tmp_path / "data.npz").write_bytes(content)
    raises(tmp_path / "data.npz", words)


def test_no_permission(arrays, tmp_path):
    path = tmp_path / "secret.npz"
    np.savez(path, **arrays)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: try as nobody
        for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        raises(path, "Permission denied", "permissions")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated(arrays, part, tmp_path):
    path = tmp_path / "whole.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    raises(path, "damaged or truncated", "Copy or export the file again")


def archive_of(path, name, payload, compress=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr(name, payload)


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**7, 10**4, 10**4), (2**62, 2**62), (10**9,)])
def test_shapes_that_promise_more_than_there_is(shape, tmp_path):
    archive_of(tmp_path / "bomb.npz", "diffraction.npy", header(shape) + bytes(1000))
    raises(tmp_path / "bomb.npz", "1000 bytes of data under a header for", "damaged")


def test_a_zip_bomb_is_refused_before_it_unpacks(arrays, tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, **{**arrays, "diffraction": np.zeros((60, 500, 500), np.float32)})
    assert path.stat().st_size < 1e6

    class Memory:
        available = 100_000_000

    monkeypatch.setattr("ptycho_lib.io.npz.psutil.virtual_memory", lambda: Memory)
    with pytest.raises(InputError, match=r"0\.1 GB once unpacked.*numpy\.savez instead of"):
        load_dataset(path)


def test_reading_hostile_pickles_runs_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/executed",))

    np.savez(
        tmp_path / "hostile.npz",
        diffraction=np.array([Hostile()], dtype=object),
        xcoords=np.array([Hostile()]),
    )
    raises(tmp_path / "hostile.npz")
    assert not (tmp_path / "executed").exists()


# Fuzzing: whatever the bytes, an InputError or a dataset, and never much memory


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_npz_never_crashes(data, fuzz_seed, tmp_path):
    damaged = bytearray(fuzz_seed)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.none())
    path = tmp_path / "fuzz.npz"
    path.write_bytes(bytes(damaged[:cut]))
    for read in (load_dataset, open_dataset):
        try:
            result = read(path).fingerprint()
        except InputError as error:
            result = str(error)
        assert result


@pytest.fixture(scope="module")
def fuzz_seed(arrays):
    """A small file, half of it compressed, whose every byte matters."""
    few = {key: value[:2] if value.shape[:1] == (60,) else value for key, value in arrays.items() if key != "history"}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, (key, value) in enumerate(few.items()):
            part = io.BytesIO()
            np.lib.format.write_array(part, value)
            archive.writestr(f"{key}.npy", part.getvalue(), zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    return stream.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    keys=st.dictionaries(
        st.sampled_from(
            [
                "diffraction",
                "diff3d",
                "xcoords",
                "ycoords",
                "probeGuess",
                "objectGuess",
                "scan",
                "data",
                "probe",
                "psi",
                "Y",
                "coverage",
                "scan_index",
                "history",
                "pixel_size_m",
                "patterns",
                "probe_position_x_m",
                "probe_position_y_m",
                "object",
                "object_pixel_width_m",
                "probe_position_indexes",
                "indexes",
            ]
        ),
        st.tuples(
            st.lists(st.integers(0, 5), max_size=4),
            st.sampled_from(["f4", "f8", "c8", "u2", "i8", "?", "U3", "O", ">f4", "S2", "M8[s]"]),
        ),
        max_size=9,
    )
)
def test_any_arrays_under_known_keys_never_crash(keys, tmp_path):
    path = tmp_path / "fuzz.npz"
    np.savez(path, **{key: np.zeros(shape, dtype) for key, (shape, dtype) in keys.items()})
    for read in (load_dataset, open_dataset):
        with pytest.raises(InputError):
            read(path)
    assert not check_file(path).ok


def test_hostile_sizes_take_no_memory(tmp_path):
    """In a process of its own, with 1 GB of address space above what the imports need."""
    archive_of(tmp_path / "bomb.npz", "diffraction.npy", header((10**6, 10**3, 10**3)) + bytes(10**6))
    stored = header((2**15, 2**9, 2**9)) + zlib.compress(bytes(10**6))
    archive_of(tmp_path / "lie.npz", "diffraction.npy", stored, zipfile.ZIP_STORED)
    script = (
        "import resource, sys\n"
        "from ptycho_lib.data.readers import open_dataset\n"
        "from ptycho_lib.errors import InputError\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + 2**30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_dataset(path)\n"
        "    except InputError as error: print('refused', error)\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "bomb.npz", tmp_path / "lie.npz"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("refused") == 2


class LittleMemory:
    available = 100_000_000


def test_a_huge_object_is_not_copied_into_memory(arrays, tmp_path, monkeypatch):
    path = tmp_path / "huge.npz"
    np.savez(path, **{**arrays, "objectGuess": np.zeros((3000, 3000), np.complex64)})
    monkeypatch.setattr("ptycho_lib.io.npz.psutil.virtual_memory", lambda: LittleMemory)
    raises(path, "objectGuess", "0.1 GB to be read whole")


def test_an_hdf5_chunk_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        shape = (10_000, 64, 64)
        file.create_dataset("frames", shape, np.uint16, chunks=shape, compression="gzip")
    monkeypatch.setattr("ptycho_lib.data.readers.store.psutil.virtual_memory", lambda: LittleMemory)
    with pytest.raises(InputError, match=r"chunks of 0\.1 GB, each read whole even for one pattern.*h5repack"):
        open_dataset(path, diffraction_key="frames")


def test_patterns_of_a_gigapixel_are_refused_before_one_is_read(tmp_path):
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", (4, 30_000, 30_000), np.float32, chunks=(1, 300, 300))
        file["where"], file["probe"], file["object"] = (
            np.ones((4, 2)),
            np.ones((8, 8)) + 0j,
            np.ones((9, 9)) + 0j,
        )
    keys = {"positions_key": "where", "probe_key": "probe", "object_key": "object"}
    with pytest.raises(InputError, match="patterns up to 8192×8192"):
        open_dataset(path, diffraction_key="frames", **keys)
