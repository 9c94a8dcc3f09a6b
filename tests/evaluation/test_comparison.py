"""Comparison: one mask for all, every metric in a tidy table, phases without jumps."""

import numpy as np
import pytest

from ptycho_lib.evaluation import metrics
from ptycho_lib.evaluation.comparison import compare_halves, compare_objects, comparison_mask, phase_images
from ptycho_lib.evaluation.ssim import ssim
from ptycho_lib.metrics_table import ALIGNMENTS, COMPONENTS, METRICS, SCORE_COLUMNS
from tests.evaluation.test_alignment import make_object

SHAPE = (120, 100)


@pytest.fixture(scope="module")
def truth():
    return make_object(0, shape=SHAPE)


@pytest.fixture(scope="module")
def mask():
    inside = np.zeros(SHAPE, bool)
    inside[10:110, 10:90] = True
    return inside


def noise(seed, level=0.1):
    rng = np.random.default_rng(seed)
    return level * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))


def value(table, component, alignment, metric):
    row = table.query("component == @component and alignment == @alignment and metric == @metric")
    assert len(row) == 1
    return row["value"].item()


def test_the_table_holds_each_metric_once(truth, mask):
    table = compare_objects(truth, truth + noise(1), mask, pixel_size_m=10e-9)
    assert tuple(table.columns) == SCORE_COLUMNS
    assert not table.duplicated(["component", "alignment", "metric"]).any()
    assert set(table["metric"]) == set(METRICS)
    assert set(table["component"]) == set(COMPONENTS)
    assert set(table["alignment"]) == set(ALIGNMENTS)
    assert table["value"].notna().all()
    assert table["value"].dtype == float
    # No structural similarity is defined for complex images.
    assert not {"psnr", "ssim", "ms_ssim"} & set(table.query("component == 'complex'")["metric"])
    without = compare_objects(truth, truth + noise(1), mask)
    assert "frc50_nm" not in set(without["metric"])


def test_values_are_those_of_the_metrics(truth, mask):
    estimate = truth + noise(1)
    table = compare_objects(truth, estimate, mask)
    gamma = np.vdot(estimate[mask], truth[mask])
    turned = estimate * gamma / abs(gamma)
    assert value(table, "complex", "raw", "mae") == pytest.approx(metrics.mae(truth, turned, mask=mask).value)
    amplitude = ssim(np.abs(truth), np.abs(estimate), mask=mask).value
    assert value(table, "amplitude", "raw", "ssim") == pytest.approx(amplitude)
    error = np.angle(turned * truth.conj())[mask]
    assert value(table, "phase", "raw", "mae") == pytest.approx(np.abs(error).mean())


def test_raw_keeps_the_scale_and_aligned_removes_it(truth, mask):
    table = compare_objects(truth, 2 * np.exp(0.7j) * truth, mask)
    assert value(table, "amplitude", "raw", "mae") == pytest.approx(np.abs(truth[mask]).mean())
    assert value(table, "amplitude", "aligned", "mae") == pytest.approx(0, abs=1e-9)
    assert value(table, "phase", "raw", "mae") == pytest.approx(0, abs=1e-9)
    audit = table.groupby("alignment")[["phase_rad", "amplitude_scale"]].agg(["min", "max"])
    assert audit.loc["raw"].tolist() == pytest.approx([-0.7, -0.7, 1, 1])
    assert audit.loc["aligned"].tolist() == pytest.approx([-0.7, -0.7, 0.5, 0.5])


def test_the_data_range_is_the_truths_and_only_where_it_enters(truth, mask):
    table = compare_objects(truth, 3 * truth + noise(1), mask)
    with_range = table.dropna(subset=["data_range"])
    assert set(with_range["metric"]) == {"psnr", "ssim", "ms_ssim"}
    ranges = with_range.groupby("component")["data_range"].unique()
    assert ranges["amplitude"] == pytest.approx([np.ptp(np.abs(truth[mask]))])


@pytest.mark.parametrize("turn", [0.3, 2.0, 3.0])
def test_no_phase_metric_sees_a_jump_of_two_pi(truth, mask, turn):
    """Noise across the cut of the logarithm: any global phase of the truth gives the same errors."""
    estimate = truth + noise(1, 0.05)
    plain = compare_objects(truth, estimate, mask)
    turned = compare_objects(np.exp(1j * turn) * truth, estimate, mask)
    assert turned["value"].tolist() == pytest.approx(plain["value"].tolist(), abs=1e-6)


def test_phase_images_differ_by_the_wrapped_error():
    truth = np.exp(1j * np.array([[3.0, 3.1], [-3.1, 3.05]]))
    estimate = truth * np.exp(0.2j)
    inside = np.ones((2, 2), bool)
    images = phase_images(truth, estimate, inside)
    assert images.estimate - images.truth == pytest.approx(np.full((2, 2), 0.2))
    assert np.abs(images.truth).max() < 0.2  # about the circular mean, not about zero


def test_a_zero_estimate_is_not_perfect_in_phase(truth, mask):
    table = compare_objects(truth, np.zeros(SHAPE, complex), mask)
    assert value(table, "phase", "aligned", "ssim") < 0.1
    assert value(table, "complex", "aligned", "e0") == 1.0
    resolution = table.query("metric == 'frc50'")
    assert resolution["value"].isna().all()
    assert resolution["reason"].str.contains("constant").all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, np.nan + 0j])
def test_a_diverged_estimate_gives_nan_with_reasons_and_no_exception(truth, mask, bad):
    table = compare_objects(truth, np.full(SHAPE, bad, complex), mask)
    assert table["value"].isna().all()
    assert (table["reason"] == "the estimate is not finite").all()


def test_an_empty_mask_gives_nan_with_reasons(truth):
    table = compare_objects(truth, truth, np.zeros(SHAPE, bool))
    assert table["value"].isna().all()
    assert (table["reason"] == "no pixel to compare").all()


def test_less_noise_is_better_in_every_metric(truth, mask):
    estimates = (truth + noise(1, level) for level in (0.05, 0.4))
    good, bad = (compare_objects(truth, estimate, mask, pixel_size_m=1e-9) for estimate in estimates)
    for low, high in zip(good.itertuples(), bad.itertuples(), strict=True):
        assert low.metric == high.metric
        if low.metric == "contrast":  # noise has contrast too
            continue
        if METRICS[low.metric].better == "lower":
            assert low.value <= high.value, (low.component, low.metric)
        else:
            assert low.value >= high.value, (low.component, low.metric)


def test_the_mask_needs_light_resolution_and_coverage():
    probe = np.zeros((32, 32), complex)
    probe[8:24, 8:24] = 1.0
    positions = np.array([[30.0, 30.0], [30.0, 60.0]])
    mask = comparison_mask(positions, probe, (70, 90), min_illumination=0.1)
    expected = np.zeros((70, 90), bool)
    expected[22:38, 22:38] = expected[22:38, 52:68] = True
    assert np.array_equal(mask, expected)

    coverage = np.zeros((70, 90), bool)
    coverage[:, :40] = True
    assert np.array_equal(comparison_mask(positions, probe, (70, 90), coverage=coverage), expected & coverage)

    wide = np.ones((32, 32), complex)  # light beyond the resolved centre does not count
    assert np.array_equal(comparison_mask(positions, wide, (70, 90), min_illumination=0.01), expected)

    twice = np.array([[30.0, 30.0]] * 20 + [[30.0, 60.0]])
    assert not comparison_mask(twice, probe, (70, 90), min_illumination=0.1)[30, 60]


def test_halves_of_the_data_give_a_resolution_without_truth(truth, mask):
    first, second = (truth + noise(seed, 0.1) for seed in (1, 2))
    curve, resolution = compare_halves(first, 1.5 * np.exp(1j) * second, mask)
    assert set(resolution) == {"one_seventh", "half_bit", "one_bit"}
    assert 0.05 < resolution["one_seventh"].value < 0.5
    assert resolution["one_bit"].value <= resolution["half_bit"].value
    assert curve.correlation[0] > 0.9
