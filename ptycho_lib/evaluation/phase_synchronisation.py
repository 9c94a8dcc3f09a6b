"""Estimate the global phase of each patch from its overlaps with other patches.

A diffraction pattern does not change if its object patch is multiplied by exp(iθ). Every reconstructed patch
therefore has an arbitrary phase, and the plain mean of patches loses what they disagree on, above all the low
frequencies of the object. Neighbours show the same pixels, which gives their relative phase.

With relative phases alone, small errors add up to a drift across the scan. The phases are therefore also drawn
towards those of the patches as predicted, with a strength that follows from the patches (`_pull`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, cg, eigsh
from scipy.spatial import cKDTree

from ptycho_lib.io.lazy_stack import blocks, release

Floats = NDArray[np.float64]

_SAMPLES_PER_SIDE = 16
"""A patch is compared on about 16 x 16 lattice points: enough for one phase, whatever its size."""

_MOST_PAIRS = 4_000_000
"""Pairs of patches, counted both ways, whose overlaps are kept: about 40 for each of 100 000 patches."""

_BLOCK = 1024
"""Patches handled at a time."""

_NEGLIGIBLE_RAD = 1e-3
"""Phase errors of this size do not matter; keeps the ratio of error to signal finite."""


def synchronise_phases(
    patches: NDArray[np.complexfloating],
    positions_px: Floats,
    *,
    weights: NDArray[np.floating] | None = None,
    pull: float | None = None,
) -> Floats:
    """Estimate the phases θ_k that make exp(iθ_k)·patch_k agree where patches overlap.

    Angular synchronisation [1]_: the leading eigenvector of the degree-normalised Hermitian matrix of overlap
    products c_kl = Σ w_k w_l q_k q_l* gives the start; weighted least squares on the graph of overlaps, with
    each phase drawn towards zero, gives the result. The strength of this pull follows from the patches: it is
    weak if they disagree in their phases alone, and strong if they disagree in other ways, too.

    Parameters
    ----------
    patches : (n, M, M) complex
    positions_px : (n, 2) float
        Patch centres (row, column); the convention of `physics.diffraction.extract_patches`.
    weights : (M, M) float, optional
        Confidence in a patch's pixels, such as the probe's intensity; uniform by default.
    pull : float, optional
        Strength of the pull towards zero, in units of a patch's mean overlap; estimated by default.

    Returns
    -------
    (n,) float64
        Phases in rad, in (-π, π], with zero weighted circular mean. Zero where patches touch no other, or
        are not finite.

    References
    ----------
    .. [1] A. Singer, "Angular synchronization by eigenvectors and semidefinite programming", Appl. Comput.
       Harmon. Anal. 30, 20 (2011).
    """
    nothing = np.zeros(len(patches))
    if not all(np.isfinite(block).all() for _, block in blocks(patches)):
        return nothing
    overlap = overlap_products(patches, positions_px, weights)
    degree = np.asarray(abs(overlap).sum(axis=1)).ravel()
    if not degree.any():
        return nothing
    free = _least_squares(overlap, _eigenvector_phases(overlap, degree), 1e-6 * degree.mean())
    strength = (_pull(overlap, free) if pull is None else pull) * degree.mean()

    def cost(phases: Floats) -> float:
        disagreement = degree.sum() / 2 * (1 - agreement(overlap, phases))
        return float(disagreement + strength * np.sum(1 - np.cos(phases)))

    # Angles have more than one minimum: the pull may lead a drifted start the wrong way round.
    return min(nothing, *(_least_squares(overlap, start, strength) for start in (free, nothing)), key=cost)


def overlap_products(
    patches: NDArray[np.complexfloating], positions_px: Floats, weights: NDArray[np.floating] | None = None
) -> sparse.csr_array:
    """Return the sparse Hermitian (n, n) matrix c_kl = Σ w_k w_l q_k q_l*, with an empty diagonal.

    The sum runs over the points of one coarse lattice, common to all patches, at which every patch is
    read by bilinear interpolation. Of more than `_MOST_PAIRS` pairs only the nearest are kept.
    """
    count, positions = len(patches), np.asarray(positions_px, float)
    on_lattice = _on_lattice(patches, positions, weights)
    adjoint = on_lattice.conj().T.tocsr()
    reach = _reach_px(positions, patches.shape[-1])
    found = []
    for start in range(0, count, _BLOCK):  # bounds the memory of the products that are not kept
        products = (on_lattice[start : start + _BLOCK] @ adjoint).tocoo()
        row = products.row + start
        near = np.abs(positions[row] - positions[products.col]).max(axis=1) < reach
        pairs = (row != products.col) & (products.data != 0) & near
        found.append((products.data[pairs].astype(np.complex128), row[pairs], products.col[pairs]))
    data, row, column = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sparse.csr_array((data, (row, column)), shape=(count, count))


def agreement(overlap: sparse.csr_array, phases: Floats) -> float:
    """Return Σ Re(exp(iθ_k) c_kl exp(-iθ_l)) / Σ|c_kl|: 1 if all overlaps agree, near 0 for random phases."""
    rotor = np.exp(-1j * phases)
    return float(np.vdot(rotor, overlap @ rotor).real / abs(overlap).sum())


def _on_lattice(
    patches: NDArray[np.complexfloating], positions_px: Floats, weights: NDArray[np.floating] | None
) -> sparse.csr_array:
    """Return the patches, weighted, at the points of a lattice that all share: sparse (n, points)."""
    count, size = len(patches), patches.shape[-1]
    step = max(1, size // _SAMPLES_PER_SIDE)
    points = (size - 1 - step) // step + 1  # as many as fit every patch, whatever its fraction
    corner = positions_px - size / 2
    first = np.ceil(corner / step).astype(np.int64)  # first lattice line inside each patch, (n, 2)
    local = (first * step - corner)[:, :, None] + np.arange(points) * step  # the lines' places in it, px
    values = np.empty((count, points, points), np.result_type(patches.dtype, np.float32))
    for start in range(0, count, _BLOCK):
        part = np.s_[start : start + _BLOCK]
        values[part] = _bilinear(np.asarray(patches[part]), local[part])
        if weights is not None:
            window = np.broadcast_to(np.asarray(weights, np.float32), patches[part].shape)
            values[part] *= _bilinear(window, local[part])
        release(patches)

    line = (first[:, :, None] + np.arange(points)).astype(np.int32)  # (n, 2, points)
    line -= line.min(axis=(0, 2), keepdims=True)
    place = line[:, 0, :, None] * (line[:, 1].max() + 1) + line[:, 1, None, :]
    ends = np.arange(0, place.size + 1, points**2)
    shape = (count, int(place.max()) + 1)
    return sparse.csr_array((values.ravel(), place.ravel(), ends), shape=shape)


def _reach_px(positions_px: Floats, size: int) -> float:
    """Return how far apart, along an axis, patches are still paired: as far as memory allows."""
    tree = cKDTree(positions_px)
    pairs = int(tree.count_neighbors(tree, size, p=np.inf))
    return np.inf if pairs <= _MOST_PAIRS else size * float(np.sqrt(_MOST_PAIRS / pairs))


def _bilinear(images: NDArray, local: Floats) -> NDArray:
    """Read each of n images (n, M, M) on its own grid of lines, local (n, 2, p); returns (n, p, p)."""
    low = np.floor(local).astype(int)
    share = (local - low).astype(np.float32)
    down, right = share[:, 0, :, None], share[:, 1, None, :]
    row, column = low[:, 0, :, None], low[:, 1, None, :]
    next_row, next_column = (np.minimum(index + 1, images.shape[-1] - 1) for index in (row, column))
    k = np.arange(len(images))[:, None, None]
    upper = (1 - right) * images[k, row, column] + right * images[k, row, next_column]
    lower = (1 - right) * images[k, next_row, column] + right * images[k, next_row, next_column]
    return (1 - down) * upper + down * lower


def _eigenvector_phases(overlap: sparse.csr_array, degree: Floats) -> Floats:
    """Return phases from the leading eigenvector of D^(-1/2) C D^(-1/2), group by connected group."""
    phases = np.zeros(len(degree))
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    normalised = (scale @ overlap @ scale).tocsr()
    groups, label = connected_components(abs(overlap), directed=False)
    for group in range(groups):
        member = np.flatnonzero(label == group)
        if member.size < 2:
            continue
        part = normalised[member][:, member]
        vector = _leading_eigenvector(part)
        # The eigenvector is exp(-iθ) up to one phase: choose the one that changes the patches least.
        gauge = np.sum(degree[member] * vector / np.maximum(np.abs(vector), 1e-12))
        phases[member] = -np.angle(vector * np.conj(gauge))
    return phases


def _leading_eigenvector(matrix: sparse.csr_array) -> NDArray[np.complex128]:
    """Return the eigenvector of the largest eigenvalue of a Hermitian matrix; ones if it is not found."""
    size = matrix.shape[0]
    if size < 50:
        return np.asarray(np.linalg.eigh(matrix.toarray())[1][:, -1])
    start = np.ones(size, complex)
    try:
        return np.asarray(eigsh(matrix, k=1, which="LA", v0=start, tol=1e-4)[1][:, 0])
    except ArpackNoConvergence:
        return start  # the phases as they are: least squares starts from there


def _pull(overlap: sparse.csr_array, phases: Floats) -> float:
    """Return the pull towards zero, in units of a patch's mean overlap.

    Phases of variance σ², compared with an error of variance τ², give pairs that differ by 2σ² + τ² before
    synchronisation and by τ² after it. Variances of angles are -2 ln of the mean cosine. With m pairs for n
    patches the residual is short of τ² by n - 1 degrees of freedom; a chain of patches leaves none, and the
    error is then taken to be as large as the differences.

    For independent errors a pull of about τ²/σ² would be best. But the errors of neighbouring overlaps are
    alike, and add up. The pull is (τ²/σ²)⁴/10: almost nothing where the overlaps agree, and almost all where
    they do not. On trained networks the two cases lie far apart (docs/methods/stitching.md).
    """
    before, after = (-2 * np.log(np.clip(agreement(overlap, p), 0.01, 1)) for p in (0 * phases, phases))
    patches, pairs = len(phases), overlap.nnz / 2
    error = after * pairs / max(pairs - patches + 1, 1) + _NEGLIGIBLE_RAD**2
    error += before / 2 * min(1, patches / pairs) ** 2
    signal = max((before - error) / 2, 1e-3 * error)
    return float(min((error / signal) ** 4 / 10, 1e3))


def _least_squares(overlap: sparse.csr_array, phases: Floats, pull: float, *, steps: int = 8) -> Floats:
    """Minimise Σ |c_kl|·(θ_k - θ_l + arg c_kl)² + pull·Σ θ_k², angles wrapped, by Gauss-Newton steps."""
    pairs = sparse.triu(overlap, 1).tocoo()
    strength, count = np.abs(pairs.data), len(phases)
    degree = np.asarray(abs(overlap).sum(axis=1)).ravel()
    normal = (sparse.diags_array(degree + pull) - abs(overlap)).tocsr()
    preconditioner = sparse.diags_array(1 / (degree + pull))
    for _ in range(steps):
        force = strength * np.angle(pairs.data * np.exp(1j * (phases[pairs.row] - phases[pairs.col])))
        gradient = np.bincount(pairs.row, force, count) - np.bincount(pairs.col, force, count)
        gradient += pull * np.angle(np.exp(1j * phases))
        change, _ = cg(normal, -gradient, rtol=1e-4, M=preconditioner)
        phases = phases + change
        if np.abs(change).max() < 1e-3:
            break
    mean = np.angle(np.sum((degree + pull) * np.exp(1j * phases)))
    return np.angle(np.exp(1j * (phases - mean)))
