"""Matched training size: how many patterns one model needs to match another one trained on a given number."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import model_phrase
from ptycho_lib.study.results.reach import Reach, Status, by_trial, first_reach
from ptycho_lib.study.results.statistics import CONFIDENCE, sign_of
from ptycho_lib.study.results.words import capitalized, count_text, size_interval, trials_text

MODELS = ("pinn", "baseline")


@dataclass(frozen=True)
class MatchedSize:
    """The training size with which a model matches a reference model trained on `n_train` patterns.

    Parameters
    ----------
    model, reference : str
    n_train : int
        Training patterns of the reference.
    condition, component, alignment, metric : str
    value : float
        The reference's mean there; NaN if it has none.
    status : Status
    size, low, high : float
    low_open, high_open : bool
    n_trials : int
        As in `reach.Reach`.
    confidence : float
    smallest, largest : int
        Sizes between which the model was trained.
    """

    model: str
    reference: str
    n_train: int
    condition: str
    component: str
    alignment: str
    metric: str
    value: float
    status: Status
    size: float
    low: float
    high: float
    low_open: bool
    high_open: bool
    n_trials: int
    confidence: float
    smallest: int
    largest: int

    def sentence(self) -> str:
        """Return the matched size as one sentence."""
        model = capitalized(model_phrase(self.model))
        reference = f"{model_phrase(self.reference)} trained on {count_text(self.n_train)}"
        if self.status is Status.UNDEFINED or np.isnan(self.value):
            return f"{model} cannot be compared with {reference}: the {self._measure()} is undefined."
        if self.status is Status.NOT_REACHED:
            start = f"{model} does not match {reference} with up to {count_text(self.largest)} patterns"
            return f"{start}{self._interval()} ({self._measure()} {self.value:.3g}; {trials_text(self.n_trials)})."
        needed = ("at most " if self.status is Status.AT_SMALLEST else "") + count_text(self.size)
        end = f"({self._measure()} {self.value:.3g}; {trials_text(self.n_trials)})"
        return f"{model} needs {needed} patterns{self._interval()} to match {reference} {end}."

    def _measure(self) -> str:
        label = METRICS[self.metric].label if self.metric in METRICS else self.metric
        condition = "" if self.condition == NOMINAL else f", condition {self.condition}"
        return f"{self.alignment} {self.component} {label}{condition}"

    def _interval(self) -> str:
        ends = size_interval(self.low, self.high, self.low_open, self.high_open)
        return f" ({100 * self.confidence:g} % CI {ends})" if ends else ""


def matched_size(
    table: pd.DataFrame,
    n_train: int,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
    model: str = "pinn",
    reference: str = "baseline",
    confidence: float = CONFIDENCE,
) -> MatchedSize:
    """Find the training size with which a model matches a reference trained on `n_train` patterns.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    n_train : int
        Training patterns of the reference.
    metric, component, alignment, condition : str
        Which values.
    model, reference : str
    confidence : float

    Returns
    -------
    MatchedSize
        Its interval pairs the trials, so that what both models owe to a trial's patterns cancels
        (`reach.first_reach`).

    Raises
    ------
    ValueError
        If the table holds no value of one of the models, or none of the reference at that size; the message
        says which.
    """
    wanted = {"metric": metric, "component": component, "alignment": alignment, "condition": condition}
    rows = select(table, may_be_empty=True, **wanted)
    own, other = (by_trial(select(rows, model=name)) for name in (model, reference))
    if n_train not in other:
        sizes = ", ".join(map(str, other.columns))
        raise ValueError(f"'{reference}' has no {component} {metric} at n_train {n_train}; it has {sizes}")
    return _match(own, other, n_train, wanted, model, reference, confidence)


def matched_sizes(table: pd.DataFrame, *, models: tuple[str, str] = MODELS) -> pd.DataFrame:
    """Return the matched sizes of two models, each against each size of the other, of every kind of value.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    models : (str, str)

    Returns
    -------
    DataFrame
        The fields of `MatchedSize`, and `sentence`; empty if one of the models is not in the table.
    """
    keys = ["metric", "component", "alignment", "condition"]
    found = []
    for values, rows in table[table["model"].isin(models)].groupby(keys, sort=False):
        if rows["model"].nunique() == len(models):
            curves = {name: by_trial(select(rows, model=name)) for name in models}
            wanted = dict(zip(keys, values, strict=True))
            found += [
                _match(curves[model], curves[reference], int(n_train), wanted, model, reference, CONFIDENCE)
                for model, reference in (models, models[::-1])
                for n_train in curves[reference].columns
            ]
    rows = [asdict(one) | {"sentence": one.sentence()} for one in found]
    return pd.DataFrame(rows, columns=[*MatchedSize.__dataclass_fields__, "sentence"])


def _match(
    own: pd.DataFrame,
    other: pd.DataFrame,
    n_train: int,
    wanted: dict[str, Any],
    model: str,
    reference: str,
    confidence: float,
) -> MatchedSize:
    """Match a model's curves, trials × sizes, with one size of the reference's; common trials are paired."""
    target = other[n_train].dropna()
    common = own.index.intersection(target.index)
    excess = sign_of(wanted["metric"]) * own.loc[common].sub(target.loc[common], axis=0)
    reach: Reach = first_reach(excess, confidence=confidence)
    return MatchedSize(
        model=model,
        reference=reference,
        n_train=n_train,
        **wanted,
        value=float(target.loc[common].mean()),
        confidence=confidence,
        smallest=int(own.columns[0]),
        largest=int(own.columns[-1]),
        **vars(reach),
    )
