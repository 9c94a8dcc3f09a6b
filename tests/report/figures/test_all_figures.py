"""Every figure: fit for print, fair to what it compares, and free of side effects."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from ptycho_lib.evaluation.frc import frc_curve
from ptycho_lib.metrics_table import select
from ptycho_lib.model_names import MODELS as MODELS_KNOWN
from ptycho_lib.report import figures
from ptycho_lib.report.figures.study import MOST_POINTS
from ptycho_lib.report.output.notebook_display import png_bytes
from ptycho_lib.report.style import FULL_WIDTH, style
from ptycho_lib.study.results.condition_series import ConditionSeries
from ptycho_lib.study.results.matched_size import matched_sizes
from tests.support import report_examples as examples

TRUTH, MASK = examples.star(), examples.mask()
ESTIMATES = {"baseline": examples.estimate(TRUTH, 3.0, 1), "pinn": examples.estimate(TRUTH, 1.0, 2)}
POSITIONS = np.stack(np.meshgrid(np.arange(20, 76, 4.0), np.arange(20, 60, 4.0)), axis=-1).reshape(-1, 2)


MODELS = ("pinn", "baseline", "untrained", "iterative", "pinn+iterative")
OVERLAPS = {"nominal": 0.8, "half": 0.5, "none": 0.0}
SWEEPS = [
    ConditionSeries("overlap", "", tuple(OVERLAPS), tuple(OVERLAPS.values())),
    ConditionSeries("photons_per_pattern", "scan overlap 0", tuple(OVERLAPS), (1e6, 1e4, 1e3)),
]


def curves() -> dict:
    parts = {"amplitude": np.abs, "phase": np.angle}
    return {c: {m: frc_curve(f(TRUTH), f(e), mask=MASK) for m, e in ESTIMATES.items()} for c, f in parts.items()}


def epochs() -> dict[str, pd.DataFrame]:
    """Return quality against time of iterations from three starting guesses."""
    models, epoch = ("iterative", "pinn+iterative", "baseline+iterative"), np.arange(51)
    return {
        model: pd.DataFrame(
            {
                "epoch": epoch,
                "seconds": 0.2 + 0.2 * epoch,
                "quality": 0.95 - 0.6 * np.exp(-(epoch + 9 * k) / 9),
            }
        )
        for k, model in enumerate(models)
    }


def coverage() -> pd.DataFrame:
    """Return an uncertainty that is too small as predicted, and right once it is calibrated."""
    shares, models = np.linspace(0.1, 0.95, 6), ("pinn", "baseline")
    rows = [(share, share ** (1 if fitted else 2), m, fitted) for share in shares for m in models for fitted in (0, 1)]
    return pd.DataFrame(rows, columns=["nominal", "observed", "model", "calibrated"]).astype({"calibrated": bool})


def learning_curves() -> pd.DataFrame:
    """Return a fitted curve of PtychoPINN, and a flat one of the baseline, as learning_curves.csv holds them."""
    fit = {"shape": "fitted", "best_size": 64, "plateau": 0.9, "plateau_low": 0.88, "plateau_high": 0.92}
    fit |= {"scale": 0.24, "exponent": 0.7, "target": 0.75, "target_size": 60.0}
    flat = dict.fromkeys(fit, np.nan) | {"shape": "flat", "best_size": 32, "target": 0.75}
    both = {"metric": "ssim", "alignment": "aligned", "smallest": 32, "largest": 128}
    rows = [both | {"component": c} for c in ("amplitude", "phase")]
    return pd.DataFrame([row | {"model": m} | own for row in rows for m, own in (("pinn", fit), ("baseline", flat))])


def every_figure() -> dict[str, Figure]:
    table = examples.tidy_table(trials=3, conditions=("nominal", "low_dose"))
    models = examples.tidy_table(trials=3, models=MODELS, conditions=tuple(OVERLAPS))
    spread = {model: np.abs(obj - TRUTH) / 3 for model, obj in ESTIMATES.items()}
    residual = {model: np.abs(obj - TRUTH) for model, obj in ESTIMATES.items()}
    by_size = dict.fromkeys((32, 64, 128), ESTIMATES)
    return {
        "dataset": figures.dataset_figure(examples.dataset()),
        "coverage": figures.coverage_figure(POSITIONS[::4], POSITIONS, POSITIONS + 5, TRUTH),
        "coverage_two_objects": figures.coverage_figure(
            POSITIONS[::4], POSITIONS, POSITIONS, TRUTH, test_obj=TRUTH, illumination=np.abs(TRUTH)
        ),
        "starting_guesses": figures.starting_guess_figure(
            {"simulated": epochs(), "measured half (against an iterative reference)": epochs()}
        ),
        "history": figures.history_figure({"pinn": examples.history(offset=-1e6), "baseline": examples.history()}),
        "comparison": figures.comparison_figure(TRUTH, ESTIMATES, MASK, pixel_size_m=examples.PIXEL_M),
        "montage": figures.montage_figure(TRUTH, by_size, MASK, shared={"untrained": examples.estimate(TRUTH, 2.0, 3)}),
        "frc": figures.frc_figure(curves(), pixel_size_m=examples.PIXEL_M),
        "profile": figures.profile_figure(TRUTH, ESTIMATES, MASK, (20, 40), (70, 45)),
        "uncertainty": figures.uncertainty_figure(spread, residual, residual, MASK),
        "check": figures.check_figure(examples.dataset()),
        "pattern": figures.pattern_figure(examples.dataset(), 7),
        "overlap": figures.overlap_figure(examples.dataset()),
        "study": figures.study_figure(table, examples.summary(table)),
        "conditions": figures.condition_figure(table),
        "conditions_all_models": figures.condition_figure(every_model(("nominal", "low_dose", "sparse"))),
        "conditions_many": figures.condition_figure(every_model(("nominal", *"abcdefgh"), sizes=(512,))),
        "generalization": figures.generalization_figure(
            examples.tidy_table(trials=3, models=MODELS, conditions=("nominal", "train"))
        ),
        "learning_curve": figures.learning_curve_figure(models, learning_curves()),
        "reliability": figures.reliability_figure(coverage()),
        "new_scan": figures.new_scan_figure(
            TRUTH, MASK, spread["pinn"], residual["pinn"], pixel_size_m=examples.PIXEL_M
        ),
        "studies": compared_studies(table),
        "time": figures.time_figure(models, examples.costs(models)),
        "sweep": figures.condition_series_figure(models, examples.costs(models, overlaps=OVERLAPS), SWEEPS),
    }


def compared_studies(table: pd.DataFrame) -> Figure:
    """Return two studies, of which the second is a little better."""
    better = table.assign(value=0.9 * table["value"])
    means = [examples.summary(one).assign(study=name) for one, name in ((table, "first"), (better, "second"))]
    pairs = examples.summary(table.assign(value=-0.1 * table["value"])).assign(study="second")
    return figures.study_comparison_figure(pd.concat(means), pairs, ["first", "second"])


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    """Every figure, laid out as for print."""
    made = every_figure()
    with style():
        for figure in made.values():
            figure.draw_without_rendering()
    return made


def every_model(conditions: tuple[str, ...], sizes: tuple[int, ...] = (32, 64, 128)) -> pd.DataFrame:
    return examples.tidy_table(sizes, trials=3, models=tuple(MODELS_KNOWN), conditions=conditions)


NAMES = (
    *("dataset", "coverage", "coverage_two_objects", "history", "comparison", "montage", "frc"),
    *("profile", "uncertainty", "check", "pattern", "overlap", "study", "conditions", "time", "sweep"),
    *("conditions_all_models", "conditions_many", "starting_guesses"),
    *("generalization", "reliability", "learning_curve", "new_scan", "studies"),
)


def visible_texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


@pytest.mark.parametrize("name", NAMES)
def test_fonts_are_at_least_7_pt_at_print_width(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    scale = min(1.0, FULL_WIDTH / figure.get_figwidth())
    sizes = {round(text.get_fontsize() * scale, 2) for text in visible_texts(figure)}
    assert min(sizes) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off(drawn: dict[str, Figure], name: str) -> None:
    box = drawn[name].get_tightbbox()
    width, height = drawn[name].get_size_inches()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02


@pytest.mark.parametrize("name", NAMES)
def test_tick_labels_of_an_axis_do_not_touch(drawn: dict[str, Figure], name: str) -> None:
    renderer = FigureCanvasAgg(drawn[name]).get_renderer()
    for ax in drawn[name].axes:
        labels = [label for label in ax.get_xticklabels() if label.get_text() and ax.xaxis.get_visible()]
        boxes = sorted((label.get_window_extent(renderer) for label in labels), key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 for left, right in pairwise(box for box in boxes if box.width))


def test_every_exported_figure_is_tested() -> None:
    assert len(NAMES) == len(figures.__all__) + 3  # coverage appears twice, conditions three times


def test_pyplot_knows_no_figure_and_settings_are_left_alone() -> None:
    before = dict(plt.rcParams)
    figures.dataset_figure(examples.dataset())
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def images(figure: Figure, title: str) -> list:
    """Return the data images of the panels in the row that begins with the given axis label."""
    first = next(ax for ax in figure.axes if ax.get_ylabel().replace("\n", " ") == title)
    row = [ax for ax in figure.axes if ax.get_images() and np.isclose(ax.get_position().y0, first.get_position().y0)]
    return [ax.get_images()[0] for ax in row]


@pytest.mark.parametrize("row", ["amplitude", "amplitude error", "phase", "phase error"])
def test_compared_panels_share_their_limits(drawn: dict[str, Figure], row: str) -> None:
    panels = images(drawn["comparison"], row)
    assert len(panels) == (2 if row.endswith("error") else 3)
    assert len({image.get_clim() for image in panels}) == 1
    assert len({image.get_cmap().name for image in panels}) == 1


def test_truth_is_first_and_models_keep_their_order(drawn: dict[str, Figure]) -> None:
    titles = [ax.get_title(loc="left") for ax in drawn["comparison"].axes]
    assert [title for title in titles if title] == ["Ground truth", "PtychoPINN", "Supervised baseline"]


def test_comparison_shows_the_numbers_it_was_given() -> None:
    figure = figures.comparison_figure(TRUTH, {"pinn": TRUTH * np.exp(0.1j)}, MASK, rows=("phase", "phase error"))
    error = next(ax for ax in figure.axes if ax.get_ylabel() == "phase error").get_images()[0].get_array()
    np.testing.assert_allclose(error, 0.1, atol=1e-5)


def test_phase_error_never_jumps_by_two_pi() -> None:
    truth = np.exp(1j * np.linspace(-4, 4, 80))[None, :].repeat(96, 0)
    figure = figures.comparison_figure(truth, {"pinn": truth * np.exp(-0.2j)}, MASK)
    error = next(ax for ax in figure.axes if ax.get_ylabel() == "phase error").get_images()[0].get_array()
    np.testing.assert_allclose(error, -0.2, atol=1e-9)


def test_zoom_shows_the_same_part_of_all_panels_with_the_same_colours() -> None:
    whole = figures.comparison_figure(TRUTH, ESTIMATES, MASK, rows=("phase",))
    part = figures.comparison_figure(TRUTH, ESTIMATES, MASK, rows=("phase",), zoom=3.0, centre=(0.2, 0.9))
    shapes = {image.get_array().shape for image in images(part, "phase")}
    assert len(shapes) == 1
    expected = np.array(images(whole, "phase")[0].get_array().shape) / 3
    np.testing.assert_allclose(shapes.pop(), expected, atol=1)
    assert images(part, "phase")[0].get_clim() == images(whole, "phase")[0].get_clim()


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        figures.comparison_figure(TRUTH, ESTIMATES, np.zeros_like(MASK))
    with pytest.raises(ValueError, match=re.escape("(96, 80)")):
        figures.comparison_figure(TRUTH, ESTIMATES, MASK[:-1])


def test_losses_of_two_models_never_share_an_axis(drawn: dict[str, Figure]) -> None:
    losses = [ax for ax in drawn["history"].axes if "loss" in ax.get_ylabel()]
    assert len(losses) == 2
    assert losses[0].get_ylim() != losses[1].get_ylim()
    assert not losses[0].get_shared_y_axes().joined(*losses)


def test_history_marks_the_best_epoch() -> None:
    history = examples.history()
    figure = figures.history_figure({"pinn": history})
    best = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert best[0].get_xdata()[0] == history.loc[history["val_loss"].idxmin(), "epoch"]


def test_flat_objects_are_shown_large() -> None:
    flat = (TRUTH[30:60], {n: {k: v[30:60] for k, v in ESTIMATES.items()} for n in (32, 64)})
    figure = figures.montage_figure(*flat, np.ones((30, 80), bool))
    shown = [ax for ax in figure.axes if ax.get_images()]
    assert [ax.get_title(loc="left") for ax in shown[:3]] == ["Ground truth", "PtychoPINN", "Supervised baseline"]
    assert [ax.get_ylabel() for ax in shown if ax.get_ylabel()] == ["32 patterns", "64 patterns"]
    figure.draw_without_rendering()
    assert shown[1].get_position().width > 0.25


def test_what_depends_on_no_size_stands_once_below_the_truth(drawn: dict[str, Figure]) -> None:
    shown = [ax for ax in drawn["montage"].axes if ax.get_images()]
    first = [ax for ax in shown if np.isclose(ax.get_position().x0, shown[0].get_position().x0, atol=0.02)]
    assert [ax.get_title(loc="left").replace("\n", " ") for ax in first] == ["Ground truth", "Untrained first guess"]
    assert len(shown) == 2 + 2 * 3


def test_an_amplitude_far_from_the_truth_is_shown_on_its_own_scale() -> None:
    dim = {"pinn": ESTIMATES["pinn"], "baseline": 0.2 * ESTIMATES["baseline"]}
    figure = figures.comparison_figure(TRUTH, dim, MASK, rows=("amplitude",))
    truth, pinn, baseline = (image.get_clim() for image in images(figure, "amplitude"))
    assert truth == pinn
    assert baseline[1] < 0.5 * truth[0]
    assert [text.get_text()[:9] for text in visible_texts(figure)].count("own scale") == 1


def test_each_probe_mode_is_shown_with_its_share_of_the_light() -> None:
    dataset = examples.dataset()
    weaker = dataset.probe[::-1] * np.linspace(-0.5, 0.5, dataset.probe.shape[-1])
    partly = replace(dataset, probe=np.stack([dataset.probe, weaker]).astype(np.complex64))
    titles = [ax.get_title(loc="left") for ax in figures.dataset_figure(partly).axes]
    power = [float(np.sum(np.abs(mode) ** 2)) for mode in partly.probe_modes]
    assert f"mode 2: {power[1] / sum(power):.1%}" in titles
    assert not [t for ax in figures.dataset_figure(dataset).axes if (t := ax.get_title(loc="left")).startswith("mode")]


def test_a_missing_run_leaves_its_place_empty() -> None:
    figure = figures.montage_figure(TRUTH, {32: {"pinn": TRUTH}, 64: ESTIMATES}, MASK)
    assert [text.get_text() for text in visible_texts(figure)].count("no run") == 1


def bands(ax: Axes) -> list[PolyCollection]:
    return [artist for artist in ax.collections if isinstance(artist, PolyCollection)]


class TestStudyFigure:
    """The figure that answers the study."""

    table = examples.tidy_table(sizes=(96, 200, 512), trials=3)

    def figure(self, trials: int = 3) -> Figure:
        table = self.table[self.table["trial"] <= trials]
        return figures.study_figure(table, examples.summary(table))

    def test_ticks_are_the_real_sizes_on_a_log2_axis(self) -> None:
        ax = self.figure().axes[-1]
        assert ax.get_xscale() == "log"
        assert ax.xaxis.get_transform().base == 2
        assert [label.get_text() for label in ax.get_xticklabels()] == ["96", "200", "512"]

    def test_panels_are_metrics_by_components_with_letters(self) -> None:
        figure = self.figure()
        assert len(figure.axes) == 10
        titles = [ax.get_title() for ax in figure.axes]
        assert titles[0] == "MAE ↓"
        assert titles[5] == "MAE (rad) ↓"
        assert titles[3] == "SSIM ↑"
        letters = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert letters == list("abcdefghij")

    def test_models_differ_in_colour_marker_and_line(self) -> None:
        lines = [line for line in self.figure().axes[0].get_lines() if not line.get_label().startswith("_")]
        assert [line.get_label() for line in lines] == ["PtychoPINN", "Supervised baseline"]
        for quality in ("get_color", "get_marker", "get_linestyle"):
            assert len({getattr(line, quality)() for line in lines}) == 2

    def test_line_joins_the_means(self) -> None:
        mae = self.table.query(
            "model == 'pinn' and component == 'amplitude' and alignment == 'aligned' and metric == 'mae'"
        )
        expected = mae.groupby("n_train")["value"].mean()
        line = self.figure().axes[0].get_lines()[0]
        np.testing.assert_allclose(line.get_ydata(), expected)

    def test_several_trials_show_each_and_a_band(self) -> None:
        ax = self.figure().axes[0]
        assert len(bands(ax)) == 2
        faint = [line for line in ax.get_lines() if line.get_alpha()]
        assert [len(line.get_xdata()) for line in faint] == [9, 9]

    def test_a_size_without_an_interval_has_no_band(self) -> None:
        summary = examples.summary(self.table)
        summary.loc[summary["n_train"].eq(200), ["low", "high"]] = np.nan
        band = bands(figures.study_figure(self.table, summary).axes[0])[0]
        assert not any(path.contains_point((200, y)) for path in band.get_paths() for y in np.linspace(0, 0.1, 200))

    def test_many_trials_are_line_and_band(self) -> None:
        table = examples.tidy_table(sizes=(96, 200), trials=MOST_POINTS + 1)
        ax = figures.study_figure(table, examples.summary(table)).axes[0]
        assert len(bands(ax)) == 2
        assert not [line for line in ax.get_lines() if line.get_alpha()]

    def test_labels_of_many_sizes_do_not_touch(self) -> None:
        sizes = tuple(range(10, 210, 10))
        figure = figures.study_figure(examples.tidy_table(sizes=sizes, trials=1))
        figure.draw_without_rendering()
        labels = figure.axes[-1].get_xticklabels()
        assert {"10", "200"} <= {label.get_text() for label in labels} <= set(map(str, sizes))
        ends = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(ends))

    def test_one_trial_claims_no_interval(self) -> None:
        assert not [band for ax in self.figure(trials=1).axes for band in ax.collections]

    def test_censored_values_are_open_points(self) -> None:
        table = self.table.copy()
        table.loc[table["metric"].eq("frc50") & table["n_train"].eq(512), "censored"] = True
        figure = figures.study_figure(table)
        white = [line for line in figure.axes[4].get_lines() if line.get_markerfacecolor() == "white"]
        assert [list(line.get_xdata()) for line in white] == [[512] * 3, [512] * 3]

    def test_a_collapsed_run_without_a_number_is_no_obstacle(self) -> None:
        table = self.table.copy()
        table.loc[table["model"].eq("baseline") & table["n_train"].eq(96), "value"] = np.nan
        line = figures.study_figure(table).axes[0].get_lines()[2]
        assert np.isnan(line.get_ydata()[0])
        assert np.isfinite(line.get_ydata()[1:]).all()

    def test_unknown_condition_names_the_choices(self) -> None:
        with pytest.raises(ValueError, match="condition 'dark' is not in the table; it holds nominal"):
            figures.study_figure(self.table, condition="dark")

    def test_an_arrow_shows_how_many_patterns_are_saved(self) -> None:
        table = examples.tidy_table(sizes=(64, 128, 256, 512), trials=3)
        matches = matched_sizes(table)
        figure = figures.study_figure(table, matched_sizes=matches)
        largest = select(matches, component="phase", metric="ssim", alignment="aligned", model="pinn").iloc[-1]
        assert largest["n_train"] == 512
        assert largest["size"] < 512 / 2
        arrows = [child for child in figure.axes[8].get_children() if isinstance(child, Annotation)]
        assert [arrow.xy for arrow in arrows] == [(largest["size"], largest["value"])]
        assert arrows[0].get_position()[0] == pytest.approx(largest["n_train"])

    def test_the_untrained_control_is_a_line_with_its_name(self) -> None:
        table = examples.tidy_table(trials=3, models=("pinn", "baseline", "untrained"))
        figure = figures.study_figure(table, examples.summary(table))
        wanted = {"model": "untrained", "alignment": "aligned"}
        for ax, metric, component in ((figure.axes[3], "ssim", "amplitude"), (figure.axes[5], "mae", "phase")):
            control = next(line for line in ax.get_lines() if line.get_label() == "Untrained first guess")
            value = select(table, metric=metric, component=component, **wanted)["value"].item()
            np.testing.assert_allclose(control.get_ydata(), value)
        assert "Untrained first guess" in [text.get_text() for text in figure.legends[-1].get_texts()]

    @pytest.mark.parametrize(("metric", "least"), [("ssim", 0.1), ("psnr", 3.0), ("frc50", 0.1)])
    def test_small_differences_do_not_fill_an_axis(self, metric: str, least: float) -> None:
        table = self.table.copy()
        table["value"] = 0.33 + 1e-3 * table["value"]
        low, high = figures.study_figure(table, metrics=[metric]).axes[0].get_ylim()
        assert high - low == pytest.approx(least)
        assert low < table["value"].min() < table["value"].max() < high

    def test_an_error_axis_never_spans_less_than_a_quarter_of_the_error(self) -> None:
        table = self.table.copy()
        table["value"] = 0.08 + 1e-4 * table["value"]
        low, high = figures.study_figure(table, metrics=["mae"]).axes[0].get_ylim()
        assert high - low > 0.019
        assert low > 0

    def test_what_is_drawn_is_explained_in_the_figure(self) -> None:
        texts = [text.get_text() for legend in self.figure().legends for text in legend.get_texts()]
        assert {"one trial", "95 % interval of the mean", "↑ higher is better, ↓ lower is better"} <= set(texts)
        single = [text.get_text() for legend in self.figure(trials=1).legends for text in legend.get_texts()]
        assert "one trial" not in single

    def test_pdf_embeds_real_fonts(self) -> None:
        buffer = io.BytesIO()
        with style():
            self.figure().savefig(buffer, format="pdf")
        assert b"/Type3" not in buffer.getvalue()
        assert b"/CIDFontType2" in buffer.getvalue()

    def test_width_is_two_columns(self) -> None:
        assert self.figure().get_figwidth() == pytest.approx(183 / 25.4)


def test_condition_map_shows_the_change(drawn: dict[str, Figure]) -> None:
    table = examples.tidy_table(trials=3, conditions=("nominal", "low_dose"))
    ssim = table.query("metric == 'ssim' and component == 'phase' and alignment == 'aligned' and model == 'pinn'")
    means = ssim.groupby(["condition", "n_train"])["value"].mean()
    heat = next(ax for ax in drawn["conditions"].axes if ax.get_images())
    np.testing.assert_allclose(heat.get_images()[0].get_array()[0], means["low_dose"] - means["nominal"])


@pytest.mark.parametrize("name", ["conditions", "conditions_all_models", "conditions_many"])
def test_titles_and_cells_of_the_condition_figure_do_not_overlap(drawn: dict[str, Figure], name: str) -> None:
    renderer = FigureCanvasAgg(drawn[name]).get_renderer()
    titles = [text for ax in drawn[name].axes for text in (ax.title, ax._left_title) if text.get_text()]
    cells = [text for ax in drawn[name].axes if ax.get_images() for text in ax.texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in (*titles, *cells)]
    assert len(titles) >= 2
    assert len(cells) > 2
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


def test_conditions_that_lines_cannot_tell_apart_are_a_heat_map_with_the_values_first(
    drawn: dict[str, Figure],
) -> None:
    heats = [ax for ax in drawn["conditions_many"].axes if ax.get_images() and ax.texts]
    assert len(heats) == len(MODELS_KNOWN)
    assert [label.get_text() for label in heats[0].get_yticklabels()] == ["nominal", *"abcdefgh"]
    table = every_model(("nominal",), sizes=(512,))
    wanted = {"metric": "ssim", "component": "phase", "alignment": "aligned", "model": "pinn"}
    assert float(heats[0].texts[0].get_text()) == pytest.approx(select(table, **wanted)["value"].mean(), abs=0.05)


def test_condition_figure_needs_a_condition() -> None:
    with pytest.raises(ValueError, match="no condition besides 'nominal'"):
        figures.condition_figure(examples.tidy_table())


def test_dataset_figure_says_counts_only_of_counts() -> None:
    counts = examples.dataset()
    scaled = counts.__class__(**{**counts.__dict__, "diffraction": counts.diffraction / 7})
    labels = [{ax.get_ylabel() for ax in figures.dataset_figure(d).axes} for d in (counts, scaled)]
    assert "log₁₀(1 + counts)" in labels[0]
    assert "log₁₀(1 + amplitude²)" in labels[1]


def test_equal_figures_are_equal_files() -> None:
    once, twice = (png_bytes(figures.history_figure({"pinn": examples.history()})) for _ in range(2))
    assert once == twice


def marked(ax: Axes) -> dict[str, np.ndarray]:
    """Return the points of a panel, (n, 2), by the label of their model."""
    drawn = zip(*ax.get_legend_handles_labels(), strict=True)
    return {label: handle.lines[0].get_xydata() for handle, label in drawn}


class TestTimeFigure:
    """Quality against time."""

    table = examples.tidy_table(sizes=(32, 64), trials=2, models=("pinn", "iterative"))
    costs = examples.costs(table)

    def test_the_points_are_the_means_of_time_and_quality(self) -> None:
        with_training, alone = figures.time_figure(self.table, self.costs).axes
        value = select(self.table, metric="ssim", component="phase", alignment="aligned", model="pinn")
        expected = value.groupby("n_train")["value"].mean()
        times = np.array([1.15 * (10 + size / 8) + 1.15 * 0.4 for size in (32, 64)])
        points = marked(with_training)["PtychoPINN"]
        np.testing.assert_allclose(points, np.stack([times, expected], axis=1))
        np.testing.assert_allclose(marked(alone)["PtychoPINN"][:, 0], 1.15 * 0.4)
        assert with_training.get_xscale() == "log"

    def test_an_model_without_training_is_one_point(self) -> None:
        ax = figures.time_figure(self.table, self.costs).axes[0]
        assert marked(ax)["Iterative"].shape == (1, 2)
        assert marked(ax)["Iterative"][0, 0] == pytest.approx(1.1 * 9)

    def test_without_times_there_is_no_figure(self) -> None:
        with pytest.raises(ValueError, match="no time was recorded"):
            figures.time_figure(self.table, self.costs.iloc[:0])

    def test_points_are_not_joined(self) -> None:
        handles = figures.time_figure(self.table, self.costs).axes[0].get_legend_handles_labels()[0]
        assert {handle.lines[0].get_linestyle() for handle in handles} == {"None"}

    @pytest.mark.parametrize("sizes", [(32, 64), tuple(range(32, 512, 32))])
    def test_labels_collide_with_nothing(self, sizes: tuple[int, ...]) -> None:
        table = examples.tidy_table(sizes=sizes, trials=2, models=("pinn", "baseline", "iterative"))
        figure = figures.time_figure(table, examples.costs(table))
        renderer = FigureCanvasAgg(figure).get_renderer()
        labels = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
        boxes = [label.get_window_extent(renderer) for label in labels]
        assert len(labels) >= 4
        assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


class TestGeneralizationFigure:
    """Training scan and test scan."""

    def test_both_scans_are_drawn_at_their_means(self) -> None:
        table = examples.tidy_table(trials=3, models=("pinn", "untrained"), conditions=("nominal", "train"))
        ax = figures.generalization_figure(table, metrics=["ssim"], components=["phase"]).axes[0]
        rows = select(table, metric="ssim", component="phase", alignment="aligned", model="pinn")
        test, train = (line for line in ax.get_lines() if line.get_marker() == "o")
        for line, condition in ((test, "nominal"), (train, "train")):
            means = select(rows, condition=condition).groupby("n_train")["value"].mean()
            np.testing.assert_allclose(line.get_ydata(), means)
        assert (train.get_markerfacecolor(), train.get_linestyle()) == ("white", "--")

    def test_without_the_training_scan_there_is_no_figure(self) -> None:
        with pytest.raises(ValueError, match="condition 'train' is not in the table"):
            figures.generalization_figure(examples.tidy_table())

    def test_the_training_scan_is_no_test_condition(self) -> None:
        table = examples.tidy_table(conditions=("nominal", "train"))
        with pytest.raises(ValueError, match="no condition besides 'nominal'"):
            figures.condition_figure(table)


def test_a_fitted_curve_follows_its_power_law_and_an_unfitted_one_says_why(drawn: dict[str, Figure]) -> None:
    ax = drawn["learning_curve"].axes[1]
    inside = next(line for line in ax.get_lines() if line.get_linestyle() == "-")
    x, y = inside.get_data()
    np.testing.assert_allclose(y, 0.9 - 0.24 * (x / 32) ** -0.7)
    assert (x.min(), x.max()) == pytest.approx((32, 128))
    dashed = next(line for line in ax.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata()) == 20)
    assert dashed.get_xdata().max() == pytest.approx(256)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["PtychoPINN", "Supervised baseline (flat)", "Untrained first guess"]


def test_reliability_needs_its_columns() -> None:
    with pytest.raises(ValueError, match="missing: \\['calibrated'\\]"):
        figures.reliability_figure(coverage().drop(columns="calibrated"))


def test_condition_series_run_from_easy_to_hard(drawn: dict[str, Figure]) -> None:
    overlap, dose = drawn["sweep"].axes[:2]
    assert overlap.xaxis_inverted()
    assert dose.xaxis_inverted()
    assert (overlap.get_title(loc="left"), dose.get_title(loc="left")) == (
        "all else unchanged",
        "at scan overlap 0",
    )
    assert marked(overlap)["PtychoPINN"].shape == (3, 2)
    with pytest.raises(ValueError, match="no series"):
        figures.condition_series_figure(examples.tidy_table(), examples.costs(examples.tidy_table()), [])
