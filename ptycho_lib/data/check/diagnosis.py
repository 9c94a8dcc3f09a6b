"""Judging the usual suspects: which transformation explains the patterns, and how surely.

The misfit of a pattern is Σ(x - s·A)² / mean Σx², one scale s for all patterns. Photon noise alone leaves
some of it, which is found by drawing the prediction's counts once. Suspects are compared pattern by pattern:
what is common to both, noise above all, cancels, so that even a weak object or a low dose can convict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from ptycho_lib.data.check.conventions import DC_OFFSETS, SUSPECTS, Sample, Suspect, shifted
from ptycho_lib.data.reprojection import residual, spread_indices
from ptycho_lib.io.lazy_stack import Array

Suspects = tuple[Suspect, ...]
CANDIDATES = (*SUSPECTS, *DC_OFFSETS)
INTENSITY: Suspects = tuple(suspect for suspect in SUSPECTS if suspect.code == "intensity")
OFFSET_SEARCH = ((2.0, 4), (1.0, 1), (0.5, 1), (0.25, 1))
"""Step (pixels) of a search for an offset of the positions, and how many steps it goes to each side."""
CLEARLY = 0.5625
"""A suspect is named if it lowers the misfit beyond noise to less than this share: the residual to 0.75."""
ALSO = 0.8
"""A pair is named only if it beats its better half by this factor too."""
PERFECT = 1e-6
"""Below this misfit nothing is left to explain."""
EXPLAINED = 0.12
"""Above this misfit beyond noise (residual about 0.35) nothing is explained."""
CERTAIN = 8.0
"""Standard errors between two hypotheses that settle it, ..."""
DOUBT = 4.0
"""... and those below which they cannot be told apart."""
MOST = 0.8
"""Share of the patterns that must agree."""
FEW = 8
"""With fewer patterns there are no statistics."""
IN_PAIRS = 24
"""Patterns with which pairs are tried."""


@dataclass(frozen=True, eq=False)
class Fit:
    """How well a hypothesis explains the sample.

    Parameters
    ----------
    residual : float
        Σ|s·A - x| / Σx; infinity if patches lie outside the object.
    misfit : (k,) array
        Of each pattern.
    scale : float
        s, the least-squares scale of the prediction A.
    """

    residual: float
    misfit: Array
    scale: float

    @property
    def mean(self) -> float:
        """Mean misfit."""
        return float(self.misfit.mean())


@dataclass(frozen=True)
class Verdict:
    """What re-projection says.

    Parameters
    ----------
    residual : float
        As the file stands; infinity if patches lie outside the object.
    noise : float
        What photon noise alone would leave of it; 0 if the photons are unknown.
    best : float
        Residual with the suspects' remedy; that of the file if there are none.
    suspects : tuple of Suspect
        Problems that explain the data.
    certainty : {'certain', 'likely'}
        `likely` if most patterns fit better, but are not explained.
    better : float
        Share of the patterns that fit better with the remedy.
    rivals : tuple of Suspect
        Suspects that fit as well as what was found (the remedy, or the file as it stands).
    object_helps : bool
        False if a uniform object explains the patterns as well, though noise leaves something to explain.
    """

    residual: float
    noise: float
    best: float
    suspects: Suspects = ()
    certainty: Literal["certain", "likely"] = "certain"
    better: float = 0.0
    rivals: Suspects = ()
    object_helps: bool = True


def judge(sample: Sample) -> Verdict:
    """Try every suspect, alone and in pairs, then a constant offset of the positions on top."""
    as_is = fit(sample)
    able = tuple(one for one in CANDIDATES if one.fix(sample) is not sample)
    tried: dict[Suspects, Fit | None] = {(one,): _tried(sample, (one,), as_is) for one in able}
    alone = {suspects: found for suspects, found in tried.items() if found is not None}
    chosen, found = min(alone.items(), key=lambda item: item[1].mean, default=((), as_is))
    if whole_numbers(sample) and alone[INTENSITY].mean < 1.1 * as_is.mean:
        chosen, found = INTENSITY, alone[INTENSITY]
    if chosen and not _within_noise(sample, chosen, found):
        chosen, found = _best_pair(sample, able, chosen) or (chosen, found)
    certainty = _certainty(sample, chosen, found, as_is)
    if certainty is None:
        chosen, found = (), as_is
    offset = _best_offset(sample, chosen, found)
    if offset is not None:
        chosen, found = offset
        certainty = certainty or _certainty(sample, chosen, found, as_is)
    noise = noise_fit(_fixed(sample, chosen), found).residual
    if certainty is None:
        helps = _object_helps(sample, as_is)
        rivals = _rivals(as_is, alone) if np.isfinite(as_is.residual) else ()
        return Verdict(as_is.residual, noise, as_is.residual, rivals=rivals, object_helps=helps)
    others = {suspects: one for suspects, one in alone.items() if suspects != chosen}
    rivals = _rivals(found, others) if len(chosen) == 1 and certainty == "certain" else ()
    share = _share(as_is, found)
    return Verdict(as_is.residual, noise, found.residual, chosen, certainty, share, rivals)


def whole_numbers(sample: Sample) -> bool:
    """Return whether all values are whole, and not just 0 and 1: counts are; their roots are not."""
    values = sample.measured
    return bool(values.max() > 1 and np.array_equal(values, np.rint(values)))


def fit(sample: Sample, measured: Array | None = None) -> Fit:
    """Compare the sample's patterns (or other ones) with what object and probe predict."""
    measured = sample.measured if measured is None else measured
    predicted = sample.predicted()
    if predicted is None:
        return Fit(np.inf, np.full(len(measured), np.inf), np.nan)
    found = residual(measured, predicted)
    if not np.isfinite(found.value):
        return Fit(np.inf, np.full(len(measured), np.inf), np.nan)
    error = np.square(measured - found.scale * predicted).sum(axis=(1, 2))
    return Fit(found.value, error * len(measured) / np.square(measured).sum(), found.scale)


def noise_fit(sample: Sample, found: Fit) -> Fit:
    """Return the fit of counts drawn from the prediction itself: what photon noise alone would leave."""
    drawn = sample.drawn()
    if drawn is None:
        return Fit(0.0, np.zeros(len(sample.measured)), found.scale)
    return fit(sample, drawn)


def _fixed(sample: Sample, suspects: Suspects) -> Sample:
    for suspect in suspects:
        sample = suspect.fix(sample)
    return sample


def _tried(sample: Sample, suspects: Suspects, as_is: Fit) -> Fit | None:
    """Return the fit of the fixed sample; None if the remedy changes nothing, or leads outside."""
    found = fit(_fixed(sample, suspects))
    same = np.isfinite(as_is.residual) and np.allclose(found.misfit, as_is.misfit, rtol=1e-4, atol=1e-12)
    return found if np.isfinite(found.residual) and not same else None


def _best_pair(sample: Sample, able: tuple[Suspect, ...], single: Suspects) -> tuple[Suspects, Fit] | None:
    """Return the pair that explains the data clearly better than the best single suspect, if there is one."""
    few = sample.take(spread_indices(len(sample.measured), IN_PAIRS))
    pairs = ((one, two) for one, two in combinations(able, 2) if one.code != two.code)
    fits = {pair: fit(_fixed(few, pair)) for pair in pairs}
    pair = min(fits, key=lambda suspects: fits[suspects].mean)
    return _improvement(sample, few, single, pair) if np.isfinite(fits[pair].residual) else None


def _best_offset(sample: Sample, suspects: Suspects, found: Fit) -> tuple[Suspects, Fit] | None:
    """Return the constant offset of the positions that explains the data clearly better, if there is one."""
    if not np.isfinite(found.residual) or found.mean < PERFECT or _within_noise(sample, suspects, found):
        return None
    few = sample.take(spread_indices(len(sample.measured), IN_PAIRS))
    base = _fixed(few, suspects)
    best = np.zeros(2)
    for step, reach in OFFSET_SEARCH:
        ladder = np.arange(-reach, reach + 1) * step
        around = [best + np.array([row, column]) for row in ladder for column in ladder]
        fits = [fit(shifted(*place).fix(base)).mean for place in around]
        best = around[int(np.argmin(fits))]
    return _improvement(sample, few, suspects, (*suspects, shifted(*best))) if best.any() else None


def _improvement(sample: Sample, few: Sample, old: Suspects, new: Suspects) -> tuple[Suspects, Fit] | None:
    """Return the new suspects and their fit if they beat the old ones clearly on a few patterns."""
    before, after = fit(_fixed(few, old)), fit(_fixed(few, new))
    less = _beyond(few, new, after) < ALSO * _beyond(few, old, before)
    return (new, fit(_fixed(sample, new))) if less and _lead(before, after) > DOUBT else None


def _certainty(sample: Sample, suspects: Suspects, found: Fit, as_is: Fit) -> Literal["certain", "likely"] | None:
    if not suspects:
        return None
    beyond = _beyond(sample, suspects, found)
    if not np.isfinite(as_is.residual):
        if _lead(fit(_mixed_up(_fixed(sample, suspects))), found) < DOUBT and len(found.misfit) >= FEW:
            return None  # the positions say nothing so: these are others
        return "certain" if beyond < EXPLAINED else "likely"
    if suspects == INTENSITY and whole_numbers(sample):
        return "certain"
    noise = noise_fit(sample, as_is)
    left = as_is.mean - noise.mean
    if left < PERFECT or _share(as_is, found) < MOST:
        return None
    clearly = beyond < CLEARLY * left and left > DOUBT * _error(found, noise)
    if INTENSITY[0] in suspects:
        return "certain" if clearly else None  # other values, other noise: nothing cancels
    lead = _lead(as_is, found)
    if clearly or (lead > CERTAIN and _within_noise(sample, suspects, found)):
        return "certain"
    return "likely" if lead > CERTAIN else None


def _mixed_up(sample: Sample) -> Sample:
    """Return the sample with each pattern at the place of another."""
    half = len(sample.measured) // 2
    return replace(sample, positions_px=np.roll(sample.positions_px, half, axis=0))


def _beyond(sample: Sample, suspects: Suspects, found: Fit) -> float:
    """Return the mean misfit that photon noise does not explain."""
    return max(found.mean - noise_fit(_fixed(sample, suspects), found).mean, 0.0)


def _within_noise(sample: Sample, suspects: Suspects, found: Fit) -> bool:
    if sample.photons_per_pattern is None:
        return False
    noise = noise_fit(_fixed(sample, suspects), found)
    return found.mean - noise.mean < max(DOUBT * _error(found, noise), 0.02 * noise.mean)


def _object_helps(sample: Sample, as_is: Fit) -> bool:
    if not np.isfinite(as_is.residual) or as_is.mean < PERFECT or _within_noise(sample, (), as_is):
        return True
    uniform = fit(replace(sample, obj=np.ones_like(sample.obj), known={}))
    return len(as_is.misfit) < FEW or _lead(uniform, as_is) > DOUBT


def _rivals(found: Fit, others: dict[Suspects, Fit]) -> Suspects:
    """Return the suspects that `found` does not beat clearly."""
    return tuple(
        suspects[0]
        for suspects, other in others.items()
        if suspects != INTENSITY and _lead(other, found) < DOUBT and found.mean > CLEARLY * other.mean
    )


def _share(worse: Fit, better: Fit) -> float:
    return float(np.mean(better.misfit < worse.misfit))


def _lead(worse: Fit, better: Fit) -> float:
    """Return by how many standard errors one hypothesis beats another, pattern by pattern."""
    if not np.isfinite(worse.misfit).all():
        return np.inf
    gain = worse.misfit - better.misfit
    if len(gain) < FEW:
        return 0.0
    return float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-300))


def _error(one: Fit, two: Fit) -> float:
    """Return the standard error of the difference of two mean misfits."""
    return float(np.sqrt((one.misfit.var() + two.misfit.var()) / len(one.misfit)))
