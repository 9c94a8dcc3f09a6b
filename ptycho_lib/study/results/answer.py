"""The answer of a study in sentences: how many patterns each model needs, and what its training adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import UNTRAINED, model_phrase
from ptycho_lib.study.results.learning_curve import LearningCurve, Shape
from ptycho_lib.study.results.reach import Status
from ptycho_lib.study.results.statistics import MIN_TRIALS
from ptycho_lib.study.results.words import capitalized, count_text, interval_words, signed, size_interval, trials_text


def patterns_needed(curves: Iterable[LearningCurve], *, metric: str = "ssim", component: str = "phase") -> str:
    """Return how many patterns each model needs, as one sentence.

    Parameters
    ----------
    curves : iterable of LearningCurve
    metric, component : str
        Which curves.

    Returns
    -------
    str
        With both values and intervals; without three trials it says that no number can be given.
    """
    chosen = [one for one in curves if (one.metric, one.component) == (metric, component)]
    measure = f"aligned {component} {METRICS[metric].label}"
    if not chosen:
        return f"The study holds no {measure} of a trained network."
    if all(one.shape is Shape.FEW_TRIALS for one in chosen):
        most = max(one.n_trials for one in chosen)
        if most >= MIN_TRIALS:
            needed = f"at least {MIN_TRIALS} trials of two or more sizes are needed"
            return f"How many patterns a network needs cannot be said from the runs that are complete: {needed}."
        trials = trials_text(most).removesuffix(", no interval")
        needed = f"at least {MIN_TRIALS} trials are needed"
        return f"How many patterns a network needs cannot be said from {trials} of each size: {needed}."
    clauses = [_clause(one, measure if number == 0 else "") for number, one in enumerate(chosen)]
    return f"{capitalized('; '.join(clauses))}."


def target_reached(curves: Iterable[LearningCurve]) -> str:
    """Return how many patterns reach the target, as one sentence; empty if the study has no target."""
    chosen = [one for one in curves if math.isfinite(one.target)]
    if not chosen:
        return ""
    first = chosen[0]
    goal = f"an aligned {first.component} {METRICS[first.metric].label} of {first.target:g}"
    if all(one.target_status is Status.UNDEFINED for one in chosen):
        shapes = ", ".join(dict.fromkeys(one.shape for one in chosen))
        return f"How many patterns reach {goal} cannot be said: {shapes}."
    return f"To reach {goal}, {'; '.join(map(_target_clause, chosen))}."


def training_gains(summary: pd.DataFrame, *, metric: str = "ssim", component: str = "phase") -> list[str]:
    """Return what training adds to the untrained first guess, a sentence for each network.

    Parameters
    ----------
    summary : DataFrame
        `statistics.summarize`.
    metric, component : str

    Returns
    -------
    list of str
        At each network's largest size, on the unchanged test set; empty if the study has no control.
    """
    wanted = {"metric": metric, "component": component, "alignment": "aligned", "condition": NOMINAL}
    rows = select(summary, may_be_empty=True, **wanted)
    control = rows.loc[rows["model"] == UNTRAINED, "mean"]
    networks = rows[(rows["n_train"] > 0) & ~rows["model"].str.contains("+", regex=False)]
    if control.empty or not math.isfinite(control.iloc[0]):
        return []
    largest = networks.sort_values("n_train").groupby("model", sort=False).tail(1)
    return [_gain(row, float(control.iloc[0])) for row in largest.itertuples()]


def gap_sentences(gaps: pd.DataFrame, *, metric: str = "ssim", component: str = "phase") -> list[str]:
    """Return the generalization gap of each network at its largest size, a sentence each.

    Parameters
    ----------
    gaps : DataFrame
        `statistics.generalization_gaps`.
    metric, component : str
    """
    rows = select(gaps, may_be_empty=True, metric=metric, component=component, alignment="aligned")
    rows = rows[rows["n_train"] > 0].sort_values("n_train").groupby("model", sort=False).tail(1)
    label = f"aligned {component} {METRICS[metric].label}"
    sentences = []
    for row in rows.itertuples():
        interval = interval_words(row.low, row.high, 2) or trials_text(int(row.n))
        sentences.append(
            f"{capitalized(model_phrase(row.model))} with {count_text(row.n_train)} patterns has {label} "
            f"{signed(row.train)} on its own training scan and {signed(row.test)} on the test scan: "
            f"a generalization gap of {signed(row.gap, 2)} ({interval})."
        )
    return sentences


def _clause(curve: LearningCurve, measure: str) -> str:
    """Return what a curve says of its model, without capital and full stop; `measure` names the value."""
    model, at = model_phrase(curve.model), curve.best_size or curve.largest
    interval = interval_words(curve.value_low, curve.value_high) or trials_text(curve.n_trials)
    value = f"({measure} {signed(curve.value)}, {interval})".replace("( ", "(")
    value_at = value if curve.best_size else f"{value[:-1]} with {count_text(at)})"
    smallest, largest = count_text(curve.smallest), count_text(curve.largest)
    unknown = "so that no number can be given"
    needed = f"{count_text(at)} training patterns" if curve.best_size else f"more than {largest} training patterns"
    clauses = {
        Shape.FITTED: f"needs {needed} to reach its plateau {value_at}",
        Shape.FLAT: f"gains nothing measurable from more than {smallest} training patterns {value}",
        Shape.NOT_MONOTONIC: f"does not improve steadily with more patterns, {unknown} {value_at}",
        Shape.ONE_SIZE: f"was trained on {largest} patterns only, {unknown} {value_at}",
        Shape.TWO_SIZES: f"improves from {smallest} to {largest} patterns, but two sizes define no plateau {value_at}",
        Shape.COLLAPSED: f"collapsed in every training, {unknown}",
        Shape.FEW_TRIALS: f"has fewer than {MIN_TRIALS} trials, {unknown}",
        Shape.UNDEFINED: f"has a size without a defined value, {unknown}",
    }
    return f"{model} {clauses[curve.shape]}"


def _target_clause(curve: LearningCurve) -> str:
    model = model_phrase(curve.model)
    fitted = curve.shape is Shape.FITTED
    furthest = count_text(2 * curve.largest if fitted else curve.largest)
    interval = size_interval(curve.target_low, curve.target_high, curve.target_low_open, curve.target_high_open)
    how = ["extrapolated"] if curve.target_extrapolated else []
    how = ([f"95 % CI {interval}"] if interval else []) + how
    remark = f" ({'; '.join(how)})" if how else ""
    match curve.target_status:
        case Status.WITHIN:
            return f"{model} needs {count_text(curve.target_size)} patterns{remark}"
        case Status.AT_SMALLEST:
            return f"{model} needs at most {count_text(curve.smallest)} patterns{remark}"
        case Status.NOT_REACHED:
            extrapolated = ", twice the largest size studied" if fitted else ""
            return f"{model} needs more than {furthest} patterns{extrapolated}"
        case Status.UNDEFINED:
            return f"no number can be given for {model} ({curve.shape})"


def _gain(row: Sequence[object], control: float) -> str:
    """Return the sentence of one row of the summary."""
    low, gain, high = (float(getattr(row, name)) for name in ("gain_low", "gain_over_untrained", "gain_high"))
    model, size = capitalized(model_phrase(str(row.model))), count_text(float(row.n_train))  # type: ignore[attr-defined]
    label = f"aligned {row.component} {METRICS[str(row.metric)].label}"  # type: ignore[attr-defined]
    start, control_value = f"{model} trained on {size} patterns", f"{label} {signed(control)}"
    untrained = f"{model_phrase(UNTRAINED)} ({control_value}"
    if math.isnan(gain):
        return f"{start} has no defined {label} to compare with {untrained})."
    interval = interval_words(low, high, 2) or trials_text(int(row.n))  # type: ignore[attr-defined]
    if math.isnan(low):
        return f"{start} differs from {untrained}) by {signed(gain, 2)}: {interval}."
    if low > 0:
        return f"{start} adds {signed(gain, 2)} to {untrained}; {interval})."
    if high < 0:
        return f"{start} is worse than {untrained}) by {signed(-gain, 2)} ({interval_words(-high, -low, 2)})."
    return f"{start} cannot be told apart from {untrained}): gain {signed(gain, 2)}, {interval}."
