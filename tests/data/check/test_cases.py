"""Inputs that went wrong in public bug reports: each is diagnosed, and what `check` proposes corrects it.

The scans come from a simulator of their own (`tests.support.independent_scan`).
"""

import numpy as np
import pytest

from ptycho_lib.data.check.file import check, check_file, quick_check
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.data.prepare.pipeline import prepare
from tests.support.independent_scan import predict, residual, simulate, write_contract


@pytest.fixture(scope="module")
def scan():
    return simulate()


@pytest.fixture(scope="module")
def noise(scan, tmp_path_factory):
    """R that photon noise leaves of the untouched scan."""
    return residual(write_contract(tmp_path_factory.mktemp("scan") / "good.npz", scan))


def codes(report, *severities):
    return [found.code for found in report.findings if not severities or found.severity in severities]


def rotated(degrees, scale=1.0):
    def change(scan):
        angle = np.deg2rad(degrees)
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = scan["positions"].mean(0)
        positions = (scan["positions"] - middle) @ matrix.T + middle
        return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}

    return change


def sheared(scan):
    middle = scan["positions"].mean(0)
    positions = (scan["positions"] - middle) @ np.array([[1.0, 0.12], [0.0, 0.95]]).T + middle
    return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}


def turned(detector, stage):
    """Orientation of the detector and of the stage, three bits each: rows, columns, exchange (ptypy #589)."""

    def change(scan):
        counts, positions = scan["counts"], scan["positions"].copy()
        ends = positions.min(0) + positions.max(0)
        counts = counts[:, ::-1] if detector & 1 else counts
        counts = counts[:, :, ::-1] if detector & 2 else counts
        counts = counts.swapaxes(1, 2) if detector & 4 else counts
        if stage & 1:
            positions[:, 0] = ends[0] - positions[:, 0]
        if stage & 2:
            positions[:, 1] = ends[1] - positions[:, 1]
        positions = positions[:, ::-1] if stage & 4 else positions
        patterns = np.sqrt(counts).astype(np.float32)
        return {"diffraction": patterns, "ycoords": positions[:, 0], "xcoords": positions[:, 1]}

    return change


def in_columns(scan):
    positions = scan["positions"].reshape(8, 8, 2).swapaxes(0, 1).reshape(-1, 2)
    return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}


def snake(scan):
    positions = scan["positions"].reshape(8, 8, 2).copy()
    positions[1::2] = positions[1::2, ::-1]
    positions = positions.reshape(-1, 2)
    return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}


def lagging(scan):
    positions = np.roll(scan["positions"], 2, axis=0)
    return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}


def dc_moved(scan):
    return {"diffraction": np.sqrt(np.roll(scan["counts"], (5, -4), (1, 2))).astype(np.float32)}


def negated(scan):
    return {"ycoords": -scan["positions"][:, 0], "xcoords": -scan["positions"][:, 1]}


def far_away(scan):
    return {"ycoords": scan["positions"][:, 0] + 3.2e6, "xcoords": scan["positions"][:, 1] - 1.7e6}


CONVENTIONS = {
    "detector 7, stage 2": (turned(7, 2), set()),
    "detector 3, stage 6": (turned(3, 6), set()),
    "detector 5, stage 0": (turned(5, 0), set()),
    "detector 0, stage 5": (turned(0, 5), set()),
    "rotated by 3": (rotated(3), {"scan-rotated"}),
    "rotated by 17": (rotated(17), {"scan-rotated"}),
    "rotated by -126": (rotated(-126), {"scan-rotated"}),
    "scaled by 0.85": (rotated(0, 0.85), {"scan-scaled"}),
    "sheared": (sheared, {"scan-sheared"}),
    "column-major": (in_columns, {"frame-order"}),
    "snake": (snake, {"frame-order"}),
    "lagging": (lagging, {"frame-lag"}),
    "DC off by 5": (dc_moved, {"dc-offset"}),
    "axes negated": (negated, {"rows-flipped", "columns-flipped", "position-offset"}),
    "offset of 3 000 000 px": (far_away, {"position-offset"}),
}


@pytest.mark.parametrize("case", CONVENTIONS)
def test_a_convention_is_found_and_prepare_corrects_it_down_to_noise(case, tmp_path, noise):
    change, expected = CONVENTIONS[case]
    scan = simulate(fractional="rotated" in case or "scaled" in case or case == "sheared", margin=14)
    path = write_contract(tmp_path / "scan.npz", scan, **change(scan))
    report = check_file(path)
    (found,) = (one for one in report.findings if one.severity == "error" and one.options)
    assert expected <= set(found.code.split("+"))
    (prepared,) = prepare(path, tmp_path / "out", split="none", **found.options)
    assert residual(prepared) < 1.12 * noise
    assert codes(check_file(prepared), "error", "warning") == []


def test_good_data_stay_good(scan, tmp_path):
    report = check_file(write_contract(tmp_path / "good.npz", scan))
    assert report.findings == ()
    assert report.numbers["re-projection residual"] < report.numbers["residual of a uniform object"] / 2


def test_modes_mixed_by_a_unitary_matrix_are_right_data(tmp_path):
    """ePIE and tike leave modes mixed: no array is the dominant one, and nothing is wrong."""
    n = 32
    first = simulate(n)["probe"].astype(complex)
    y, x = (np.indices((n, n)) - n / 2) / 5
    basis, triangle = np.linalg.qr(np.stack([first, first * x, first * y]).reshape(3, -1).T)
    modes = (basis * np.abs(np.diag(triangle))[0] * [1.0, 0.46, 0.35]).T.reshape(3, n, n)
    mixed = np.tensordot(np.fft.fft(np.eye(3), norm="ortho"), modes, 1).astype(np.complex64)
    path = write_contract(tmp_path / "mixed.npz", simulate(n, modes=modes), probeGuess=mixed)
    assert codes(check_file(path), "error", "warning") == []
    (prepared,) = prepare(path, tmp_path / "out", split="none")
    dataset = load_dataset(prepared)
    power = np.square(np.abs(dataset.probe)).sum(axis=(1, 2))
    np.testing.assert_allclose(power / power.sum(), [0.75, 0.16, 0.09], atol=0.01)
    assert any("mixed by a unitary matrix" in line for line in dataset.history)


def test_empty_frames_are_named_and_dropped(scan, tmp_path, noise):
    counts, rng = scan["counts"].copy(), np.random.default_rng(3)
    counts[[5, 17, 40, 41]] = rng.poisson(0.004, (4, 32, 32)) + (np.indices((32, 32)).sum(0) == 9)
    path = write_contract(tmp_path / "dump.npz", scan | {"counts": counts})
    report = check_file(path)
    assert codes(report, "error", "warning") == ["outlier-frames"]
    assert "4 of 64 patterns" in report.findings[0].message
    (prepared,) = prepare(path, tmp_path / "out", split="none", **report.findings[0].options)
    assert len(load_dataset(prepared)) == 60
    assert residual(prepared) < 1.1 * noise


def test_a_decaying_beam_is_named(scan, tmp_path):
    decay = np.linspace(1, 0.6, 64)[:, None, None]
    counts = np.random.default_rng(5).poisson(scan["counts"] * decay).astype(float)
    report = check_file(write_contract(tmp_path / "decay.npz", scan | {"counts": counts}))
    assert "beam-drift" in codes(report, "warning")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("half a module", "dead-area"),
        ("beam stop", "beam-stop"),
        ("background", "background"),
        ("cut at a value", "saturated"),
        ("cosmic rays", "outlier-pixels"),
    ],
)
def test_faults_of_the_detector_are_named(fault, code, scan, tmp_path):
    counts, rng = scan["counts"].copy(), np.random.default_rng(8)
    rows, columns = np.indices((32, 32)) - 16
    if fault == "half a module":
        counts[:, :, 20:] = 0
    elif fault == "beam stop":
        counts[:, np.hypot(rows, columns) <= 3.2] = 0
    elif fault == "background":
        counts += rng.poisson(8.0, counts.shape)
    elif fault == "cut at a value":
        counts = np.minimum(counts, 1500)
    else:
        counts[rng.integers(0, 64, 20), rng.integers(0, 32, 20), rng.integers(0, 32, 20)] = 60000
    path = write_contract(tmp_path / "fault.npz", scan | {"counts": counts})
    report = check_file(path)
    assert code in codes(report, "warning"), report.findings
    assert codes(report, "error") == []
    fix = next(found for found in report.findings if found.code == code)
    if fix.options:
        (prepared,) = prepare(path, tmp_path / "out", split="none", **fix.options)
        assert code not in codes(check_file(prepared))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_counts_that_overflowed_their_type_are_named(dtype, tmp_path):
    scan = simulate(photons=2e4 if np.dtype(dtype).itemsize == 1 else 5e6)
    wrapped = scan["counts"].astype(np.int64).astype(dtype)
    path = write_contract(tmp_path / "wrapped.npz", scan, diffraction=wrapped, photons_per_pattern=None)
    report = check_file(path)
    assert report.findings[0].code == "overflow"
    assert not any("--quantity intensity" in found.fix for found in report.findings)


def test_jitter_of_the_stage_is_named(scan, tmp_path):
    moved = scan["positions"] + np.random.default_rng(4).normal(0, 1.2, (64, 2))
    path = write_contract(tmp_path / "jitter.npz", scan, ycoords=moved[:, 0], xcoords=moved[:, 1])
    report = check_file(path)
    assert {"position-errors", "contract"} & set(codes(report)), report.findings


def test_offsets_of_lines_are_told_from_jitter(scan, tmp_path):
    """Backlash: every second line starts 2.5 pixels later."""
    moved = scan["positions"].reshape(8, 8, 2) + np.array([0.0, 2.5]) * (np.arange(8) % 2)[:, None, None]
    rows = np.arange(8)[:, None] * 32 / 9 + 19  # a raster, so that there are lines
    grid = np.stack(np.broadcast_arrays(rows, np.arange(8)[None] * 32 / 9 + 19), -1).reshape(-1, 2).round()
    amplitude = predict(scan["obj"], grid, scan["probe"])
    counts = np.random.default_rng(6).poisson(amplitude**2 * 1e5 / np.square(amplitude).sum((1, 2)).mean())
    told = grid.reshape(8, 8, 2) + (moved - scan["positions"].reshape(8, 8, 2))
    file = {"ycoords": told[..., 0].ravel(), "xcoords": told[..., 1].ravel()}
    report = check_file(write_contract(tmp_path / "lines.npz", scan | {"counts": counts.astype(float)}, **file))
    assert "line-offsets" in codes(report, "warning"), report.findings


def test_auto_applies_what_is_certain_and_records_it(tmp_path, noise):
    scan = simulate()
    changed = turned(7, 2)(scan)
    changed["diffraction"][:, :, 21:] = 0
    path = write_contract(tmp_path / "scan.npz", scan, **changed)
    (prepared,) = prepare(path, tmp_path / "out", split="none", auto=True)
    assert residual(prepared) < 1.3 * noise  # what is left of the detector holds less light
    lines = [line for line in load_dataset(prepared).history if line.startswith("auto: ")]
    assert any("--transpose-patterns" in line for line in lines)
    assert any("--bad-pixels mask" in line for line in lines)


def test_advice_is_never_what_is_in_force(scan, tmp_path):
    path = write_contract(tmp_path / "scan.npz", scan, **turned(0, 4)(scan))
    assert check_file(path, swap_xy=True).ok
    worse = check_file(path, flip_rows=True)  # on top of the exchanged axes
    (found,) = (one for one in worse.findings if one.options)
    assert found.options == {"swap_xy": True, "flip_rows": False}


def test_the_quick_check_of_a_study_finds_wrong_orientation(scan, tmp_path):
    good = load_dataset(write_contract(tmp_path / "good.npz", scan))
    assert quick_check(good) == ()
    wrong = load_dataset(write_contract(tmp_path / "wrong.npz", scan, **turned(0, 4)(scan)))
    assert [found.code for found in quick_check(wrong)] == ["xy-swapped"]
    assert [found.code for found in check(wrong).findings] == ["xy-swapped"]


def test_a_probe_for_each_pattern_is_refused_by_name(scan, tmp_path):
    path = write_contract(tmp_path / "many.npz", scan, probeGuess=np.repeat(scan["probe"][None], 64, 0))
    report = check_file(path)
    assert codes(report, "error") == ["unreadable"]
    assert "one for each pattern" in report.findings[0].message


@pytest.mark.parametrize("size", [24, 48])
def test_a_probe_of_another_size_is_fitted(size, scan, tmp_path):
    start = abs(size - 32) // 2
    probe = scan["probe"][start:-start, start:-start] if size < 32 else np.pad(scan["probe"], start)
    path = write_contract(tmp_path / "probe.npz", scan, probeGuess=probe)
    (prepared,) = prepare(path, tmp_path / "out", split="none")
    assert load_dataset(prepared).probe.shape == (32, 32)
    assert codes(check_file(prepared), "error") == []


def test_a_wrong_probe_does_not_make_amplitude_intensity(scan, tmp_path):
    """A probe of half the width predicts so badly that the square root of anything fits better."""
    path = write_contract(tmp_path / "probe.npz", scan, probeGuess=scan["probe"][::2, ::2])
    report = check_file(path)
    assert codes(report, "error") == []
    assert "object-unrelated" in codes(report, "warning")


def test_modes_on_the_last_axis_are_recognised(scan, tmp_path):
    modes = np.stack([scan["probe"], 0.1j * scan["probe"][::-1]], axis=-1)
    dataset = load_dataset(
        prepare(write_contract(tmp_path / "a.npz", scan, probeGuess=modes), tmp_path / "o", split="none")[0]
    )
    assert dataset.probe.shape == (2, 32, 32)


def test_predictions_of_the_two_simulators_agree(scan):
    from ptycho_lib.physics.diffraction import amplitude, extract_patches

    patches = extract_patches(scan["obj"], scan["positions"][:4], 32)
    ours = amplitude(patches, scan["probe"])
    np.testing.assert_allclose(ours, predict(scan["obj"], scan["positions"][:4], scan["probe"]), rtol=1e-4, atol=1e-4)
