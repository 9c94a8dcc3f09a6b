"""Time and memory of each model in one table, and the number of patterns after which a training has paid.

Times differ whenever a run is repeated. They are recorded in `run.json` and `aggregated_costs.csv`, never among
the metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.model_names import model_phrase
from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.folder.record import ReconstructionCost, RunRecord
from ptycho_lib.study.results.words import capitalized, count_text

COSTS = "aggregated_costs.csv"
COST_COLUMNS = (
    "n_train",
    "trial",
    "model",
    "condition",
    "n_patterns",
    "overlap",
    "photons_per_pattern",
    "compared_px",
    "training_s",
    "reconstruction_s",
    "patterns_per_s",
    "training_memory_bytes",
    "reconstruction_memory_bytes",
    "memory_of_step",
    "device",
    "run",
)
"""One reconstruction a row: which one, what it was made of, what it took. docs/reference/tables.md explains them."""


def collect_costs(records: Iterable[tuple[str, RunRecord]]) -> pd.DataFrame:
    """Return what every reconstruction of a study took.

    Parameters
    ----------
    records : iterable of (str, RunRecord)
        Run folder relative to the study, and record, of each complete run.

    Returns
    -------
    DataFrame
        Columns `COST_COLUMNS`; empty if the runs recorded no times.
    """
    rows = [row for run, record in records for row in _rows(run, record)]
    table = pd.DataFrame(rows, columns=list(COST_COLUMNS))
    return table.astype({"photons_per_pattern": float, "training_memory_bytes": float})


def _rows(run: str, record: RunRecord) -> Iterator[dict[str, object]]:
    for model, costs in record.reconstructions.items():
        # `a+b` continues what network a was trained for and has reconstructed.
        network, _, further = model.partition("+")
        training = record.models.get(network) if record.key.is_trained else None
        for condition, own in costs.items():
            before = record.reconstructions.get(network, {}).get(condition) if further else None
            cost = _usage(own) + _usage(before) if before else _usage(own)
            facts = record.conditions[condition]
            yield {
                "n_train": record.n_train,
                "trial": record.trial,
                "model": model,
                "condition": condition,
                **facts.model_dump(),
                "training_s": training.seconds if training else 0.0,
                "reconstruction_s": cost.seconds,
                "patterns_per_s": facts.n_patterns / cost.seconds if cost.seconds else np.inf,
                "training_memory_bytes": training.peak_memory_bytes if training else None,
                "reconstruction_memory_bytes": cost.peak_memory_bytes,
                "memory_of_step": cost.memory_of_step,
                "device": record.device,
                "run": run,
            }


def _usage(cost: ReconstructionCost) -> Usage:
    return Usage(**cost.model_dump())


@dataclass(frozen=True)
class BreakEven:
    """A trained model against a model without training, in wall time on one machine.

    Parameters
    ----------
    model, rival : str
    n_train : int
        Training patterns of the model.
    training_s : float
        Mean over the trials.
    per_pattern_s, rival_per_pattern_s : float
        Reconstruction of the test set, divided by its patterns; means.
    patterns : int or None
        `break_even` of the means.
    low, high : int or None
        Least and largest `break_even` of a single trial; None, never, is the largest.
    n_trials : int
    """

    model: str
    rival: str
    n_train: int
    training_s: float
    per_pattern_s: float
    rival_per_pattern_s: float
    patterns: int | None
    low: int | None
    high: int | None
    n_trials: int

    def sentence(self) -> str:
        """Return the break-even as one sentence."""
        model, rival = (model_phrase(name) for name in (self.model, self.rival))
        subject = (
            f"{capitalized(model)} with {count_text(self.n_train)} training patterns "
            f"({seconds_text(self.training_s)} of training, then {_rate(self.per_pattern_s)})"
        )
        other = f"{rival} ({_rate(self.rival_per_pattern_s)})"
        if self.patterns is None:
            return f"{subject} never costs less time than {other}: a pattern takes it as long or longer."
        if self.patterns == 1:
            return f"{subject} costs less time than {other} from the first pattern."
        spread = f" ({_patterns(self.low)} to {_patterns(self.high)} in single trials)"
        after = f"{_patterns(self.patterns)} test patterns{spread if self.low != self.high else ''}"
        return f"{subject} has cost less time than {other} after {after}."


def seconds_text(seconds: float) -> str:
    """Write a time (s) to two digits, from a tenth of a second on to no more than that."""
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s".replace(",", "\u202f")


def _rate(per_pattern_s: float) -> str:
    if per_pattern_s == 0:
        return "no time for a pattern"
    return f"{count_text(_two_digits(1 / per_pattern_s))} patterns/s"


def _patterns(number: int | None) -> str:
    return "never" if number is None else count_text(_two_digits(number))


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")


def break_even(training_s: float, per_pattern_s: float, rival_per_pattern_s: float) -> int | None:
    """Return the first number n of patterns with training + n·per_pattern < n·rival_per_pattern.

    1 if the network costs less from the first pattern; None, never, if a pattern takes it as long as the rival.

    Raises
    ------
    ValueError
        If a time is negative or not finite.
    """
    times = (training_s, per_pattern_s, rival_per_pattern_s)
    if not all(math.isfinite(time) and time >= 0 for time in times):
        raise ValueError(f"times {times} s must be finite and not negative")
    saved = rival_per_pattern_s - per_pattern_s
    return math.floor(training_s / saved) + 1 if saved > 0 else None


def break_evens(costs: pd.DataFrame, condition: str = NOMINAL) -> list[BreakEven]:
    """Return every trained model, at every size, against every model that needs no training.

    Parameters
    ----------
    costs : DataFrame
        `collect_costs`.
    condition : str
        Test condition whose patterns are counted.
    """
    rows = costs[costs["condition"] == condition]
    rows = rows.assign(per_pattern_s=rows["reconstruction_s"] / rows["n_patterns"])
    trained = rows[rows["training_s"] > 0]
    rivals = rows[~rows["model"].isin(trained["model"])].groupby("model")["per_pattern_s"].mean()
    found = []
    for rival, rival_s in rivals.items():
        for (model, n_train), own in trained.groupby(["model", "n_train"]):
            training_s, per_pattern_s = own["training_s"].mean(), own["per_pattern_s"].mean()
            single = [break_even(row.training_s, row.per_pattern_s, rival_s) for row in own.itertuples()]
            paid = [number for number in single if number is not None]
            found.append(
                BreakEven(
                    model=str(model),
                    rival=str(rival),
                    n_train=int(n_train),
                    training_s=float(training_s),
                    per_pattern_s=float(per_pattern_s),
                    rival_per_pattern_s=float(rival_s),
                    patterns=break_even(training_s, per_pattern_s, rival_s),
                    low=min(paid, default=None),
                    high=max(paid) if len(paid) == len(single) else None,
                    n_trials=len(own),
                )
            )
    return found
