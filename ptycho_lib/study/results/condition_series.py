"""Test conditions in order: those that differ in overlap or dose alone, and where the models change places."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ptycho_lib.config import NOMINAL, ConditionConfig

Axis = Literal["overlap", "photons_per_pattern"]
SETTINGS: dict[Axis, tuple[str, ...]] = {
    "overlap": ("scan_overlap",),
    "photons_per_pattern": ("photons_factor", "photons_per_pattern"),
}
"""The settings of a condition that move it along an axis."""

LEAST_POINTS = 3


@dataclass(frozen=True)
class ConditionSeries:
    """Conditions that differ in one quantity alone.

    Parameters
    ----------
    axis : {"overlap", "photons_per_pattern"}
        Column of the costs that distinguishes them.
    fixed : str
        What else changes the test set, the same in all of them; empty for nothing.
    conditions : tuple of str
        The unchanged or least changed one first: falling overlap, falling dose.
    values : tuple of float
        Where they lie on the axis, as measured.
    """

    axis: Axis
    fixed: str
    conditions: tuple[str, ...]
    values: tuple[float, ...]


def find_series(conditions: Iterable[ConditionConfig], costs: pd.DataFrame) -> list[ConditionSeries]:
    """Return every series of at least three test conditions, in the order of the axes.

    Parameters
    ----------
    conditions : iterable of ConditionConfig
        Of the study; the unchanged test set belongs to them without being named.
    costs : DataFrame
        `results.costs.collect_costs`: where each condition lies.
    """
    facts = costs.groupby("condition")[list(SETTINGS)].first()
    unchanged: dict[str, dict[str, object]] = {NOMINAL: {}}
    changes = unchanged | {c.name: c.model_dump(exclude={"name"}, exclude_none=True) for c in conditions}
    found = []
    for axis, own in SETTINGS.items():
        groups: dict[str, list[str]] = {}
        for name, settings in changes.items():
            if name in facts.index and np.isfinite(facts.loc[name, axis]):
                rest = {key: value for key, value in settings.items() if key not in own}
                groups.setdefault(_words(rest), []).append(name)
        for fixed, names in groups.items():
            if len(names) >= LEAST_POINTS:
                names.sort(key=lambda name: -facts.loc[name, axis])
                values = tuple(float(facts.loc[name, axis]) for name in names)
                found.append(ConditionSeries(axis, fixed, tuple(names), values))
    return found


def series_values(table: pd.DataFrame, costs: pd.DataFrame, series: ConditionSeries) -> pd.DataFrame:
    """Return one value a trial of each model along a series.

    Parameters
    ----------
    table : DataFrame
        Rows of one metric, component and alignment of the tidy table.
    costs : DataFrame
        `results.costs.collect_costs`; says which models are trained.
    series : ConditionSeries

    Returns
    -------
    DataFrame
        Columns model, trial, condition, value, x. Of a model that is trained, the largest training size.
    """
    trained = set(costs[costs["training_s"] > 0]["model"])
    largest = table[table["model"].isin(trained)]["n_train"].max()
    rows = table[~table["model"].isin(trained) | (table["n_train"] == largest)]
    rows = rows.groupby(["model", "trial", "condition"], sort=False)["value"].mean().reset_index()
    rows["x"] = rows["condition"].map(dict(zip(series.conditions, series.values, strict=True)))
    return rows.dropna(subset="x")


def crossovers(x: ArrayLike, first: ArrayLike, second: ArrayLike) -> list[float]:
    """Return where two curves change places, in the order of `x`; linear between the points.

    Points where a curve is not finite are left out; curves that only touch do not change places.
    """
    at, gap = np.asarray(x, float), np.asarray(first, float) - np.asarray(second, float)
    at, gap = at[np.isfinite(gap)], gap[np.isfinite(gap)]
    apart = np.flatnonzero(gap)  # where neither is ahead nothing is decided
    changes = ((i, j) for i, j in itertools.pairwise(apart) if gap[i] * gap[j] < 0)
    return [float(at[i + 1] if j > i + 1 else at[i] + (at[j] - at[i]) * gap[i] / (gap[i] - gap[j])) for i, j in changes]


def _words(settings: dict[str, object]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
    )
