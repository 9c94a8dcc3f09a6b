"""Each common fault, planted into real and simulated data, is named with the option that fixes it."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from ptycho_lib.data.check.conventions import CONVENTIONS
from ptycho_lib.data.check.file import check, check_file
from ptycho_lib.data.check.pair import check_pair, probe_similarity
from ptycho_lib.data.dataset import load_dataset, materialise, save_dataset
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.data.readers import read_file
from ptycho_lib.data.readers.patterns import reverse
from ptycho_lib.data.readers.positions import mirror
from ptycho_lib.data.reprojection import Residual, residual, spread_indices
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan
from tests.conftest import ROOT, simulate_small


def codes(report, *severities):
    return [finding.code for finding in report.findings if not severities or finding.severity in severities]


@pytest.fixture(scope="module")
def star(star_raw):
    """Every eighth pattern: 65 say as much as the 128 that a check looks at, in less time."""
    with np.load(star_raw) as raw:
        count = len(raw["diff3d"])
        return {key: value[::8] if value.shape[:1] == (count,) else value for key, value in raw.items()}


@pytest.fixture(scope="module")
def good(star, tmp_path_factory):
    path = tmp_path_factory.mktemp("star") / "good.npz"
    np.savez(path, **star)
    return read_file(path, ReadOptions())


def same_arrays(one, two):
    names = ("diffraction", "positions_px", "probe", "obj")
    return all(np.allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-8) for name in names)


def flipped(values):
    return values.min() + values.max() - values


PLANTED = {
    "intensity": lambda a: {"diff3d": a["diff3d"].astype(np.float32)},
    "xy-swapped": lambda a: {"xcoords": a["ycoords"], "ycoords": a["xcoords"]},
    "rows-flipped": lambda a: {"ycoords": flipped(a["ycoords"])},
    "columns-flipped": lambda a: {"xcoords": flipped(a["xcoords"])},
    "corner-positions": lambda a: {"xcoords": a["xcoords"] - 32, "ycoords": a["ycoords"] - 32},
    "dc-corner": lambda a: {"diff3d": np.fft.ifftshift(a["diff3d"], axes=(1, 2))},
    "patterns-transposed": lambda a: {"diff3d": a["diff3d"].swapaxes(1, 2)},
    "probe-conjugated": lambda a: {"probeGuess": a["probeGuess"].conj()},
    "pattern-rows-flipped": lambda a: {"diff3d": reverse(a["diff3d"], (1,))},
    "pattern-columns-flipped": lambda a: {"diff3d": reverse(a["diff3d"], (2,))},
    "patterns-turned": lambda a: {
        "probeGuess": a["probeGuess"].conj(),
        "objectGuess": a["objectGuess"].conj(),
    },
    "pattern-rows-flipped+dc-offset": lambda a: {"diff3d": a["diff3d"][:, ::-1]},
    "dc-offset": lambda a: {"diff3d": np.roll(a["diff3d"], 1, axis=2)},
    "position-offset": lambda a: {"xcoords": a["xcoords"] + 1, "ycoords": a["ycoords"] - 0.5},
    "rows-flipped+probe-conjugated": lambda a: {
        "ycoords": flipped(a["ycoords"]),
        "probeGuess": a["probeGuess"].conj(),
    },
    "positions-metres": lambda a: {
        "xcoords": a["xcoords"] * 5e-8,
        "ycoords": a["ycoords"] * 5e-8,
        "pixel_size_m": np.float64(5e-8),
    },
    "positions-millimetres": lambda a: {
        "xcoords": a["xcoords"] * 5e-5,
        "ycoords": a["ycoords"] * 5e-5,
        "pixel_size_m": np.float64(5e-8),
    },
    "positions-micrometres": lambda a: {
        "xcoords": a["xcoords"] * 0.05,
        "ycoords": a["ycoords"] * 0.05,
        "pixel_size_m": np.float64(5e-8),
    },
    "positions-nanometres": lambda a: {
        "xcoords": a["xcoords"] * 50,
        "ycoords": a["ycoords"] * 50,
        "pixel_size_m": np.float64(5e-8),
    },
    "intensity+xy-swapped": lambda a: {
        "diff3d": a["diff3d"].astype(np.float32),
        "xcoords": a["ycoords"],
        "ycoords": a["xcoords"],
    },
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_problem_of_the_measured_data_is_named_and_its_option_fixes_it(planted, star, good, tmp_path):
    path = tmp_path / "raw.npz"
    np.savez(path, **{**star, **PLANTED[planted](star)})
    report = check_file(path)
    # Metres leave open where in the object the scan lies: an offset may come on top.
    assert [code.removesuffix("+position-offset") for code in codes(report, "error")] == [planted]
    assert report.numbers["re-projection residual"] > 0.1
    fixed = read_file(path, parse_options(ReadOptions, "options", options_of(report.findings[0])))
    if not same_arrays(fixed, good):  # up to what was fitted
        report = check(fixed)
        assert report.ok, report.findings
        assert report.numbers["re-projection residual"] < 0.13


@pytest.mark.parametrize(("factor", "words"), [(5.8e-8, "--position-unit m"), (0.058, "micrometres")])
def test_lengths_without_a_pixel_size_lead_to_no_wrong_diagnosis(factor, words, hard):
    """Patches outside the object: that one option brings them inside proves nothing."""
    data = hard["weak object"]
    report = check(replace(data, positions_px=data.positions_px * factor))
    assert codes(report, "error") == ["contract"]
    assert words in report.findings[0].fix


def options_of(finding):
    """Return the options of `prepare` that a finding proposes."""
    flags = re.findall(r"--([a-z-]+)(?: ([^-`\s][^`\s]*|-[0-9.]+))?", finding.fix)
    return {name.replace("-", "_"): value or True for name, value in flags}


def test_every_convention_is_tested():
    elsewhere = {"patterns-last", "frame-order", "frame-lag", "scan-rotated", "scan-scaled", "scan-sheared"}
    assert set(CONVENTIONS) <= {*PLANTED, *elsewhere}  # below, and in test_cases


# The same problems, planted into simulated data in which they are hard to see

FAULTS = {
    "intensity": lambda d: replace(d, diffraction=np.square(d.diffraction)),
    "xy-swapped": lambda d: replace(d, positions_px=d.positions_px[:, ::-1].copy()),
    "rows-flipped": lambda d: replace(d, positions_px=mirror(d.positions_px, 0)),
    "columns-flipped": lambda d: replace(d, positions_px=mirror(d.positions_px, 1)),
    "corner-positions": lambda d: replace(d, positions_px=d.positions_px - d.patch_size / 2),
    "dc-corner": lambda d: replace(d, diffraction=np.fft.ifftshift(d.diffraction, axes=(1, 2))),
    "patterns-transposed": lambda d: replace(d, diffraction=np.swapaxes(d.diffraction, 1, 2)),
    "pattern-rows-flipped": lambda d: replace(d, diffraction=reverse(d.diffraction, (1,))),
    "pattern-columns-flipped": lambda d: replace(d, diffraction=reverse(d.diffraction, (2,))),
    "patterns-turned": lambda d: replace(d, probe=d.probe.conj(), obj=d.obj.conj()),
    "probe-conjugated": lambda d: replace(d, probe=d.probe.conj()),
    "positions-metres": lambda d: replace(d, positions_px=d.positions_px * 5e-8, pixel_size_m=5e-8),
    "position-offset": lambda d: replace(d, positions_px=d.positions_px + np.array([1.0, -0.5])),
    "dc-offset": lambda d: replace(d, diffraction=np.roll(d.diffraction, -1, axis=1)),
}


@pytest.fixture(scope="module")
def hard():
    """Scans in which the problems hardly change a pattern, or noise hides it."""
    measured_probe = np.load(ROOT / "studies" / "siemens_star" / "velociprobe_probes.npz")["probe_n64"]
    rng = np.random.default_rng(2)
    positions, shape = scan.frame(scan.fermat_spiral(150, 4.5), 64)
    lines, blobs = objects.lines(shape, rng), objects.blobs(shape, rng)
    strong = objects.transmission(lines, amplitude=(0.6, 1.0), phase_rad=(0, 1.2))
    weak = objects.transmission(blobs, amplitude=(0.98, 1.0), phase_rad=(0, 0.05))
    even = probes.disc(64, 28, smoothing_px=2)
    scans = {
        "weak object": (weak, measured_probe, 4.4e5),
        "even probe": (strong, even, 1e5),
        "weak object, even probe": (weak, even, 1e6),
        "thousand photons": (strong, measured_probe, 1e3),
    }
    return {
        name: materialise(simulate_dataset(obj, probe, positions, detector=Detector(photons), seed=1))
        for name, (obj, probe, photons) in scans.items()
    }


HIDDEN = [(where, None) for where in ("weak object", "even probe", "weak object, even probe", "thousand photons")]
# An offset that leaves nothing but noise is none of these.
HIDDEN += [(HIDDEN[n % 4][0], planted) for n, planted in enumerate(FAULTS) if planted != "position-offset"]
HIDDEN += [
    ("weak object", "xy-swapped"),
    ("thousand photons", "rows-flipped"),
    ("thousand photons", "intensity"),
    ("even probe", "position-offset"),
]


@pytest.mark.parametrize(("where", "planted"), HIDDEN)
def test_hidden_faults_are_named_and_no_other(where, planted, hard):
    report = check(hard[where] if planted is None else FAULTS[planted](hard[where]))
    harmless = planted == "probe-conjugated" and "even" in where  # a real probe is its own conjugate
    found = {part for code in codes(report, "error", "warning") for part in code.split("+")}
    if planted == "positions-metres":  # the scan is taken to be centred in the object, which is not quite true
        found -= {"position-offset"}
    assert found == ({planted} if planted and not harmless else set())


@pytest.mark.parametrize("planted", list(combinations(sorted(FAULTS), 2))[::12])
def test_two_faults_at_once_are_named(planted, hard):
    data = hard["even probe"]
    moved = "probe-conjugated" in planted
    if moved:
        data = replace(data, probe=data.probe * np.exp(4j * np.indices((64, 64)).sum(axis=0) ** 2 / 64**2))
        data = simulate_dataset(data.obj, data.probe, data.positions_px, detector=Detector(1e5))
    first, second = sorted(planted, key=ORDER_OF_PLANTING.index)
    report = check(FAULTS[second](FAULTS[first](data)))
    if "xy-swapped" in planted:  # rows flipped before an exchange are columns flipped after it
        planted = [name.replace("columns", "rows") for name in planted]
    assert set(report.findings[0].code.split("+")) >= set(planted)
    assert report.findings[0].severity == "error"


ORDER_OF_PLANTING = [*(name for name in FAULTS if name != "positions-metres"), "positions-metres"]


def test_as_many_patterns_as_pixels_hide_the_axis_order(hard):
    data = hard["even probe"].select(np.arange(64))
    last = replace(data, diffraction=np.moveaxis(np.asarray(data.diffraction), 0, -1))
    report = check(last)
    assert codes(report, "error") == ["patterns-last"]
    assert options_of(report.findings[0]) == {"pattern_axis": "last"}


def test_counts_of_a_few_photons_are_known_by_being_whole(hard):
    data = hard["thousand photons"]
    dim = simulate_dataset(data.obj, data.probe, data.positions_px, detector=Detector(100))
    assert codes(check(replace(dim, diffraction=np.square(dim.diffraction).round())), "error") == ["intensity"]
    assert codes(check(dim), "error") == []


def test_what_cannot_be_decided_is_said(hard):
    data = hard["weak object"]
    dim = simulate_dataset(data.obj, data.probe, data.positions_px, detector=Detector(30))
    report = check(dim)
    assert report.ok
    note = next(finding for finding in report.findings if finding.code == "undecided")
    assert note.severity == "note"
    assert "x and y swapped (`--swap-xy`)" in note.message
    assert "undecided" not in codes(check(hard["even probe"]))


def test_good_data_have_no_findings_but_notes(star_raw, small_dataset):
    report = check_file(star_raw)
    assert report.ok
    assert codes(report) == ["excess-residual", "needs-prepare"]  # one mode of three; raw counts are not the contract
    assert report.numbers["patterns"] == 516
    assert report.numbers["overlap, linear"] == pytest.approx(0.87, abs=0.01)
    assert report.numbers["photons per pattern"] == pytest.approx(440600)
    assert report.numbers["re-projection residual"] == pytest.approx(0.09, abs=0.005)
    assert check(small_dataset).findings == ()


@pytest.mark.parametrize("photons", [50, 500, 5e4])
def test_photon_noise_alone_is_no_problem(photons):
    dataset = simulate_small(40, seed=5, photons=photons)
    report = check(dataset)
    assert codes(report, "error") == []
    assert "high-residual" not in codes(report)
    expected = report.numbers["residual from photon noise"]
    assert report.numbers["re-projection residual"] == pytest.approx(expected, rel=0.6)


def test_a_foreign_object_is_reported_without_a_wrong_diagnosis(small_dataset):
    other = simulate_small(60, seed=77)
    report = check(replace(small_dataset, obj=other.obj * np.exp(1j * 2 * np.abs(other.obj))))
    assert "high-residual" in codes(report, "warning") or codes(report, "error") == []
    assert not set(CONVENTIONS) & {part for code in codes(report) for part in code.split("+")}


def test_detector_faults_are_reported(small_dataset):
    patterns = np.array(small_dataset.diffraction)
    patterns[:, 18, 15] = 0
    patterns[:, 5, 28] = 200
    patterns[4, 16, 16] = np.sqrt(65535)
    patterns[9] = patterns[8]
    report = check(replace(small_dataset, diffraction=patterns))
    assert {"bad-pixels", "saturated", "duplicate-patterns"} <= set(codes(report, "warning"))
    assert report.numbers["dead pixels"] == 1
    assert report.numbers["hot pixels"] == 1


def test_a_sparse_scan_is_reported(small_dataset):
    middle = small_dataset.positions_px.mean(axis=0)
    chosen = [int(np.argmin(np.linalg.norm(small_dataset.positions_px - middle - d, axis=1))) for d in (-9, 9)]
    report = check(small_dataset.select(np.array(chosen)))
    assert "low-overlap" in codes(report, "warning")


def test_unknown_photons_are_noted(small_dataset):
    report = check(replace(small_dataset, photons_per_pattern=None))
    assert codes(report) == ["photons-unknown"]
    assert report.ok


def test_the_residual_by_hand():
    measured, predicted = np.array([[[3.0, 0.0]]]), np.array([[[1.0, 1.0]]])
    assert residual(measured, predicted) == Residual(value=1.0, scale=1.5)
    assert residual(2 * predicted, predicted).value == 0
    assert np.isnan(residual(measured * 0, predicted).value)


def test_spread_indices():
    np.testing.assert_array_equal(spread_indices(10, 4), [0, 3, 6, 9])
    np.testing.assert_array_equal(spread_indices(3, 9), [0, 1, 2])


# Two files


def test_the_two_halves_of_a_scan_go_together(star_raw, tmp_path):
    train, test = (load_dataset(path) for path in prepare(star_raw, tmp_path))
    assert check_pair(train, test) == ()


def pair_codes(train, test):
    return {finding.code for finding in check_pair(train, test)}


def test_leaks_are_found(small_dataset):
    train, test = small_dataset.select(np.arange(40)), small_dataset.select(np.arange(30, 60))
    assert {"pair-leak-patterns", "pair-leak-area"} <= pair_codes(train, test)
    apart = small_dataset.select(np.arange(40, 60))
    assert pair_codes(train, apart) == {"pair-leak-area"}
    nowhere = replace(apart, coverage=np.zeros(apart.obj.shape, bool))
    assert pair_codes(train, nowhere) == set()


def test_incompatible_files_are_reported(small_dataset):
    assert pair_codes(small_dataset, simulate_small(10, seed=8, size=16)) == {"pair-size"}
    other = simulate_small(20, seed=8, photons=1e3)
    other = replace(other, probe=np.roll(other.probe, 9, axis=0))
    assert {"pair-probe", "pair-photons"} <= pair_codes(small_dataset, other)


def test_probes_are_compared_up_to_a_factor(small_dataset):
    probe = small_dataset.probe
    assert probe_similarity(probe, -3j * probe) == pytest.approx(1)
    assert probe_similarity(probe, probe * 0) == 0


def test_check_reads_what_it_saves(small_dataset, tmp_path):
    report = check_file(save_dataset(small_dataset, tmp_path / "x.npz"))
    assert report.source.endswith("x.npz")
    assert report.findings == ()


def test_a_measurement_without_an_object_is_inspected_all_the_same(small_dataset, tmp_path):
    counts = np.rint(np.square(small_dataset.diffraction)).astype(np.float32)
    counts[9] = counts[8]
    arrays = {"data": np.fft.ifftshift(counts, axes=(1, 2)), "scan": small_dataset.positions_px - 16}
    np.savez(tmp_path / "tike.npz", **arrays, probe=small_dataset.probe)
    report = check_file(tmp_path / "tike.npz")
    assert codes(report) == ["unreadable", "duplicate-patterns"]
    assert "--object-file" in report.findings[0].fix
    assert report.numbers["photons per pattern"] == pytest.approx(1e5, rel=0.01)
    assert report.numbers["overlap, linear"] == pytest.approx(check(small_dataset).numbers["overlap, linear"], abs=0.01)
    np.savez(tmp_path / "bare.npz", **arrays)
    bare = check_file(tmp_path / "bare.npz")
    assert bare.numbers["patterns"] == 60
    assert "overlap, linear" not in bare.numbers


# Patches `Y`, and normalisation


def test_patches_must_be_the_object_and_lie_at_the_positions(small_dataset):
    cut = small_dataset.object_patches()
    cases = {
        "patches-illuminated": cut * small_dataset.probe,
        "patches-differ": cut.swapaxes(1, 2),
        None: cut * np.exp(1j * np.arange(60))[:, None, None],  # each up to a factor
    }
    for code, patches in cases.items():
        report = check(replace(small_dataset, patches=patches.astype(np.complex64)))
        assert codes(report) == ([code] if code else [])
    assert codes(check(replace(small_dataset, patches=np.roll(cut, 1, axis=0)))) == ["patches-differ"]


def test_patches_are_cut_anew_on_request(small_dataset, tmp_path):
    lit = small_dataset.object_patches() * small_dataset.probe
    path = save_dataset(replace(small_dataset, patches=lit), tmp_path / "lit.npz")
    report = check_file(path)
    assert not report.ok
    assert "prepare --patches" in report.findings[0].fix
    (fixed,) = prepare(path, tmp_path / "out", split="none", patches=True)
    assert check_file(fixed).findings == ()
    np.testing.assert_array_equal(load_dataset(fixed).patches, small_dataset.object_patches())


@pytest.mark.parametrize("norm", [np.max, np.linalg.norm])
def test_patterns_normalised_one_by_one_are_reported(norm, small_dataset):
    patterns = np.asarray(small_dataset.diffraction)
    each = np.stack([pattern / norm(pattern) for pattern in patterns])
    assert codes(check(replace(small_dataset, diffraction=each))) == ["normalised"]
    whole = patterns / patterns.max()  # one scale for the whole file is free
    assert codes(check(replace(small_dataset, diffraction=whole))) == []


def test_a_phase_object_in_a_compact_probe_is_not_called_normalised(small_dataset):
    phase = small_dataset.obj / np.abs(small_dataset.obj)
    ideal = simulate_dataset(phase, small_dataset.probe, small_dataset.positions_px.round())
    totals = np.square(ideal.diffraction).sum(axis=(1, 2))
    assert np.ptp(totals) < 1e-5 * totals.max()
    assert codes(check(ideal)) == ["photons-unknown"]


def test_a_blank_file_is_reported_without_warnings(small_dataset, recwarn):
    report = check(replace(small_dataset, diffraction=np.zeros((60, 32, 32), np.float32)))
    assert codes(report, "error") == ["contract"]
    assert "zeros only in 60 of 60" in report.findings[0].message
    assert list(recwarn) == []
