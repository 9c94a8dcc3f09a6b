"""Which conventions explain the patterns, and how surely: judged by photon noise and by a uniform object.

The search has three stages, each only as far as the patterns are not yet explained: all orientations of
patterns and positions with any place of DC; an affine map and an offset near the positions; the whole object,
with any rotation, scale, mirror and frame order. What is found is applied as `prepare` would, on the whole
sample, before it is called an explanation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from ptycho_lib.data.check.conventions import UNITS, Hypothesis
from ptycho_lib.data.check.orientation_search import search_orientations
from ptycho_lib.data.check.sample import (
    DOUBT,
    FEW,
    Fit,
    Sample,
    fit,
    lead,
    standard_error,
)
from ptycho_lib.data.check.scan_search import displacements, refine_affine, search_scans
from ptycho_lib.io.lazy_stack import Array

CLEARLY = 0.5625
"""A hypothesis is named if it lowers the misfit beyond noise to less than this share: the residual to 0.75."""
ALSO = 0.8
"""A further convention is named only if it lowers the misfit beyond noise to less than this share, too."""
PERFECT = 1e-6
"""Below this misfit nothing is left to explain."""
EXPLAINED = 0.2
"""Patterns are explained if the misfit beyond noise is less than this share of that of a uniform object."""
NEARLY = 0.05
"""Above this share something is left that is worth a note."""
CERTAIN = 8.0
"""Standard errors between two hypotheses that settle it."""
MOST = 0.8
"""Share of the patterns that must agree."""
SEARCHED_PIXELS = 2**17
"""Pixels of the patterns with which orientations are searched: 32 patterns of 64 × 64, but at least 24."""
SHORTLIST = 6
"""Hypotheses of a search that are tried on the whole sample."""
UNEVEN_STAGE = 0.4
"""Positions whose patterns fit best so far away, root mean square in pixels, are in error."""

LINES = 0.9
"""Of the displacements this share must be common to lines, to be called so, ..."""
FEWEST_LINES, IN_A_LINE = 4, 4
"""... of at least so many lines of at least so many sampled patterns."""

Certainty = Literal["certain", "likely"]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What re-projection shows.

    Parameters
    ----------
    as_is : Fit
        Of the file as it stands.
    best : Fit
        With `hypothesis`; that of the file if there is none.
    hypothesis : Hypothesis or None
        Conventions that explain the patterns.
    certainty : {'certain', 'likely'}
        `likely` if most patterns fit better, but are not explained.
    sample : Sample
        As `hypothesis` puts it right.
    noise, uniform : float
        Residuals that photon noise alone would leave (0 if the photons are unknown), and that a uniform
        object leaves, both for `sample`.
    unexplained : float
        Misfit beyond noise as a share of that of a uniform object; 0 where both are noise.
    rivals : tuple of Hypothesis
        Conventions that fit as well as what was found.
    position_error_px : float
        Root mean square of what the positions are off, if that explains the misfit; else 0.
    """

    as_is: Fit
    best: Fit
    hypothesis: Hypothesis | None
    certainty: Certainty
    sample: Sample
    noise: float
    uniform: float
    unexplained: float
    rivals: tuple[Hypothesis, ...] = ()
    position_error_px: float = 0.0
    line_offsets_px: float = 0.0
    """The part of it that is one offset for each line of the scan, root mean square; 0 if most of it is not."""


def diagnose(sample: Sample) -> Diagnosis:
    """Search for the conventions that explain a sample.

    Parameters
    ----------
    sample : Sample
        As read.

    Returns
    -------
    Diagnosis
    """
    as_is = fit(sample)
    nothing = Hypothesis()
    if as_is.mean < PERFECT:
        return _diagnosis(sample, as_is, nothing, as_is, None)
    tried = _orientations(sample, _starts(sample))
    chosen, found = _simplest(sample, tried, as_is)
    if not _done(sample, chosen, found):
        more = _orientations(sample, _other_starts(sample))
        tried |= more
        chosen, found = _simplest(sample, tried, as_is)
    if not _done(sample, chosen, found):
        chosen, found = _search_scan(sample, tried, chosen, found)
    if _whole_numbers(sample) and not chosen.intensity and not sample.converted:
        root = replace(nothing, intensity=True)
        if fit(root.apply(sample)).mean < 1.1 * as_is.mean:
            chosen, found = root, fit(root.apply(sample))
    chosen = chosen.settled(sample)
    certainty = _certainty(sample, chosen, found, as_is)
    if certainty is None:
        chosen, found = nothing, as_is
    result = _diagnosis(sample, as_is, chosen, found, certainty)
    return replace(result, rivals=_rivals(sample, tried, chosen, found, certainty))


def _diagnosis(sample: Sample, as_is: Fit, chosen: Hypothesis, found: Fit, certainty: Certainty | None) -> Diagnosis:
    right = chosen.apply(sample)
    uniform = fit(right.uniform())
    error, of_lines = _position_error(right, found)
    return Diagnosis(
        as_is=as_is,
        best=found,
        hypothesis=chosen if certainty is not None else None,
        certainty=certainty or "certain",
        sample=right,
        noise=found.noise.residual,
        uniform=uniform.residual,
        unexplained=_unexplained(right, found, uniform),
        position_error_px=error,
        line_offsets_px=of_lines,
    )


def _unexplained(right: Sample, found: Fit, uniform: Fit | None = None) -> float:
    """Return the misfit beyond noise over that of a uniform object."""
    if not np.isfinite(found.residual):
        return np.inf
    if found.mean < PERFECT or found.within_noise:
        return 0.0
    uniform = fit(right.uniform()) if uniform is None else uniform
    return found.beyond_noise / max(uniform.beyond_noise, 1e-300)


def _done(sample: Sample, chosen: Hypothesis, found: Fit) -> bool:
    """Return whether nothing is left to search for."""
    return np.isfinite(found.residual) and _unexplained(chosen.apply(sample), found) == 0.0


def _starts(sample: Sample) -> tuple[Hypothesis, ...]:
    """Return the plain readings of values and positions."""
    return tuple(Hypothesis(intensity=root) for root in ((False,) if sample.converted else (False, True)))


def _other_starts(sample: Sample) -> tuple[Hypothesis, ...]:
    """Return the other readings: corners, lengths, a scan beside the object, patterns on the last axis."""
    roots = (False,) if sample.converted else (False, True)
    found = [Hypothesis(intensity=root, start=start) for root, start in product(roots, ("corner", *UNITS))]
    if not sample.inside().any():
        found += [Hypothesis(intensity=root, start="centred") for root in roots]
    if sample.axis_last is not None:
        found += [Hypothesis(intensity=root, patterns_last=True) for root in roots]
    return tuple(one for one in found if one.plausible(sample))


def _orientations(sample: Sample, starts: tuple[Hypothesis, ...]) -> dict[Hypothesis, Fit]:
    """Return the fits of the whole sample for the best orientations, and for the simple ones."""
    few = sample.spread(max(24, SEARCHED_PIXELS // sample.size**2))
    candidates = [one.hypothesis for one in search_orientations(few, starts)]
    simple = [one for one in candidates if len(one.codes) == 1][: 2 * SHORTLIST]
    fits = {one: fit(one.apply(sample)) for one in dict.fromkeys([*candidates[:SHORTLIST], *simple])}
    return {one: found for one, found in fits.items() if np.isfinite(found.residual)}


def _simplest(sample: Sample, tried: dict[Hypothesis, Fit], as_is: Fit) -> tuple[Hypothesis, Fit]:
    """Return the hypothesis with the fewest conventions among those that nothing fits better than."""
    fits = tried | ({Hypothesis(): as_is} if np.isfinite(as_is.residual) else {})
    if not fits:
        return Hypothesis(), as_is
    best = _best(fits)
    floor = fits[best].beyond_noise
    equal = [
        one
        for one, found in fits.items()
        if one.intensity == best.intensity
        and (lead(found, fits[best]) < DOUBT or (one.codes != best.codes and ALSO * found.beyond_noise < floor))
    ]
    chosen = min(equal or [best], key=lambda one: (len(one.codes), fits[one].mean))
    return chosen, fits[chosen]


def _best(fits: dict[Hypothesis, Fit]) -> Hypothesis:
    """Return the hypothesis that fits best: with the smallest misfit, of amplitudes or of intensities.

    Of these two the one nearer to photon noise: a square root compresses noise, so that its misfit is smaller in
    amplitudes of few photons, too, yet below what photon noise leaves.
    """
    ranked = sorted(fits, key=lambda one: fits[one].mean)
    readings = {one.intensity: one for one in reversed(ranked)}
    return min(readings.values(), key=lambda one: abs(fits[one].mean - fits[one].noise.mean))


def _search_scan(
    sample: Sample, tried: dict[Hypothesis, Fit], chosen: Hypothesis, found: Fit
) -> tuple[Hypothesis, Fit]:
    """Refine the scan near its positions, then look for it in the whole object, while that explains more."""
    best = (chosen, found)
    if np.isfinite(found.residual):
        best = _better(sample, best, refine_affine(sample, chosen))
    if _unexplained(best[0].apply(sample), best[1]) < EXPLAINED:
        return best
    order = sorted(tried, key=lambda one: tried[one].mean)
    detectors = list(dict.fromkeys(_detector_of(one) for one in [Hypothesis(), *order]))[:SHORTLIST]
    if sample.axis_last is None or not chosen.patterns_last:
        for guess in search_scans(sample, detectors):
            best = _better(sample, best, guess)
            best = _better(sample, best, refine_affine(sample, guess))
            if _unexplained(best[0].apply(sample), best[1]) < EXPLAINED:
                break
    return best


def _detector_of(one: Hypothesis) -> Hypothesis:
    """Return the part of a hypothesis that says nothing of positions."""
    kept = ("patterns_last", "intensity", "conjugate", "transpose", "reverse_rows", "reverse_columns")
    return Hypothesis(**{name: getattr(one, name) for name in (*kept, "dc_corner", "shift")})


def _better(sample: Sample, before: tuple[Hypothesis, Fit], guess: Hypothesis) -> tuple[Hypothesis, Fit]:
    """Return the guess in its simplest form if it clearly beats what was found before."""
    options = {one: fit(one.apply(sample)) for one in _simpler(guess)}
    options = {one: found for one, found in options.items() if np.isfinite(found.residual)}
    if not options:
        return before
    lowest = min(found.beyond_noise for one, found in options.items())
    for one, found in options.items():  # from simple to complete
        left = found.beyond_noise
        if left <= 1.1 * lowest or found.within_noise:
            old = before[1].beyond_noise if np.isfinite(before[1].residual) else np.inf
            return (one, found) if left < ALSO * old and lead(before[1], found) > DOUBT else before
    return before


def _simpler(guess: Hypothesis) -> tuple[Hypothesis, ...]:
    """Return forms of a hypothesis from simple to complete: offset, rotation, scale, both, any matrix."""
    matrix = np.reshape(guess.affine, (2, 2))
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    degrees = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
    turn = np.array([[np.cos(degrees), -np.sin(degrees)], [np.sin(degrees), np.cos(degrees)]])
    tenth, fine = tuple(round(4 * x) / 4 for x in guess.offset), tuple(round(x, 2) for x in guess.offset)
    near = [offset for offset in ((0.0, 0.0), tenth, fine) if max(map(abs, np.subtract(offset, guess.offset))) < 0.5]
    forms = []
    for form, offset in product((np.eye(2), turn, scale * np.eye(2), scale * turn, matrix), near):
        a, b, c, d = (float(value) for value in form.ravel())
        forms.append(replace(guess, affine=(a, b, c, d), offset=offset))
    return tuple(dict.fromkeys(sorted(forms, key=lambda one: len(one.codes))))


def _whole_numbers(sample: Sample) -> bool:
    """Return whether all values are whole, and not just 0 and 1: counts are; their roots are not."""
    values = sample.measured
    return bool(values.max() > 1 and np.array_equal(values, np.rint(values)))


def _certainty(sample: Sample, chosen: Hypothesis, found: Fit, as_is: Fit) -> Certainty | None:
    if not chosen.codes or not np.isfinite(found.residual):
        return None
    right = chosen.apply(sample)
    explained = _unexplained(right, found) < EXPLAINED
    if not np.isfinite(as_is.residual):
        others = (_mixed_up(right), right.uniform())
        if len(found.misfit) >= FEW and min(lead(fit(other), found) for other in others) < DOUBT:
            return None  # exchanged positions, or a uniform object, fit as well: these positions are others
        return "certain" if explained else "likely"
    if chosen == Hypothesis(intensity=True) and _whole_numbers(sample):
        return "certain"
    left, beyond = as_is.beyond_noise, found.beyond_noise
    if left < PERFECT or float(np.mean(found.misfit < as_is.misfit)) < MOST:
        return None
    noise = as_is.noise
    clearly = beyond < CLEARLY * left and left > DOUBT * standard_error(found, noise)
    if chosen.intensity:  # other values, other noise: nothing cancels
        helps = explained or lead(fit(right.uniform()), found) > DOUBT  # a square root flatters a wrong object, too
        return "certain" if clearly and helps else None
    ahead = lead(as_is, found)
    if explained and (clearly or (ahead > CERTAIN and found.within_noise)):
        return "certain"
    return "likely" if ahead > CERTAIN and (beyond < ALSO * left or found.within_noise) else None


def _mixed_up(sample: Sample) -> Sample:
    """Return the sample with each pattern at the place of another."""
    return replace(sample, index=np.roll(sample.index, len(sample.index) // 2))


def _rivals(
    sample: Sample, tried: dict[Hypothesis, Fit], chosen: Hypothesis, found: Fit, certainty: Certainty | None
) -> tuple[Hypothesis, ...]:
    """Return the single conventions that what was found does not beat clearly."""
    if not np.isfinite(found.residual) or len(chosen.codes) > 1 or certainty == "likely":
        return ()
    same = {
        one: other
        for one, other in tried.items()
        if len(one.codes) == 1
        and not one.intensity
        and one != chosen
        and not np.allclose(other.misfit, found.misfit, rtol=1e-4, atol=1e-12)
    }
    rivals = [one for one, other in same.items() if lead(other, found) < DOUBT and found.mean > CLEARLY * other.mean]
    return tuple({one.codes: one for one in reversed(rivals)}.values())[::-1]


def _position_error(right: Sample, found: Fit) -> tuple[float, float]:
    """Return how far the positions are off, and what of it is common to the lines of the scan.

    In pixels, root mean square; 0 if moving each position does not explain the misfit.
    """
    if not np.isfinite(found.residual) or _unexplained(right, found) < EXPLAINED / 2:
        return 0.0, 0.0
    where = displacements(right, 4.0, 0.5)
    if len(where.index) < FEW:
        return 0.0, 0.0
    part = right.take(where.index)
    positions = part.positions_px + where.moved_px
    moved = replace(part, scan_px=positions, index=np.arange(len(positions)))
    before, after = fit(part), fit(moved)
    rms = float(np.sqrt(np.mean(np.sum(np.square(where.moved_px), axis=1))))
    helps = after.beyond_noise < CLEARLY * before.beyond_noise and lead(before, after) > DOUBT
    if not helps or rms <= UNEVEN_STAGE:
        return 0.0, 0.0
    common = _common_to_lines(part.positions_px, where.moved_px)
    return rms, common if common > LINES * rms else 0.0


def _common_to_lines(positions_px: Array, moved_px: Array) -> float:
    """Return the root mean square of the mean displacements of lines along rows or columns; 0 without lines."""
    found = 0.0
    for axis in (0, 1):
        order = np.argsort(positions_px[:, axis], kind="stable")
        gaps = np.diff(positions_px[order, axis])
        line = np.zeros(len(order), int)
        line[order[1:]] = np.cumsum(gaps > 0.5 * np.max(gaps, initial=0.0))
        sizes = np.bincount(line)
        if len(sizes) < FEWEST_LINES or sizes.min() < IN_A_LINE:
            continue
        means = np.stack([np.bincount(line, moved_px[:, k]) / sizes for k in (0, 1)], axis=1)
        found = max(found, float(np.sqrt(np.mean(np.sum(np.square(means[line]), axis=1)))))
    return found
