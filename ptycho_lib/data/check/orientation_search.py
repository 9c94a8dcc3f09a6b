"""All orientations of patterns and positions at once, with any place of DC.

For each orientation of the positions the prediction is computed once; its cross-correlation with the measured
patterns, in each of their eight orientations, gives the fit for every shift of DC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import scipy.fft

from ptycho_lib.data.check.conventions import Hypothesis
from ptycho_lib.data.check.sample import Sample
from ptycho_lib.io.lazy_stack import Array

ORIENTATIONS = tuple(product((False, True), repeat=3))
"""(exchange, mirror rows, mirror columns)."""
NEAR_CORNER = 4
"""DC is at the corner if its best place lies so many pixels from half a pattern, or nearer."""


@dataclass(frozen=True)
class Candidate:
    """A hypothesis with the misfit of the sample, 1 - (Σ x·A)² / (Σx² · ΣA²)."""

    hypothesis: Hypothesis
    misfit: float


def search_orientations(sample: Sample, starts: tuple[Hypothesis, ...]) -> list[Candidate]:
    """Return a candidate for each orientation of patterns and positions, best first.

    Parameters
    ----------
    sample : Sample
    starts : tuple of Hypothesis
        What the positions may be, and whether the values are intensity; each is tried in all orientations.

    Returns
    -------
    list of Candidate
        With DC where it is, and where it fits best, for each.
    """
    found: list[Candidate] = []
    for values in {(start.intensity, start.patterns_last) for start in starts}:
        turned = {
            parts: _Turned.of(sample, Hypothesis(intensity=values[0], patterns_last=values[1], **_detector(parts)))
            for parts in ORIENTATIONS
        }
        for start in (one for one in starts if (one.intensity, one.patterns_last) == values):
            for (swap, rows, columns), conjugate in product(ORIENTATIONS, (False, True)):
                placed = replace(start, swap=swap, flip_rows=rows, flip_columns=columns, conjugate=conjugate)
                predicted = placed.apply(replace(sample, mask=None)).predicted()
                if predicted is None:
                    continue
                spectrum = np.conj(scipy.fft.rfft2(predicted, workers=-1))
                power = scipy.fft.rfft2(np.square(predicted).sum(axis=0)) if sample.mask is not None else None
                for parts, turn in turned.items():
                    found += _best_places(replace(placed, **_detector(parts)), turn, spectrum, power, predicted)
    return sorted(found, key=lambda one: one.misfit)


def _detector(parts: tuple[bool, ...]) -> dict[str, Any]:
    """Return the orientation of the detector as fields of a hypothesis."""
    return dict(zip(("transpose", "reverse_rows", "reverse_columns"), parts, strict=True))


@dataclass(frozen=True, eq=False)
class _Turned:
    """Measured patterns in one orientation."""

    spectrum: Array
    power: float
    mask_spectrum: Array | None

    @classmethod
    def of(cls, sample: Sample, turn: Hypothesis) -> _Turned:
        """Turn the sample's patterns and their mask."""
        values = turn.measured(sample).astype(np.float32)
        mask = None if sample.mask is None else scipy.fft.rfft2(turn.turned(sample.mask[None])[0].astype(np.float32))
        return cls(scipy.fft.rfft2(values, workers=-1), float(np.square(values, dtype=float).sum()), mask)


def _best_places(
    hypothesis: Hypothesis, turn: _Turned, spectrum: Array, power: Array | None, predicted: Array
) -> list[Candidate]:
    """Return the hypothesis with DC as it is, and with DC where the patterns fit best."""
    size = predicted.shape[-1]
    product_sum = np.einsum("kij,kij->ij", turn.spectrum, spectrum)
    overlap = scipy.fft.irfft2(product_sum, s=(size, size))  # at [s]: Σ x[u + s]·A[u]
    if power is None or turn.mask_spectrum is None:
        light = float(np.square(predicted, dtype=float).sum())
    else:
        light = np.maximum(scipy.fft.irfft2(turn.mask_spectrum * np.conj(power), s=(size, size)), 1e-30)
    misfit = 1 - np.square(overlap) / (light * turn.power)
    here = Candidate(hypothesis, float(misfit[0, 0]))
    place = np.array(np.unravel_index(int(np.argmin(misfit)), misfit.shape))
    if not place.any():
        return [here]
    shift = (-place + size // 2) % size - size // 2
    best = float(misfit[tuple(place)])
    from_corner = (shift + size) % size - size // 2
    if np.abs(from_corner).max() <= NEAR_CORNER:
        return [here, Candidate(replace(hypothesis, dc_corner=True, shift=_pair(from_corner)), best)]
    return [here, Candidate(replace(hypothesis, shift=_pair(shift)), best)]


def _pair(values: Array) -> tuple[int, int]:
    return int(values[0]), int(values[1])
