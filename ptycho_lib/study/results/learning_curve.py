"""How many patterns does a model need? A learning curve per model, its plateau, and the size that reaches a target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from ptycho_lib.config import NETWORKS, NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.study.results.reach import Status, by_trial, first_reach
from ptycho_lib.study.results.statistics import CONFIDENCE, MIN_TRIALS, mean_interval, sign_of
from ptycho_lib.study.results.target import Target

Floats = NDArray[np.float64]

MEASURES = tuple(itertools.product(("phase", "amplitude"), ("ssim", "frc50", "mae")))
"""Components and metrics whose learning curves are written."""

MIN_SIZES = 3
"""A curve of three parameters needs as many sizes."""
MOST_EXTRAPOLATED = 2.0
"""Nothing is said beyond this many times the largest size."""
ENUMERATED_TRIALS = 5
N_RESAMPLES = 200
EXPONENTS = (0.01, 4.0)
BEST_VALUE = {"ssim": 1.0, "ms_ssim": 1.0, "frc50": 0.5, "frc_half_bit": 0.5, "frc_one_bit": 0.5, "frc_auc": 1.0}
"""The largest value that a metric can have, where there is one; errors cannot be below 0."""


class Shape(StrEnum):
    """What can be said of a curve."""

    FITTED = "fitted"
    FLAT = "flat"
    NOT_MONOTONIC = "not monotonic"
    ONE_SIZE = "one size"
    TWO_SIZES = "two sizes"
    FEW_TRIALS = "too few trials"
    COLLAPSED = "collapsed"
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class PowerLaw:
    """A learning curve E(n) = limit + scale (n / first)^-exponent; E is an error, or minus a quality.

    References
    ----------
    .. [1] J. Hestness et al., "Deep learning scaling is predictable, empirically", arXiv:1712.00409 (2017).
    .. [2] T. Viering & M. Loog, "The shape of learning curves: a review", IEEE TPAMI 45, 7799 (2023).
    """

    first: float
    limit: float
    scale: float
    exponent: float

    def at(self, sizes: NDArray[np.floating]) -> Floats:
        """Return E at sizes (patterns)."""
        return self.limit + self.scale * (np.asarray(sizes, dtype=float) / self.first) ** -self.exponent

    def size_of(self, error: float) -> float:
        """Return the patterns at which E falls to a value; infinite if it never does."""
        if self.scale <= 0:
            return 0.0 if self.limit <= error else math.inf
        ratio = (error - self.limit) / self.scale
        return math.inf if ratio <= 0 else self.first * float(np.exp(min(-np.log(ratio) / self.exponent, 700.0)))


@dataclass(frozen=True)
class LearningCurve:
    """How a model's quality depends on the number of its training patterns.

    Parameters
    ----------
    model, component, metric, alignment, condition : str
    n_trials, smallest, largest : int
        Trials, and sizes of the study.
    shape : Shape
    best_size : int
        Answer to "how many patterns?": the smallest size whose mean lies within the interval of the plateau
        (FITTED), the smallest size (FLAT); 0 if no size of the study does.
    value, value_low, value_high : float
        Mean at `best_size`, or at the largest size where that is 0, with Student's interval.
    plateau, plateau_low, plateau_high : float
        Limit of the fitted curve for many patterns, with its bootstrap interval; NaN without a fit.
    scale, exponent : float
        Of the fitted curve (`PowerLaw`); NaN without a fit.
    target : float
        Value asked for; NaN if none was.
    target_status : Status
    target_size, target_low, target_high : float
        Patterns that reach the target, and the interval; NaN where nothing can be said.
    target_low_open, target_high_open : bool
        Whether the interval goes on beyond its end: below the smallest size, above what can be extrapolated.
    target_extrapolated : bool
        Whether that size lies beyond those of the study.
    """

    model: str
    component: str
    metric: str
    alignment: str
    condition: str
    n_trials: int
    smallest: int
    largest: int
    shape: Shape
    best_size: int
    value: float
    value_low: float
    value_high: float
    plateau: float = math.nan
    plateau_low: float = math.nan
    plateau_high: float = math.nan
    scale: float = math.nan
    exponent: float = math.nan
    target: float = math.nan
    target_status: Status = Status.UNDEFINED
    target_size: float = math.nan
    target_low: float = math.nan
    target_high: float = math.nan
    target_low_open: bool = False
    target_high_open: bool = False
    target_extrapolated: bool = False


def learning_curves(
    table: pd.DataFrame, outcomes: pd.DataFrame | None = None, *, target: Target | None = None
) -> list[LearningCurve]:
    """Return the learning curves of every trained model on the unchanged test set, aligned values.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    outcomes : DataFrame, optional
        `aggregate.run_outcomes`; says which trainings collapsed.
    target : Target, optional
        A value to be reached; its component and metric get curves in any case.
    """
    rows = select(table, may_be_empty=True, alignment="aligned", condition=NOMINAL)
    measures = [*MEASURES] + ([(target.component, target.metric)] if target else [])
    found = []
    for model in (name for name in NETWORKS if name in set(rows["model"])):
        for component, metric in dict.fromkeys(measures):
            own = select(rows, may_be_empty=True, model=model, component=component, metric=metric)
            if own.empty:
                continue
            aimed = target.value if target and (target.component, target.metric) == (component, metric) else math.nan
            collapsed = outcomes is not None and _all_collapsed(outcomes, model)
            found.append(learning_curve(by_trial(own), model, component, metric, target=aimed, collapsed=collapsed))
    return found


def to_table(curves: Iterable[LearningCurve]) -> pd.DataFrame:
    """Return learning curves as a table, one a row, the fields of `LearningCurve` as columns."""
    return pd.DataFrame([asdict(curve) for curve in curves], columns=[*LearningCurve.__dataclass_fields__])


def learning_curve(
    values: pd.DataFrame, model: str, component: str, metric: str, *, target: float = math.nan, collapsed: bool = False
) -> LearningCurve:
    """Judge the shape of one curve, fit it where that is possible, and find the sizes that answer the study.

    Parameters
    ----------
    values : DataFrame
        Trials × sizes (columns, rising); NaN where undefined.
    model, component, metric : str
    target : float
        Value to be reached; NaN for none.
    collapsed : bool
        Whether all trainings of the model collapsed.

    Returns
    -------
    LearningCurve
    """
    sign, sizes = sign_of(metric), values.columns.to_numpy(dtype=float)
    shape = Shape.COLLAPSED if collapsed else _shape(-sign * values)
    best, more = 0, {}
    if shape is Shape.FITTED:
        law, laws, weights = _fit(-sign * values, metric)
        limits = np.array([one.limit for one in laws])
        ends = sorted(-sign * _quantiles(limits, weights))
        more = {"plateau": -sign * law.limit, "plateau_low": ends[0], "plateau_high": ends[1]}
        more |= {"scale": law.scale, "exponent": law.exponent}
        worst = _quantiles(limits, weights)[1]
        within = sizes[(-sign * values.mean()).to_numpy() <= worst]
        best = int(within[0]) if len(within) else 0
        if math.isfinite(target):
            more |= _fitted_target(law, laws, weights, -sign * target, sizes)
    elif math.isfinite(target) and shape not in (Shape.COLLAPSED, Shape.UNDEFINED, Shape.FEW_TRIALS):
        more |= _interpolated_target(sign * (values - target))
    if shape is Shape.FLAT:
        best = int(sizes[0])
    at = values[best] if best else values.iloc[:, -1]
    low, high = mean_interval(at.to_numpy()[None])
    return LearningCurve(
        model=model,
        component=component,
        metric=metric,
        alignment="aligned",
        condition=NOMINAL,
        n_trials=int(values.notna().any(axis=1).sum()),
        smallest=int(sizes[0]),
        largest=int(sizes[-1]),
        shape=shape,
        best_size=best,
        value=float(at.mean()),
        value_low=float(low[0]),
        value_high=float(high[0]),
        target=target,
        **more,
    )


def fit_power_law(sizes: NDArray[np.floating], errors: NDArray[np.floating], least: float) -> PowerLaw:
    """Fit a learning curve to mean errors by least squares.

    Parameters
    ----------
    sizes : (k,) float
        Training patterns, rising; at least three.
    errors : (k,) float
        Mean error of each size, or minus its quality.
    least : float
        The smallest value that E can have; the limit is not below it.

    Returns
    -------
    PowerLaw
        With limit >= least, scale >= 0 and the exponent within `EXPONENTS`.
    """
    ratio = sizes / sizes[0]
    spread = max(float(np.ptp(errors)), 1e-12)
    scaled, floor = (errors - errors.min()) / spread, max((least - errors.min()) / spread, -100.0)

    def residuals(law: Floats) -> Floats:
        return np.asarray(law[0] + law[1] * ratio ** -law[2] - scaled)

    def slopes(law: Floats) -> Floats:
        power = ratio ** -law[2]
        return np.stack([np.ones_like(ratio), power, -law[1] * power * np.log(ratio)], axis=1)

    bounds = np.array([[min(floor, -1e-9), 1.0], [0.0, 200.0], EXPONENTS]).T
    start = np.clip([max(-0.1, floor), 1.0, 0.7], *bounds)
    limit, scale, exponent = optimize.least_squares(residuals, start, jac=slopes, bounds=bounds).x
    return PowerLaw(float(sizes[0]), errors.min() + spread * float(limit), spread * float(scale), float(exponent))


def resamples(n_trials: int, seed: int = 0) -> tuple[NDArray[np.int64], Floats]:
    """Return how often each trial is drawn in each bootstrap resample, and the resamples' probabilities.

    All distinct resamples up to five trials (10 at three), `N_RESAMPLES` random ones beyond.

    Parameters
    ----------
    n_trials, seed : int

    Returns
    -------
    counts : (resamples, n_trials) int
    weights : (resamples,) float
        Sum 1.
    """
    if n_trials > ENUMERATED_TRIALS:
        counts = np.random.default_rng(seed).multinomial(n_trials, np.full(n_trials, 1 / n_trials), N_RESAMPLES)
        return counts, np.full(N_RESAMPLES, 1 / N_RESAMPLES)
    drawn = itertools.combinations_with_replacement(range(n_trials), n_trials)
    counts = np.array([np.bincount(one, minlength=n_trials) for one in drawn])
    ways = math.factorial(n_trials) / special.factorial(counts).prod(axis=1)
    return counts, ways / ways.sum()


def _shape(errors: pd.DataFrame) -> Shape:
    """Judge a curve, trials × sizes of E, by tests that pair the trials."""
    finite = errors.where(np.isfinite(errors))
    if finite.notna().sum().min() == 0:
        return Shape.UNDEFINED
    if finite.notna().any(axis=1).sum() < MIN_TRIALS:
        return Shape.FEW_TRIALS
    sizes = errors.columns.to_numpy(dtype=float)
    if len(sizes) == 1:
        return Shape.ONE_SIZE
    steps = finite.diff(axis=1).iloc[:, 1:].to_numpy().T
    rise, _ = mean_interval(steps, confidence=1 - 2 * (1 - CONFIDENCE) / 2 / len(steps))
    if np.nanmax(rise, initial=-np.inf) > 0:
        return Shape.NOT_MONOTONIC
    slopes = finite.apply(_slope, axis=1, raw=True, sizes=sizes)
    if slopes.notna().sum() < MIN_TRIALS:
        return Shape.FEW_TRIALS
    low, high = mean_interval(slopes.to_numpy()[None])
    if not high[0] < 0:
        return Shape.NOT_MONOTONIC if low[0] > 0 else Shape.FLAT
    return Shape.FITTED if len(sizes) >= MIN_SIZES else Shape.TWO_SIZES


def _slope(errors: Floats, sizes: Floats) -> float:
    """Return the slope of one trial's E against log n, at the sizes that it has; NaN with fewer than two."""
    there = np.isfinite(errors)
    if there.sum() < 2:
        return math.nan
    along = np.log(sizes[there])
    along -= along.mean()
    return float(errors[there] @ along / (along @ along))


def _fit(errors: pd.DataFrame, metric: str) -> tuple[PowerLaw, list[PowerLaw], Floats]:
    """Return the fit of the means, those of the bootstrap resamples, and the resamples' probabilities.

    The resamples' deviations from the mean are expanded such that the interval of a mean would be as wide as
    Student's.
    """
    sizes, values = errors.columns.to_numpy(dtype=float), errors.to_numpy(dtype=float)
    values = np.where(np.isfinite(values), values, np.nanmean(values, axis=0))
    n_trials, mean = len(values), values.mean(axis=0)
    least = 0.0 if sign_of(metric) < 0 else -BEST_VALUE.get(metric, math.inf)
    tail = (1 + CONFIDENCE) / 2
    wider = special.stdtrit(n_trials - 1, tail) / special.ndtri(tail) * math.sqrt(n_trials / (n_trials - 1))
    counts, weights = resamples(n_trials)
    drawn = mean + wider * (counts @ values / n_trials - mean)
    return fit_power_law(sizes, mean, least), [fit_power_law(sizes, one, least) for one in drawn], weights


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """Return the ends of the central interval of weighted values; they are members of the values."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    places = np.searchsorted(share, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return np.asarray(values[order][np.minimum(places, len(values) - 1)])


def _fitted_target(
    law: PowerLaw, laws: list[PowerLaw], weights: Floats, error: float, sizes: Floats
) -> dict[str, float | Status | bool]:
    """Return the fields of a target from a fit: extrapolated to twice the largest size, no further."""
    smallest, furthest = float(sizes[0]), MOST_EXTRAPOLATED * float(sizes[-1])
    drawn = np.array([one.size_of(error) for one in laws])
    low, high = _quantiles(np.minimum(drawn, 2 * furthest), weights)
    size = law.size_of(error)
    status = Status.NOT_REACHED if size > furthest else Status.AT_SMALLEST if size <= smallest else Status.WITHIN
    return {
        "target_status": status,
        "target_size": math.nan if size > furthest else max(size, smallest),
        "target_low": float(np.clip(low, smallest, furthest)),
        "target_high": float(np.clip(high, smallest, furthest)),
        "target_low_open": bool(low <= smallest),
        "target_high_open": bool(high > furthest),
        "target_extrapolated": bool(sizes[-1] < size <= furthest),
    }


def _interpolated_target(excess: pd.DataFrame) -> dict[str, float | Status | bool]:
    """Return the fields of a target where no curve can be fitted: between the sizes of the study."""
    reach = first_reach(excess)
    names = ("status", "size", "low", "high", "low_open", "high_open")
    return {f"target_{name}": getattr(reach, name) for name in names}


def _all_collapsed(outcomes: pd.DataFrame, model: str) -> bool:
    own = outcomes[(outcomes["model"] == model) & (outcomes["state"] == "complete")]
    return bool(len(own) and own["collapsed"].all())
