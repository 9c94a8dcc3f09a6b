"""What models cost, for people: the table of times and memory, and when a training has paid off."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.report.results import StudyResults
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import bullets, escape, paragraph
from ptycho_lib.report.text.tables import Table, number_text, to_html
from ptycho_lib.study.folder.record import RunRecord
from ptycho_lib.study.results.costs import BreakEven, break_evens, collect_costs

NOT_RECORDED = "The runs of this study recorded no times."
ANY_SIZE = "any"
"""In the place of a number of training patterns: a model that is not trained."""


def cost_table(costs: pd.DataFrame, condition: str = NOMINAL) -> Table:
    """Return time and memory of every model: a row a size and model, means over the trials.

    Parameters
    ----------
    costs : DataFrame
        `results.costs.collect_costs`.
    condition : str
        Test condition.
    """
    rows = costs[costs["condition"] == condition]
    looks = model_looks(rows["model"])
    evens = {(e.model, e.n_train, e.rival): e.patterns for e in break_evens(costs, condition)}
    rivals = [name for name in looks if any(rival == name for _, _, rival in evens)]
    text, index = [], []
    for size, model, own in _groups(rows, list(looks)):
        pairs = [(model, size, rival) for rival in rivals]
        text.append([*_cells(own), *(_pays_off(evens[pair]) if pair in evens else "–" for pair in pairs)])
        index.append((ANY_SIZE if size == 0 else str(size), looks[model].label))
    header = [
        "training (s)",
        f"reconstruction of {_counts(rows)} patterns (s)",
        "patterns/s",
        "peak memory, training (GB)",
        "peak memory, reconstruction (GB)",
        *(f"cheaper than {looks[rival].label} after (patterns)" for rival in rivals),
    ]
    names = pd.MultiIndex.from_tuples(index, names=["training patterns", "model"])
    table = pd.DataFrame(text, names, header)
    return Table(table, pd.DataFrame(False, names, header), _caption(rows, condition))


def run_costs(record: RunRecord) -> str:
    """Return time and memory of each model of one run."""
    costs = collect_costs([("", record)])
    return paragraph(NOT_RECORDED) if costs.empty else to_html(cost_table(costs))


def study_costs(results: StudyResults) -> str:
    """Return time and memory of each model at each size of a study."""
    costs = results.tables.costs
    return paragraph(NOT_RECORDED) if costs.empty else to_html(cost_table(costs))


def pays_off(results: StudyResults, *, metric: str = "ssim", component: str = "phase") -> str:
    """Return, for each trained model at the largest size, when it has cost less than an untrained one.

    Parameters
    ----------
    results : StudyResults
    metric, component : str
        The quality that stands beside the time.
    """
    costs = results.tables.costs
    if costs.empty:
        return ""
    evens = break_evens(costs)
    if not evens:
        return ""
    largest = max(even.n_train for even in evens)
    chosen = [even for even in evens if even.n_train == largest]
    sentences = [f"{even.sentence()} {_quality(results, even, metric, component)}".strip() for even in chosen]
    return paragraph(
        "Wall time of a network, its training included, against reconstruction without a network:"
    ) + bullets(map(escape, sentences))


def time_alt(results: StudyResults) -> str:
    """Return the alternative text of the figure of quality against time: mean times in numbers."""
    costs = results.tables.costs
    rows = costs[costs["condition"] == NOMINAL]
    seconds = (rows["training_s"] + rows["reconstruction_s"]).groupby(rows["model"])
    spans = [
        f"{look.label} {seconds.min()[model]:.3g} to {seconds.max()[model]:.3g} s"
        for model, look in model_looks(rows["model"]).items()
    ]
    return f"SSIM of the phase against wall time of training and reconstruction: {', '.join(spans)}."


def _quality(results: StudyResults, even: BreakEven, metric: str, component: str) -> str:
    wanted = {"metric": metric, "component": component, "alignment": "aligned", "condition": NOMINAL}
    rows = select(results.table, may_be_empty=True, **wanted)
    own = rows[(rows["model"] == even.model) & (rows["n_train"] == even.n_train)]["value"].mean()
    other = rows[rows["model"] == even.rival]["value"].mean()
    if not np.isfinite([own, other]).all():
        return ""
    title = metric_title(metric, component).rstrip(" ↑↓")
    values = " against ".join(number_text(metric, value) for value in (own, other))
    return f"Its aligned {component} {title}: {values}."


def _groups(rows: pd.DataFrame, models: list[str]) -> list[tuple[int, str, pd.DataFrame]]:
    """Return size, model and rows of each line of the table; size 0 for a model that is not trained."""
    trained = set(rows[rows["training_s"] > 0]["model"])
    free = [(0, model, rows[rows["model"] == model]) for model in models if model not in trained]
    groups = [
        (int(size), model, rows[(rows["model"] == model) & (rows["n_train"] == size)])
        for size in sorted(rows["n_train"].unique())
        for model in models
        if model in trained
    ]
    return [group for group in (*groups, *free) if not group[2].empty]


def _cells(own: pd.DataFrame) -> list[str]:
    training, reconstruction = own["training_s"].mean(), own["reconstruction_s"].mean()
    rate = own["n_patterns"].mean() / reconstruction if reconstruction else np.inf
    memory = [own[f"{step}_memory_bytes"].max() / 1e9 for step in ("training", "reconstruction")]
    return [
        f"{training:.1f}" if training else "–",
        f"{reconstruction:.3g}",
        f"{rate:.2g}" if rate < 100 else f"{float(f'{rate:.2g}'):.0f}",
        *(f"{size:.1f}" if np.isfinite(size) else "–" for size in memory),
    ]


def _pays_off(patterns: int | None) -> str:
    return "never" if patterns is None else f"{float(f'{patterns:.2g}'):.0f}"


def _counts(rows: pd.DataFrame) -> str:
    counts = sorted(rows["n_patterns"].unique())
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _caption(rows: pd.DataFrame, condition: str) -> str:
    trials = rows["trial"].nunique()
    means = f"Means of {trials} trials, largest memory. " if trials > 1 else ""
    own = (
        "Peak memory is that of the process during the step, with all else that it holds: libraries, data, "
        "networks of other models."
        if rows["memory_of_step"].all()
        else "Peak memory is that of the process since its start: this system does not separate the steps."
    )
    devices = "; ".join(sorted(rows["device"].unique()))
    return (
        f"{means}Wall time on {devices}, without loading libraries and compiling; reconstruction is "
        f"prediction and stitching, or all iterations. {own} Test condition: {condition}."
    )
