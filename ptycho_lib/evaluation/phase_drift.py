"""Remove the slow drift of a stitched phase that the measured patterns contradict.

Patches can agree wherever they overlap although the phase is wrong: small tilts that neighbouring patches
have in common add up to a drift over the scan, which no overlap shows. The measurement does. A phase ramp
across an exit wave shifts its diffraction pattern (Waddell & Chapman, Optik 54, 83, 1979), so the shift of the
measured pattern against that of the stitched object gives the phase slope that the object lacks there. The
slopes of all patterns are combined to one smooth phase. How far they are trusted is decided by
cross-validation over regions that share no illuminated pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import BSpline
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.io.lazy_stack import blocks
from ptycho_lib.physics.diffraction import exit_waves, extract_patches, far_field
from ptycho_lib.physics.probes import significant_modes, total_intensity
from ptycho_lib.physics.scan import probe_diameter

Floats = NDArray[np.float64]

KNOTS_PER_PATCH = 4
"""Knots of the smooth phase along the edge of a pattern's patch: the drift is slower than a patch."""

LEAST_LIGHT = 0.999
"""Share of its light that a pattern must have in the stitched region; light beyond it shifts the pattern, too."""

CELLS_PER_PATCH = 2
"""Patterns are left out by square cells, at most so many along a patch."""

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Ridge penalties that are compared, relative to the mean information about a knot."""

FEWEST_PATTERNS = 10
"""Patterns below which nothing is corrected."""


def phase_drift_correction(
    obj: NDArray[np.complexfloating], known: NDArray[np.bool_], dataset: PtychoDataset
) -> NDArray[np.float32]:
    """Return the smooth phase (rad) to be added to an object so that it explains the measured patterns.

    The phase is a cubic spline. Its mean slopes within the illumination of each pattern are fitted to
    `missing_slopes` by ridge regression. Of the `STRENGTHS` of the ridge, the one is taken that predicts
    left-out cells of the scan best; no phase is added if none predicts anything.

    Parameters
    ----------
    obj : (H, W) complex
    known : (H, W) bool
        Where `obj` holds a value.
    dataset : PtychoDataset
        Measured patterns, positions, probe modes and detector mask.

    Returns
    -------
    (H, W) float32
        Zero if the measurement gives no reason for a change.

    Notes
    -----
    Slopes of two patterns that illuminate the same pixels share the errors of the object there, which at low
    dose are larger than the drift. A cross-validation that predicts a pattern from such neighbours finds these
    errors predictable and takes them for a drift. The fit that predicts a cell therefore leaves out, besides
    the cell, all patterns nearer to one of the cell than a probe diameter (buffered blocks [1]_).

    References
    ----------
    .. [1] D. R. Roberts et al., "Cross-validation strategies for data with temporal, spatial, hierarchical,
       or phylogenetic structure", Ecography 40, 913 (2017).
    """
    nothing = np.zeros(obj.shape, np.float32)
    if not known.any() or not np.isfinite(obj[known]).all():
        return nothing
    knots = _Knots(obj.shape, dataset.patch_size)
    slopes, matrices, positions = _slopes_of_scan(obj, known, dataset, knots)
    if len(positions) < FEWEST_PATTERNS:
        return nothing
    slopes -= slopes.mean(axis=0)  # a slope that all patterns share is an offset of the detector's centre
    folds = _buffered_folds(positions, dataset.patch_size, probe_diameter(dataset.probe_modes))
    matrix = sparse.vstack(matrices, format="csr")
    return knots.phase(_ridge(matrix, slopes.T.ravel(), [fold.on_both_axes() for fold in folds]))


def missing_slopes(
    waves: NDArray[np.complex64], measured: NDArray[np.floating], mask: NDArray[np.bool_] | None = None
) -> Floats:
    """Return the phase slopes (rad/px) that exit waves lack to explain measured amplitudes best.

    One Gauss-Newton step of least squares in the amplitude, for the two slopes and the scale of each pattern:
    in amplitudes, unlike in intensities, no pixel outweighs the others, and photon noise is alike in all.

    Parameters
    ----------
    waves : (n, m, N, N) complex
        Of m mutually incoherent probe modes; (n, N, N) for one mode.
    measured : (n, N, N) float
        Amplitudes, any scale, DC at pixel N/2.
    mask : (N, N) bool, optional
        Detector pixels that were measured; all by default.

    Returns
    -------
    (n, 2) float64
        Along rows and columns.
    """
    waves = waves[:, None] if waves.ndim == 3 else waves
    field = far_field(waves)
    predicted = np.sqrt(np.sum(field.real**2 + field.imag**2, axis=1))
    direction = field.conj() / np.maximum(predicted, 1e-12 * predicted.max())[:, None]
    return amplitude_step(np.stack(phase_ramp_changes(waves, direction), axis=1), predicted, measured, mask)[0]


def phase_ramp_changes(
    waves: NDArray[np.complexfloating], direction: NDArray[np.complexfloating]
) -> list[NDArray[np.floating]]:
    """Return how amplitudes (n, N, N) change with a phase slope along rows and along columns, per rad/px.

    Parameters
    ----------
    waves : (n, m, N, N) complex
    direction : (n, m, N, N) complex
        Conjugate far fields over the amplitude of all modes.
    """
    size = waves.shape[-1]
    place = np.arange(size, dtype=np.float32) - size // 2
    # With the slope t a wave is ψ·exp(i·t·y): dA/dt = Σ_m Re(F(i·y·ψ_m)·conj(F ψ_m)) / A, A² = Σ_m |F ψ_m|².
    ramps = (place[:, None], place[None, :])
    return [-np.sum((far_field(waves * ramp) * direction).imag, axis=1) for ramp in ramps]


def amplitude_step(
    changes: NDArray[np.floating],
    predicted: NDArray[np.floating],
    measured: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Return a Gauss-Newton step of least squares in the amplitude, with a free scale of each pattern.

    Parameters
    ----------
    changes : (n, p, N, N) float
        Derivatives of the predicted amplitudes with p parameters.
    predicted, measured : (n, N, N) float
        Amplitudes; the measured ones on any scale.
    mask : (N, N) bool, optional
        Detector pixels that were measured; all by default.

    Returns
    -------
    step : (n, p) float64
    misfit : (n,) float64
        Squared error before the step, relative to the intensity.
    """
    count, free = changes.shape[:2]
    matrix = np.concatenate([changes, predicted[:, None]], axis=1)
    if mask is not None:
        matrix, measured = matrix * mask, measured * mask
    predicted = matrix[:, -1]
    scale = (predicted**2).sum(axis=(1, 2)) / (measured * predicted).sum(axis=(1, 2))
    error = (measured * scale[:, None, None] - predicted).reshape(count, -1, 1)
    matrix = matrix.reshape(count, free + 1, -1)
    normal = (matrix @ matrix.transpose(0, 2, 1)).astype(np.float64)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(free + 1)
    step = np.linalg.solve(normal, (matrix @ error).astype(np.float64))[:, :free, 0]
    misfit = np.square(error[..., 0], dtype=np.float64).sum(axis=1) / np.square(predicted, dtype=np.float64).sum(
        axis=(1, 2)
    )
    return step, misfit


def _slopes_of_scan(
    obj: NDArray[np.complexfloating], known: NDArray[np.bool_], dataset: PtychoDataset, knots: _Knots
) -> tuple[Floats, tuple[sparse.csr_array, sparse.csr_array], Floats]:
    """Return missing slopes (n, 2), matrices (n, knots) for rows and columns, and positions (n, 2) that count."""
    filled = np.where(known, obj, obj[known].mean()).astype(np.complex64)
    modes = significant_modes(dataset.probe)
    light = total_intensity(modes).astype(np.float32)
    slopes, down, right, places = [np.zeros((0, 2))], [], [], [np.zeros((0, 2))]
    for part, measured in blocks(dataset.diffraction):
        seen = extract_patches(known.astype(np.float32), dataset.positions_px[part], dataset.patch_size)
        valued = measured if dataset.mask is None else measured * dataset.mask
        usable = ((seen * light).sum(axis=(1, 2)) >= LEAST_LIGHT * light.sum()) & valued.any(axis=(1, 2))
        positions, amplitudes = dataset.positions_px[part][usable], np.asarray(measured)[usable]
        for chunk, waves in exit_waves(filled, modes, positions):
            lit = waves.any(axis=(1, 2, 3))
            if lit.any():
                slopes.append(missing_slopes(waves[lit], amplitudes[chunk][lit], dataset.mask))
                rows = knots.mean_slopes(waves[lit], positions[chunk][lit])
                down.append(rows[0])
                right.append(rows[1])
                places.append(positions[chunk][lit])
    none = sparse.csr_array((0, knots.number))
    matrices = (sparse.vstack([none, *down], format="csr"), sparse.vstack([none, *right], format="csr"))
    return np.concatenate(slopes), matrices, np.concatenate(places)


@dataclass(frozen=True, eq=False)
class _Fold:
    """Which patterns (n,) are predicted, and which the prediction must not use."""

    predicted: NDArray[np.bool_]
    excluded: NDArray[np.bool_]

    def on_both_axes(self) -> _Fold:
        """Return the same for the rows of both slopes of each pattern, (2 n,)."""
        return _Fold(np.tile(self.predicted, 2), np.tile(self.excluded, 2))


def _buffered_folds(positions_px: Floats, patch_size: int, diameter_px: float) -> list[_Fold]:
    """Return nine folds of square cells; a fold's fit excludes all patterns within a diameter of its cells."""
    # Cells of one fold are two cells apart; wider than the buffer, so that patterns remain between them.
    cell_px = max(patch_size / CELLS_PER_PATCH, 1.25 * diameter_px)
    cells = np.floor((positions_px - positions_px.min(axis=0)) / cell_px).astype(int) % 3
    number = cells @ [3, 1]
    folds = []
    for fold in np.unique(number):
        predicted = number == fold
        distance, _ = cKDTree(positions_px[predicted]).query(positions_px)
        folds.append(_Fold(predicted, np.asarray(distance <= diameter_px)))
    return folds


class _Knots:
    """A phase over an object as a cubic spline on a square lattice of knots.

    Parameters
    ----------
    shape : (int, int)
        (H, W) of the object.
    patch_size : int
        N, px.
    """

    def __init__(self, shape: tuple[int, ...], patch_size: int) -> None:
        self.shape, self.step = shape, max(1, patch_size // KNOTS_PER_PATCH)
        # B-spline j is centred at pixel (j - 1)·step: one before the first pixel, two after the last.
        self.counts = tuple((length - 1) // self.step + 4 for length in shape)
        self.number = int(np.prod(self.counts))

    def phase(self, heights: Floats) -> NDArray[np.float32]:
        """Return the phase (H, W) of the knots' heights."""
        rows, columns = (
            BSpline.design_matrix(np.arange(length) / self.step, _lattice(count), 3)
            for length, count in zip(self.shape, self.counts, strict=True)
        )
        return np.asarray(rows @ (heights.reshape(self.counts) @ columns.T), np.float32)

    def mean_slopes(
        self, waves: NDArray[np.complex64], positions_px: Floats
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the matrices (n, knots) from heights to slopes in rad/px, by rows and by columns.

        The slope of a pattern is the mean over its exit waves (n, m, N, N), weighted with the intensity.
        """
        count, size = len(waves), waves.shape[-1]
        intensity = np.sum(waves.real**2 + waves.imag**2, axis=1)
        intensity /= intensity.sum(axis=(1, 2), keepdims=True)
        corner = (positions_px - size / 2) / self.step  # in knots
        first = np.floor(corner).astype(np.int64)
        value, slope = zip(
            *(self._local(corner[:, axis], first[:, axis], size, self.counts[axis]) for axis in (0, 1)), strict=True
        )
        touched = value[0].shape[-1]
        number = first[..., None] + np.arange(touched)
        inside = number < np.array(self.counts)[:, None]
        both = inside[:, 0, :, None] & inside[:, 1, None, :]
        place = np.where(both, number[:, 0, :, None] * self.counts[1] + number[:, 1, None, :], 0)
        ends = np.arange(0, place.size + 1, touched**2)
        matrices = []
        for down, right in ((slope[0], value[1]), (value[0], slope[1])):
            mean = down.transpose(0, 2, 1) @ intensity @ right * both
            parts = (mean.ravel(), place.ravel().astype(np.int32), ends)
            matrices.append(sparse.csr_array(parts, shape=(count, self.number)))
        return matrices[0], matrices[1]

    def _local(
        self, corner: Floats, first: NDArray[np.int64], size: int, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return values and slopes (1/px) of the B-splines from `first` on at a patch's pixels, (n, N, touched)."""
        pixels = (corner[:, None] + np.arange(size) / self.step).ravel()
        touched = -(-(size - 1) // self.step) + 4
        local = []
        for degree in (3, 2):
            matrix = BSpline.design_matrix(pixels, _lattice(count), degree)
            shape = (len(corner), size, degree + 1)
            found = np.zeros((len(corner), size, touched + 1), np.float32)
            index = matrix.indices.reshape(shape) - first[:, None, None]
            np.put_along_axis(found, index, matrix.data.reshape(shape), axis=2)
            local.append(found)
        cubic, quadratic = local
        # On a uniform lattice the derivative of cubic j is the difference of quadratics j and j + 1.
        return cubic[..., :-1], (quadratic[..., :-1] - quadratic[..., 1:]) / np.float32(self.step)


def _lattice(count: int) -> Floats:
    """Return the knots of `count` cubic B-splines on whole numbers, the second centred at zero."""
    return np.arange(-3.0, count + 1.0, dtype=np.float64)


def _ridge(matrix: sparse.csr_array, wanted: Floats, folds: list[_Fold]) -> Floats:
    """Solve matrix·heights ≈ wanted by ridge regression; zeros if that predicts no fold from the others."""

    def equations(rows: NDArray[np.bool_]) -> tuple[sparse.csr_array, Floats]:
        chosen = matrix[rows].astype(np.float64)
        return (chosen.T @ chosen).tocsr(), np.asarray(chosen.T @ wanted[rows])

    normal, moment = equations(np.ones(len(wanted), bool))
    parts = [(equations(~fold.excluded), equations(fold.predicted)) for fold in folds]
    information = normal.diagonal()
    unit = information[information > 0].mean() if information.any() else 1.0

    def solve(normal: sparse.csr_array, moment: Floats, strength: float) -> Floats:
        damped = normal + strength * unit * sparse.eye_array(len(moment), format="csr")
        scale = sparse.diags_array(1 / damped.diagonal())
        return np.asarray(cg(damped, moment, rtol=1e-6, M=scale)[0], np.float64)

    def change_of_error(strength: float) -> float:
        """Return how much the squared error of left-out patterns grows by the correction."""
        total = 0.0
        for fitted, (left_out, its_moment) in parts:
            heights = solve(*fitted, strength)
            total += float(heights @ (left_out @ heights) - 2 * heights @ its_moment)
        return total

    changes = {strength: change_of_error(strength) for strength in STRENGTHS}
    best = min(changes, key=changes.__getitem__)
    return solve(normal, moment, best) if changes[best] < 0 else np.zeros(len(moment))
