"""Take the slow drift out of a stitched phase: every pattern tells the mean slope of the phase it has seen.

Where patches overlap they agree, and still the phase may be wrong: tilts that neighbouring patches have in
common add up to a drift over the scan, which no overlap can show. The measurement can. A phase ramp
across an exit wave shifts its diffraction pattern (Waddell & Chapman, Optik 54, 83, 1979), so the shift of
the measured pattern against that of the stitched object is the slope that is still missing there. The
slopes are joined to one smooth phase. How far they can be trusted is measured: patterns of a region that was
left out must be explained better with the correction than without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.io.lazy_stack import blocks
from ptycho_lib.physics.diffraction import exit_wave, extract_patches, far_field

Floats = NDArray[np.float64]

KNOTS_PER_PATCH = 4
"""Knots of the smooth phase along the edge of a pattern's patch: the drift is slower than a patch."""

LEAST_LIGHT = 0.999
"""Share of its light that a pattern must have in the stitched region; the rest would shift it, too."""

FOLDS = 5
CELLS_PER_PATCH = 2
"""Patterns are left out by square cells, so many along a patch: neighbours share their errors."""

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Ridge penalties that are tried, relative to the mean information about a knot."""


def phase_drift_correction(
    obj: NDArray[np.complexfloating], known: NDArray[np.bool_], dataset: PtychoDataset
) -> NDArray[np.float32]:
    """Return the smooth phase (rad) that the measured patterns ask to be added to an object.

    The phase is a cubic spline; its mean slopes within the illumination of each pattern are fitted to
    `missing_slopes` by ridge regression. Of the `STRENGTHS` of the ridge the one is taken that predicts
    left-out cells of the scan best (five-fold cross-validation in blocks [1]_); none, if none predicts
    anything.

    Parameters
    ----------
    obj : (H, W) complex
    known : (H, W) bool
        Where `obj` holds a value.
    dataset : PtychoDataset
        Measured patterns, positions and probe.

    Returns
    -------
    (H, W) float32
        Zero if the measurement asks for nothing.

    References
    ----------
    .. [1] D. R. Roberts et al., "Cross-validation strategies for data with temporal, spatial, hierarchical,
       or phylogenetic structure", Ecography 40, 913 (2017).
    """
    nothing = np.zeros(obj.shape, np.float32)
    if not known.any() or not np.isfinite(obj[known]).all():
        return nothing
    filled = np.where(known, obj, obj[known].mean()).astype(np.complex64)
    knots = _Knots(obj.shape, dataset.patch_size)
    light = np.square(np.abs(dataset.probe), dtype=np.float32)
    found, places = [], []
    for part, measured in blocks(dataset.diffraction):
        positions = dataset.positions_px[part]
        waves = exit_wave(extract_patches(filled, positions, dataset.patch_size), dataset.probe)
        seen = extract_patches(known.astype(np.float32), positions, dataset.patch_size)
        enough = (seen * light).sum(axis=(1, 2)) >= LEAST_LIGHT * light.sum()
        usable = enough & measured.any(axis=(1, 2)) & waves.any(axis=(1, 2))
        if usable.any():
            waves = waves[usable]
            slopes = missing_slopes(waves, np.asarray(measured)[usable])
            found.append((slopes, knots.mean_slopes(waves, positions[usable])))
            places.append(positions[usable])
    if sum(map(len, places)) < 2 * FOLDS:
        return nothing
    slopes = np.concatenate([each for each, _ in found])
    slopes -= slopes.mean(axis=0)  # a slope that all patterns share is the centre of the detector
    down, right = (sparse.vstack([rows[axis] for _, rows in found], format="csr") for axis in (0, 1))
    cells = np.floor(np.concatenate(places) / (dataset.patch_size / CELLS_PER_PATCH)).astype(int)
    fold = (cells @ [1, 2]) % FOLDS  # the eight cells around one are in other folds
    return knots.phase(_ridge(sparse.vstack([down, right], format="csr"), slopes.T.ravel(), np.tile(fold, 2)))


def missing_slopes(waves: NDArray[np.complex64], measured: NDArray[np.floating]) -> Floats:
    """Return the phase slopes (rad/px) that exit waves lack to explain measured amplitudes best.

    One Gauss-Newton step of least squares in the amplitude for the two slopes and the scale of a pattern:
    with amplitudes instead of intensities no pixel outweighs the others, and photon noise is alike in all.

    Parameters
    ----------
    waves : (n, N, N) complex
    measured : (n, N, N) float
        Amplitudes, any scale, DC at pixel N/2.

    Returns
    -------
    (n, 2) float64
        Along rows and columns.
    """
    count, size = len(waves), waves.shape[-1]
    place = np.arange(size, dtype=np.float32) - size // 2
    field = far_field(waves)
    predicted = np.abs(field)
    direction = field.conj() / np.maximum(predicted, 1e-12 * predicted.max())
    # With the slope t the wave is ψ·exp(i·t·y): d|F ψ|/dt = Re(F(i·y·ψ)·conj(F ψ)) / |F ψ|.
    change = [-(far_field(waves * ramp) * direction).imag for ramp in (place[:, None], place[None, :])]
    matrix = np.stack([*change, predicted], axis=1).reshape(count, 3, -1)
    scale = (predicted**2).sum(axis=(1, 2)) / (measured * predicted).sum(axis=(1, 2))
    error = (measured * scale[:, None, None] - predicted).reshape(count, -1, 1)
    normal = (matrix @ matrix.transpose(0, 2, 1)).astype(np.float64)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    return np.linalg.solve(normal, (matrix @ error).astype(np.float64))[:, :2, 0]


class _Knots:
    """A phase over an object as a cubic spline on a square lattice of knots."""

    def __init__(self, shape: tuple[int, ...], patch_size: int) -> None:
        self.shape, self.step = shape, max(1, patch_size // KNOTS_PER_PATCH)
        # Knot j lies at pixel (j - 1)·step: one before the first pixel, two after the last.
        self.counts = tuple((length - 1) // self.step + 4 for length in shape)

    def phase(self, heights: Floats) -> NDArray[np.float32]:
        """Return the phase (H, W) of the knots' heights."""
        along = []
        for length, count in zip(self.shape, self.counts, strict=True):
            along.append(_bump(np.arange(length)[:, None] / self.step + 1 - np.arange(count)))
        rows, columns = along
        return np.asarray(rows @ heights.reshape(self.counts) @ columns.T, np.float32)

    def mean_slopes(
        self, waves: NDArray[np.complex64], positions_px: Floats
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the matrices (n, knots) from heights to slopes in rad/px, by rows and by columns.

        The slope of a pattern is the mean over its exit wave, weighted with the intensity.
        """
        count, size = len(waves), waves.shape[-1]
        intensity = waves.real**2 + waves.imag**2
        intensity /= intensity.sum(axis=(1, 2), keepdims=True)
        corner = (positions_px - size / 2) / self.step + 1  # in knots
        first = np.floor(corner).astype(np.int64) - 1
        touched = size // self.step + 4
        pixels = np.arange(size) / self.step
        distance = (corner - first)[..., None, None] + pixels[:, None] - np.arange(touched)
        value = _bump(distance).astype(np.float32)
        slope = (_bump_slope(distance) / self.step).astype(np.float32)
        number = first[..., None] + np.arange(touched)
        inside = (number >= 0) & (number < np.array(self.counts)[:, None])
        both = inside[:, 0, :, None] & inside[:, 1, None, :]
        place = np.where(both, number[:, 0, :, None] * self.counts[1] + number[:, 1, None, :], 0)
        ends = np.arange(0, place.size + 1, touched**2)
        matrices = []
        for down, right in ((slope[:, 0], value[:, 1]), (value[:, 0], slope[:, 1])):
            mean = down.transpose(0, 2, 1) @ intensity @ right * both
            parts = (mean.ravel(), place.ravel().astype(np.int32), ends)
            matrices.append(sparse.csr_array(parts, shape=(count, self.counts[0] * self.counts[1])))
        return matrices[0], matrices[1]


def _bump(x: Floats) -> Floats:
    """Return the cubic B-spline, 2/3 at 0 and zero from 2."""
    x = np.abs(x)
    near, far = 2 / 3 - x**2 + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6
    return np.where(x < 1, near, far)


def _bump_slope(x: Floats) -> Floats:
    """Return the derivative of `_bump`."""
    distance = np.abs(x)
    near, far = 1.5 * distance**2 - 2 * distance, -(np.clip(2 - distance, 0, None) ** 2) / 2
    return np.sign(x) * np.where(distance < 1, near, far)


def _ridge(matrix: sparse.csr_array, wanted: Floats, fold: NDArray[np.int64]) -> Floats:
    """Solve matrix·heights ≈ wanted by ridge regression; zeros if that predicts no fold from the others."""
    normals, moments = [], []
    for number in range(FOLDS):
        rows = matrix[fold == number].astype(np.float64)
        normals.append((rows.T @ rows).tocsr())
        moments.append(rows.T @ wanted[fold == number])
    normal, moment = sum(normals[1:], normals[0]), np.sum(moments, axis=0)
    information = normal.diagonal()
    unit = information[information > 0].mean() if information.any() else 1.0

    def solve(normal: sparse.csr_array, moment: Floats, strength: float) -> Floats:
        damped = normal + strength * unit * sparse.eye_array(len(moment), format="csr")
        scale = sparse.diags_array(1 / damped.diagonal())
        return np.asarray(cg(damped, moment, rtol=1e-6, M=scale)[0])

    def change_of_error(strength: float) -> float:
        """Return how much the squared error of left-out patterns grows by the correction."""
        total = 0.0
        for left_out, its_moment in zip(normals, moments, strict=True):
            heights = solve(normal - left_out, moment - its_moment, strength)
            total += float(heights @ (left_out @ heights) - 2 * heights @ its_moment)
        return total

    changes = {strength: change_of_error(strength) for strength in STRENGTHS}
    best = min(changes, key=changes.__getitem__)
    return solve(normal, moment, best) if changes[best] < 0 else np.zeros_like(moment)
