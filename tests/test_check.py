"""Each usual suspect, planted into real and simulated data, is named with the option that mends it."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import simulate_small

from ptycho_lib.data.check import check, check_file, expected_residual
from ptycho_lib.data.check_pair import check_pair, probe_similarity
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.data.prepare import prepare
from ptycho_lib.data.projection import Residual, residual, spread_indices
from ptycho_lib.data.suspects import SUSPECTS


def codes(report, *severities):
    return [finding.code for finding in report.findings if not severities or finding.severity in severities]


@pytest.fixture(scope="module")
def star(star_raw):
    with np.load(star_raw) as raw:
        return dict(raw)


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
    "positions-metres": lambda a: {
        "xcoords": a["xcoords"] * 5e-8,
        "ycoords": a["ycoords"] * 5e-8,
        "pixel_size_m": np.float64(5e-8),
    },
    "intensity+xy-swapped": lambda a: {
        "diff3d": a["diff3d"].astype(np.float32),
        "xcoords": a["ycoords"],
        "ycoords": a["xcoords"],
    },
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_suspect_in_the_measured_data_is_named_and_its_option_mends_it(planted, star, tmp_path):
    path = tmp_path / "raw.npz"
    np.savez(path, **{**star, **PLANTED[planted](star)})
    report = check_file(path)
    assert codes(report, "error") == [planted]
    finding = report.findings[0]
    assert report.numbers["re-projection residual"] > 0.2
    words = (
        finding.mend.removeprefix("Run `ptycho-study prepare ").removesuffix("`.").replace("--", " ").split()
    )
    options = {}
    known = {word.split()[0].removeprefix("--") for suspect in SUSPECTS for word in [suspect.option]}
    for word in words:
        if word in known:
            options[word.replace("-", "_")] = True
            last = word.replace("-", "_")
        else:
            options[last] = word
    mended = check_file(path, **options)
    assert mended.ok, mended.findings
    assert mended.numbers["re-projection residual"] < 0.13


def test_every_suspect_is_planted():
    assert {suspect.code for suspect in SUSPECTS} <= set(PLANTED)


def test_good_data_raise_no_suspicion(star_raw, small_dataset):
    report = check_file(star_raw)
    assert report.ok
    assert codes(report) == ["needs-prepare"]  # raw counts are not yet the contract
    assert report.numbers["patterns"] == 516
    assert report.numbers["overlap, linear"] == pytest.approx(0.87, abs=0.01)
    assert report.numbers["photons per pattern"] == pytest.approx(440600)
    assert report.numbers["re-projection residual"] == pytest.approx(0.09, abs=0.005)
    assert check(small_dataset).findings == ()


@pytest.mark.parametrize("photons", [50, 500, 5e4])
def test_photon_noise_alone_is_no_fault(photons):
    dataset = simulate_small(40, seed=5, photons=photons)
    report = check(dataset)
    assert codes(report, "error") == []
    assert "high-residual" not in codes(report)
    expected = report.numbers["residual from photon noise (estimate)"]
    assert report.numbers["re-projection residual"] == pytest.approx(expected, rel=0.6)


def test_a_foreign_object_is_told_without_naming_an_innocent_suspect(small_dataset):
    other = simulate_small(60, seed=77)
    report = check(replace(small_dataset, obj=other.obj * np.exp(1j * 2 * np.abs(other.obj))))
    assert "high-residual" in codes(report, "warning") or codes(report, "error") == []
    assert not any(suspect.code in codes(report) for suspect in SUSPECTS)


def test_detector_faults_are_told(small_dataset):
    patterns = np.array(small_dataset.diffraction)
    patterns[:, 18, 15] = 0
    patterns[:, 5, 28] = 200
    patterns[4, 16, 16] = np.sqrt(65535)
    patterns[9] = patterns[8]
    report = check(replace(small_dataset, diffraction=patterns))
    assert {"bad-pixels", "saturated", "duplicate-patterns"} <= set(codes(report, "warning"))
    assert report.numbers["dead pixels"] == 1
    assert report.numbers["hot pixels"] == 1


def test_a_sparse_scan_is_told(small_dataset):
    middle = small_dataset.positions_px.mean(axis=0)
    chosen = [
        int(np.argmin(np.linalg.norm(small_dataset.positions_px - middle - d, axis=1))) for d in (-9, 9)
    ]
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


def test_expected_residual_needs_photons(small_dataset):
    assert expected_residual(None, small_dataset.diffraction) == 0
    assert expected_residual(1e5, small_dataset.diffraction) > 0


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


def test_incompatible_files_are_told(small_dataset):
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
