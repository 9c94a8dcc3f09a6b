"""Comparison: one mask for all, every metric in a tidy table, phases without jumps."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptycho_lib.evaluation import frc, metrics
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


def smooth_phase(span, sigma=6.0, seed=5):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma)
    return span * (field - field.min()) / np.ptp(field)


def test_a_phase_beyond_two_pi_is_judged_unwrapped(mask):
    """A wrapped image of 9 rad puts its jumps into both images; its FRC then reads resolved to Nyquist."""
    phase = smooth_phase(9.0)
    truth = np.exp(1j * phase)
    estimate = truth * np.exp(0.5j * np.random.default_rng(0).normal(size=SHAPE))
    images = phase_images(truth, estimate, mask)
    assert np.ptp((images.truth - phase)[mask]) < 1e-6
    found = frc.frc50(frc.frc_curve(images.truth, images.estimate, mask=mask)).value
    expected = frc.frc50(frc.frc_curve(phase, phase + images.error, mask=mask)).value
    wrapped = np.angle(truth)
    jumping = frc.frc50(frc.frc_curve(wrapped, wrapped + images.error, mask=mask)).value
    assert found == pytest.approx(expected, abs=1e-6)
    assert found < 0.15
    assert jumping > 0.3
    table = compare_objects(truth, estimate, mask)
    assert value(table, "phase", "aligned", "mae") == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.02)
    ranges = table.query("component == 'phase' and metric == 'psnr'")["data_range"]
    assert ranges.tolist() == pytest.approx([np.ptp(phase[mask])] * 2)


@pytest.mark.parametrize("span", [3.0, 9.0])
@pytest.mark.parametrize("kind", ["random", "flat"])
def test_a_phase_without_information_has_no_resolution(mask, span, kind):
    """Choosing the value nearest to the truth of those 2π apart would correlate noise with the truth."""
    truth = np.exp(1j * smooth_phase(span, sigma=3.0))
    angle = np.random.default_rng(1).uniform(-np.pi, np.pi, SHAPE) if kind == "random" else 1e-3 * noise(3).real
    images = phase_images(truth, np.exp(1j * angle), mask)
    curve = frc.frc_curve(images.truth, images.estimate, mask=mask)
    trusted = curve.samples >= frc.LEAST_SAMPLES
    assert abs(curve.correlation[trusted].mean()) < 0.1
    assert frc.frc50(curve).value < 0.06
    if span == 3.0 and kind == "random":
        copied = frc.frc_curve(images.truth, images.truth + images.error, mask=mask)
        assert copied.correlation[trusted][0] > 0.5  # what the nearest values would claim


def test_phases_with_vortices_have_no_image_but_an_error(truth, mask):
    row, column = np.indices(SHAPE) - np.array([60.5, 50.5])[:, None, None]
    swirl = truth * np.exp(1j * np.arctan2(row, column))
    table = compare_objects(swirl, swirl * np.exp(0.1j * noise(2).real), mask)
    phase = table.query("component == 'phase'").set_index(["alignment", "metric"])
    undefined = phase["value"].isna()
    assert set(undefined[~undefined].index.get_level_values("metric")) == {"mae", "mse"}
    assert phase.loc[undefined, "reason"].str.contains("turns by 2π about 1 point").all()
    assert table.query("component == 'complex'")["value"].notna().all()
    outside = mask.copy()
    outside[50:72, 40:62] = False
    assert phase_images(swirl, swirl, outside & (np.indices(SHAPE)[0] < 60)).reason == ""


def test_parts_of_the_mask_that_do_not_touch_keep_their_turn(mask):
    """Between separate parts whole turns are unknown; each lies within half a turn of the mean phase."""
    phase = np.zeros(SHAPE)
    phase[10:50] = np.linspace(-7, 7, 40)[:, None]
    phase[70:110] = np.linspace(7, -7, 40)[:, None] + 2 * np.pi
    parts = mask & ((np.arange(SHAPE[0]) < 50) | (np.arange(SHAPE[0]) >= 70))[:, None]
    images = phase_images(np.exp(1j * phase), np.exp(1j * phase), parts)
    assert images.reason == ""
    assert images.truth[10:50, 40].mean() == pytest.approx(images.truth[70:110, 40].mean(), abs=1e-6)
    assert np.ptp(images.truth[parts]) == pytest.approx(14, abs=0.01)


def test_phase_errors_do_not_darken_the_amplitude(truth, mask):
    """The complex fit would scale by the mean cosine of the error, 0.956 at 0.3 rad rms: a MAE of 0.04."""
    drifting = truth * np.exp(0.3j * np.random.default_rng(0).normal(size=SHAPE))
    table = compare_objects(truth, drifting, mask)
    assert value(table, "phase", "aligned", "mae") > 0.2
    # The noise may shift the registration by 1/50 px.
    assert value(table, "amplitude", "aligned", "mae") < 0.005
    assert table.query("alignment == 'aligned'")["amplitude_scale"].to_numpy() == pytest.approx(1, abs=1e-3)
    drift = truth * np.exp(0.3j * smooth_phase(np.sqrt(12), sigma=15.0))
    table = compare_objects(truth, drift, mask)
    assert value(table, "amplitude", "aligned", "mae") < 0.005
