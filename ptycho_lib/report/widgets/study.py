"""Views of a finished or running study for JupyterLab: metrics, runs, trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from matplotlib.figure import Figure
from rich.console import Console

from ptycho_lib.metrics_table import ALIGNMENTS, COMPONENTS, METRICS, Metric
from ptycho_lib.report.figures import comparison_figure, study_figure
from ptycho_lib.report.figures.objects import Complex2D
from ptycho_lib.report.output.notebook_display import show_html
from ptycho_lib.report.results import Reconstructions, StudyResults, load_reconstructions
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import preformatted
from ptycho_lib.report.widgets.live_view import LiveView, choice
from ptycho_lib.report.widgets.objects import SHOWN
from ptycho_lib.study.execution.display import watcher_for
from ptycho_lib.study.execution.forecast import calibrate, predict, schedule, table as cost_table
from ptycho_lib.study.execution.plan import StudyPlan


def show_cost(plan: StudyPlan, *, jobs: int = 1) -> None:
    """Calibrate on this machine and display the time, memory and disk space that each run of a plan needs."""
    with watcher_for(Console()) as watcher:
        samples = calibrate(plan, watcher, jobs=jobs)
    costs = predict(plan, samples)
    show_html(preformatted("\n".join(cost_table(schedule([*plan.runs], costs, jobs), costs))))


def metric_view(results: StudyResults) -> LiveView:
    """Plot a chosen metric, component and test condition against the training-set size."""
    tables = results.tables
    table = tables.table

    def draw(metric: str, component: str, alignment: str, condition: str) -> Figure:
        return study_figure(
            table,
            tables.summary,
            tables.matched_sizes,
            metrics=[metric],
            components=[component],
            alignment=alignment,
            condition=condition,
        )

    def describe(metric: str, component: str, alignment: str, condition: str) -> str:
        title = metric_title(metric, component)
        return f"{title} of the {component} ({alignment}, condition {condition}) against training patterns."

    controls = {
        "metric": choice("metric", _options(METRICS, table["metric"]), "ssim"),
        "component": choice("component", [c for c in COMPONENTS if c in set(table["component"])], "phase"),
        "alignment": choice("alignment", list(reversed(ALIGNMENTS))),
        "condition": choice("test condition", list(table["condition"].unique())),
    }
    return LiveView(draw, describe, controls)


def run_view(results: StudyResults) -> LiveView:
    """Show the reconstructions of a chosen run beside the truth."""
    runs = {_name(run.n_train, run.trial, results): (run.n_train, run.trial) for run in results.trained}
    load = _loader(results)

    def draw(run: tuple[int, int], shown: str) -> Figure:
        objects = load(*run)
        return _compare(objects, objects.aligned, SHOWN[shown])

    def describe(run: tuple[int, int], shown: str) -> str:
        return f"{shown.capitalize()} of truth and reconstructions of the run with {_name(*run, results)}."

    last = list(runs.values())[-1]
    controls = {"run": choice("run", list(runs.items()), last), "shown": choice("show", list(SHOWN))}
    return LiveView(draw, describe, controls)


def trial_view(results: StudyResults) -> LiveView:
    """Show two trials of one size and model side by side: they differ by chance alone."""
    sizes = sorted({run.n_train for run in results.trained})
    trials = sorted({run.trial for run in results.trained})
    repeated = Counter(run.n_train for run in results.trained)
    load = _loader(results)

    def draw(size: int, model: str, first: int, second: int) -> Figure:
        objects = load(size, first)
        pair = {f"trial {trial}": load(size, trial).aligned[model] for trial in (first, second)}
        return _compare(objects, pair, SHOWN["phase and its error"])

    def describe(size: int, model: str, first: int, second: int) -> str:
        label = model_looks([model])[model].label
        return f"Phase and error of {label} with {size} patterns: trial {first} beside trial {second}."

    models = {look.label: name for name, look in model_looks(results.config.models).items()}
    controls = {
        "size": choice("training patterns", sizes, max(sizes, key=repeated.__getitem__)),
        "model": choice("model", list(models.items())),
        "first": choice("trial", trials, trials[0]),
        "second": choice("beside trial", trials, trials[-1]),
    }
    return LiveView(draw, describe, controls)


def _compare(objects: Reconstructions, estimates: Mapping[str, Complex2D], rows: tuple[str, ...]) -> Figure:
    return comparison_figure(
        objects.truth,
        estimates,
        objects.mask,
        pixel_size_m=objects.pixel_size_m,
        truth_label=objects.truth_label,
        rows=rows,
    )


def _loader(results: StudyResults) -> Callable[[int, int], Reconstructions]:
    """Return `load_reconstructions` of this study, keeping the last few runs in memory."""

    @lru_cache(maxsize=8)
    def load(n_train: int, trial: int) -> Reconstructions:
        return load_reconstructions(results, n_train, trial)

    return load


def _options(known: Mapping[str, Metric], there: Iterable[str]) -> list[tuple[str, str]]:
    return [(metric.label, name) for name, metric in known.items() if name in set(there)]


def _name(n_train: int, trial: int, results: StudyResults) -> str:
    return f"{n_train} patterns" + (f", trial {trial}" if results.config.trials > 1 else "")
