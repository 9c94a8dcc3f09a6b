"""Where the patterns really lie: near their positions, or anywhere in the object.

Both searches compare each pattern with the prediction at many places. Near the positions this gives
displacements, through which an affine map is fitted; anywhere in the object it gives a place for each pattern
with no assumption, and the rotation, scale, mirror and frame order that bring most positions there are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ptycho_lib.data.check.conventions import Hypothesis
from ptycho_lib.data.check.orientation_search import ORIENTATIONS
from ptycho_lib.data.check.sample import Sample
from ptycho_lib.data.readers.frame_order import frame_order, possible_orders
from ptycho_lib.data.value_checks import inside
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.diffraction import diffract

BUDGET = 1.2e7
"""Pixels of predictions that one search computes, over all modes."""
ROUNDS = ((8.0, 2.0), (4.0, 1.0), (1.5, 0.375), (0.6, 0.15))
"""Reach and step (pixels) of the searches near the positions."""
LOCATED = 32
"""Patterns that are looked for anywhere in the object."""
PLACES = 6000
"""Places in the object at which they are looked for, at most ..."""
COARSEST = 2.5
"""... and the largest distance between them, pixels; a larger object is searched round the scan's centre."""
PIXELS = 1024
"""Detector pixels, those that vary most, with which they are compared."""
HIT = 3.0
"""A pattern is explained by a map that brings its position so near, pixels."""
LAGS = tuple(lag for lag in range(-8, 9) if lag)


@dataclass(frozen=True, eq=False)
class Displacements:
    """Where patterns fit best near their positions.

    Parameters
    ----------
    index : (k,) int array
        Of the patterns in the sample.
    moved_px : (k, 2) array
        Best place minus position.
    """

    index: Array
    moved_px: Array


def displacements(sample: Sample, reach: float, step: float) -> Displacements:
    """Return where each pattern of the sample fits best near its position.

    Parameters
    ----------
    sample : Sample
    reach, step : float
        Half-width and step of the square that is searched, pixels.

    Returns
    -------
    Displacements
        Of patterns all of whose places lie inside the object.
    """
    ladder = np.arange(-round(reach / step), round(reach / step) + 1) * step
    moves = np.stack(np.meshgrid(ladder, ladder, indexing="ij"), axis=-1).reshape(-1, 2)
    positions, size = sample.positions_px, sample.size
    ok = inside(positions - reach, size, sample.obj.shape) & inside(positions + reach, size, sample.obj.shape)
    number = max(12, int(BUDGET / (len(moves) * size**2 * len(sample.probe))))
    able = np.flatnonzero(ok)
    able = (
        able[np.unique(np.linspace(0, len(able) - 1, min(len(able), number)).round().astype(int))]
        if len(able)
        else able
    )
    best = np.zeros((len(able), 2))
    for place, pattern in enumerate(able):
        predicted = _predicted(sample, positions[pattern] + moves).reshape(len(moves), -1)
        overlap = predicted @ sample.measured[pattern].astype(np.float32).ravel()
        light = np.square(predicted, dtype=np.float64).sum(axis=1)
        best[place] = moves[int(np.argmax(overlap / np.sqrt(np.maximum(light, 1e-300))))]
    return Displacements(able, best)


def refine_affine(sample: Sample, hypothesis: Hypothesis) -> Hypothesis:
    """Return the hypothesis with the affine map and the offset that fit best, found from coarse to fine.

    Parameters
    ----------
    sample : Sample
        As read; `hypothesis` is applied to it.
    hypothesis : Hypothesis

    Returns
    -------
    Hypothesis
        The same one if too few patterns can be moved.
    """
    for reach, step in ROUNDS:
        placed = hypothesis.apply(sample)
        found = displacements(placed, reach, step)
        if len(found.index) < 6:
            continue
        middle = placed.scan_px.mean(axis=0)
        where = placed.positions_px[found.index] - middle
        matrix, move = _robust_affine(where, found.moved_px)
        total = (np.eye(2) + matrix) @ np.reshape(hypothesis.affine, (2, 2))
        offset = np.asarray(hypothesis.offset) + move
        a, b, c, d = (float(value) for value in total.ravel())
        hypothesis = replace(hypothesis, affine=(a, b, c, d), offset=(float(offset[0]), float(offset[1])))
    return hypothesis


def _robust_affine(where: Array, moved: Array) -> tuple[Array, Array]:
    """Return matrix (2, 2) and vector (2,) of moved ≈ matrix @ where + vector, outliers trimmed."""
    columns = np.column_stack([where, np.ones(len(where))])
    kept = np.ones(len(where), bool)
    solution = np.zeros((3, 2))
    for _ in range(5):
        solution, *_ = np.linalg.lstsq(columns[kept], moved[kept], rcond=None)
        error = np.linalg.norm(moved - columns @ solution, axis=1)
        kept = error <= max(2.0 * float(np.median(error[kept])), 1e-6)
        if kept.sum() < 4:
            break
    return solution[:2].T, solution[2]


def locate(sample: Sample, detectors: list[Hypothesis]) -> list[tuple[Hypothesis, Array, Array, Array]]:
    """Look for patterns anywhere in the object.

    Parameters
    ----------
    sample : Sample
    detectors : list of Hypothesis
        Orientations of the detector, with the place of DC, and conjugations of the probe, to try.

    Returns
    -------
    list of (hypothesis, index, places, quality)
        For each detector the patterns (k,) of the sample, where each fits best (k, 2), and how well (k,): the
        correlation of its deviation from the mean with the predicted one.
    """
    few = sample.spread(LOCATED * 2)
    centre = sample.scan_px.mean(axis=0)
    places = _grid(sample, centre)
    if len(places) < 9:
        return []
    nearest = np.argsort(np.linalg.norm(few.positions_px - centre, axis=1), kind="stable")
    few = few.take(np.sort(nearest[:LOCATED]))
    found = []
    for conjugate in sorted({one.conjugate for one in detectors}):
        lit = replace(few, mask=None, probe=few.probe.conj() if conjugate else few.probe)
        pixels, table = _table(lit, places)
        mean = table.mean(axis=0)
        table -= mean
        norm = np.linalg.norm(table, axis=1)
        for one in (one for one in detectors if one.conjugate == conjugate):
            measured = one.measured(few).reshape(len(few.index), -1)[:, pixels].astype(np.float32)
            if few.mask is not None:
                measured = np.where(one.turned(few.mask[None]).reshape(-1)[pixels], measured, mean)
            scale = measured.mean(axis=0) @ mean / max(float(mean @ mean), 1e-30)
            deviation = measured / max(scale, 1e-30) - mean
            quality = (table @ deviation.T) / np.maximum(norm[:, None] * np.linalg.norm(deviation, axis=1), 1e-30)
            best = np.argmax(quality, axis=0)
            found.append((one, few.index, places[best], quality[best, np.arange(len(best))]))
    return found


def search_scans(sample: Sample, detectors: list[Hypothesis], *, number: int = 3) -> list[Hypothesis]:
    """Return maps of the scan, with frame orders, that bring most positions where their patterns are.

    Parameters
    ----------
    sample : Sample
    detectors : list of Hypothesis
        As in `locate`.
    number : int
        How many to return at most.

    Returns
    -------
    list of Hypothesis
        Best first; to be refined with `refine_affine`.
    """
    results: list[tuple[float, Hypothesis]] = []
    for one, index, places, quality in locate(sample, detectors):
        clear = quality > 0.25 * quality.max()
        for order, line, lag, positions in _ordered(sample, index):
            score, swap, matrix, offset = _best_similarity(positions, places, np.where(clear, quality, 0.0))
            penalty = 0.0 if order == "as-is" and not lag else 0.15 * len(index) ** 0.5 * quality.mean()
            if score > 0:
                guess = replace(one, order=order, line=line, lag=lag)
                results.append((score - penalty, _as_hypothesis(guess, sample, swap, matrix, offset)))
    results.sort(key=lambda item: -item[0])
    return [hypothesis for _, hypothesis in results[:number]]


def _ordered(sample: Sample, index: Array) -> Iterator[tuple[str, int, int, Array]]:
    """Yield (order, line, lag, positions of the patterns) for every order of the frames."""
    scan, count = sample.scan_px, len(sample.scan_px)
    yield "as-is", 0, 0, scan[index]
    for order, line in possible_orders(count):
        yield order, line, 0, scan[frame_order(count, order, line)][index]
    for lag in LAGS:
        yield "as-is", 0, lag, scan[np.clip(index + lag, 0, count - 1)]


def _best_similarity(positions: Array, places: Array, weight: Array) -> tuple[float, bool, Array, Array]:
    """Return score, mirror, matrix and vector of the similarity that brings most positions to their places.

    Every pair of patterns gives one: f = a·z + b with complex numbers, or f = a·conj(z) + b for a mirror.
    """
    z = positions[:, 0] + 1j * positions[:, 1]
    f = places[:, 0] + 1j * places[:, 1]
    first, second = np.triu_indices(len(z), 1)
    best: tuple[float, bool, complex, complex] = (0.0, False, 1.0, 0.0)
    for mirrored in (False, True):
        y = z.conj() if mirrored else z
        apart = y[first] - y[second]
        far = np.abs(apart) > 0.3 * np.abs(apart).max()
        slope = (f[first] - f[second])[far] / apart[far]
        slope = slope[(np.abs(slope) > 0.5) & (np.abs(slope) < 2.0)]
        start = first[far][
            (np.abs((f[first] - f[second])[far] / apart[far]) > 0.5)
            & (np.abs((f[first] - f[second])[far] / apart[far]) < 2.0)
        ]
        if not len(slope):
            continue
        move = f[start] - slope * y[start]
        distance = np.abs(slope[:, None] * y + move[:, None] - f)
        score = np.sum(np.where(distance < HIT, weight, 0.0), axis=1)
        top = int(np.argmax(score))
        if score[top] > best[0]:
            hit = distance[top] < HIT
            columns = np.column_stack([y[hit], np.ones(int(hit.sum()))])
            (a, b), *_ = np.linalg.lstsq(columns, f[hit], rcond=None)
            best = (float(score[top]), mirrored, complex(a), complex(b))
    score_, mirrored, a, b = best
    matrix = np.array([[a.real, -a.imag], [a.imag, a.real]]) @ np.diag([1.0, -1.0 if mirrored else 1.0])
    return score_, mirrored, matrix, np.array([b.real, b.imag])


def _as_hypothesis(guess: Hypothesis, sample: Sample, mirrored: bool, matrix: Array, offset: Array) -> Hypothesis:
    """Return a hypothesis whose orientation and affine map give place = matrix @ position + offset."""
    options = []
    for swap, rows, columns in ORIENTATIONS:
        turn = np.diag([-1.0 if rows else 1.0, -1.0 if columns else 1.0])
        turn = turn @ (np.array([[0.0, 1.0], [1.0, 0.0]]) if swap else np.eye(2))
        options.append((float(np.sum(turn * matrix)), (swap, rows, columns), turn))
    _, (swap, rows, columns), turn = max(options, key=lambda item: item[0])
    a, b, c, d = (float(value) for value in (matrix @ turn.T).ravel())
    placed = replace(guess, swap=swap, flip_rows=rows, flip_columns=columns, affine=(a, b, c, d))
    move = (sample.scan_px @ matrix.T + offset).mean(axis=0) - placed.positions(sample).mean(axis=0)
    return replace(placed, offset=(float(move[0]), float(move[1])))


def _grid(sample: Sample, centre: Array) -> Array:
    """Return places (g, 2) in the object at which patterns are looked for."""
    size, shape = sample.size, np.asarray(sample.obj.shape, dtype=float)
    low, high = np.full(2, size / 2), shape - size / 2
    most = max(400, min(PLACES, int(BUDGET / (size**2 * len(sample.probe)))))
    half = COARSEST * np.sqrt(most) / 2
    centre = np.clip(centre, low, high)
    if np.prod(np.maximum(high - low, 1)) > (2 * half) ** 2:
        low, high = np.maximum(low, centre - half), np.minimum(high, centre + half)
    step = max(1.0, float(np.sqrt(np.prod(np.maximum(high - low, 1)) / most)))
    rows, columns = (np.arange(first, last + 1e-9, step) for first, last in zip(low, high, strict=True))
    return np.array(list(product(rows, columns)))


def _table(sample: Sample, places: Array) -> tuple[Array, Array]:
    """Return the detector pixels (p,) that vary most, and the predicted amplitudes (g, p) there."""
    probe_rows = places[:: max(1, len(places) // 64)]
    variance = _predicted(sample, probe_rows).reshape(len(probe_rows), -1).var(axis=0)
    pixels = np.sort(np.argsort(variance)[-PIXELS:])
    table = np.empty((len(places), len(pixels)), np.float32)
    for start in range(0, len(places), 256):
        part = slice(start, start + 256)
        block = _predicted(sample, places[part])
        table[part] = block.reshape(len(block), -1)[:, pixels]
    return pixels, table


def _predicted(sample: Sample, positions: Array) -> Array:
    """Return predicted amplitudes (g, N, N) at any positions inside the object."""
    predicted = diffract(sample.obj, sample.probe, positions)
    return predicted if sample.mask is None else predicted * sample.mask.astype(np.float32)
