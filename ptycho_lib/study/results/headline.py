"""The study's answer: a crossing point, and the one sentence that tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, model_phrase
from ptycho_lib.study.results.statistics import MIN_TRIALS

NEVER = math.inf
"""The reference does not reach the value at any size of the study."""
AT_ONCE = 0.0
"""The reference reaches the value at the smallest size of the study already."""


@dataclass(frozen=True)
class Crossing:
    """The size at which a reference model reaches what a model reaches at one size.

    Parameters
    ----------
    model, reference : str
    n_train : int
        Size of the model.
    condition, component, alignment, metric : str
    value : float
        The model's mean there; NaN if it has none.
    needed : float
        Patterns that the reference needs, interpolated linearly in log2 n between the sizes of the study;
        NEVER or AT_ONCE beyond them; NaN if undefined.
    low, high : float
        Interval of `needed`, with the same meaning; NaN with fewer than three trials.
    confidence : float
    n_trials : int
        Trials that enter.
    smallest, largest : int
        Sizes between which the reference was studied.
    """

    model: str
    reference: str
    n_train: int
    condition: str
    component: str
    alignment: str
    metric: str
    value: float
    needed: float
    low: float
    high: float
    confidence: float
    n_trials: int
    smallest: int
    largest: int

    def sentence(self) -> str:
        """Return the crossing as one sentence that says no more than the data do."""
        model, reference = (model_phrase(name) for name in (self.model, self.reference))
        subject = f"{upper(model)} with {count_text(self.n_train)} patterns"
        if math.isnan(self.value) or math.isnan(self.needed):
            return f"{subject} cannot be compared with {reference}: the {self._measure()} is undefined."
        found = f"({self._measure()} {self.value:.3g}; {self._interval()})."
        if self.needed == NEVER:
            most = f"{upper(reference)} with up to {count_text(self.largest)} patterns"
            return f"{most} does not reach what {model} reaches with {count_text(self.n_train)} {found}"
        if self.needed == AT_ONCE:
            least = f"{count_text(self.smallest)} or fewer"
            return f"{subject} reaches what {reference} reaches with {least} {found}"
        return f"{subject} reaches what {reference} needs {count_text(self.needed)} for {found}"

    def _measure(self) -> str:
        label = METRICS[self.metric].label if self.metric in METRICS else self.metric
        condition = "" if self.condition == NOMINAL else f", condition {self.condition}"
        return f"{self.alignment} {self.component} {label}{condition}"

    def _interval(self) -> str:
        if self.n_trials < MIN_TRIALS or math.isnan(self.low) or math.isnan(self.high):
            trials = "one trial" if self.n_trials == 1 else f"{self.n_trials} trials"
            return f"{trials}, no interval"
        return f"{100 * self.confidence:g} % interval {self.interval_text()}; {self.n_trials} trials"

    def interval_text(self) -> str:
        """Return the interval in words, such as `1 400–2 600` or `1 400 to more than 2 048`."""
        low, high = self._bound(self.low), self._bound(self.high)
        if low == high:
            return low
        inside = all(0 < bound < math.inf for bound in (self.low, self.high))
        return f"{low}–{high}" if inside else f"{low} to {high}"

    def _bound(self, number: float) -> str:
        if number == NEVER:
            return f"more than {count_text(self.largest)}"
        return f"{count_text(self.smallest)} or fewer" if number == AT_ONCE else count_text(number)


def count_text(number: float) -> str:
    """Write a number of patterns: whole numbers of a study as they are, interpolated ones to two digits."""
    if number != int(number):
        digits = 1 - math.floor(math.log10(number))
        number = round(number, min(digits, 0))
    return f"{number:,.0f}".replace(",", "\u202f")


def upper(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[0].upper() + text[1:]
