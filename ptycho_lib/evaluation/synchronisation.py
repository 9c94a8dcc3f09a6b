"""Find each patch's global phase from its overlaps with the other patches.

A diffraction pattern does not change if its object patch is multiplied by exp(iθ). Every reconstructed patch
therefore carries an arbitrary phase; averaging patches as they are loses what they disagree on, most of all
the low frequencies of the object. Neighbouring patches show the same pixels, which tells their relative phase.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh, spsolve

_SAMPLES_PER_SIDE = 16
"""Each patch is compared on about 16 x 16 lattice points: enough for one phase, whatever its size."""


def synchronise_phases(
    patches: NDArray[np.complexfloating],
    positions_px: NDArray[np.float64],
    *,
    weights: NDArray[np.floating] | None = None,
    prior: float = 0.02,
) -> NDArray[np.float64]:
    """Estimate the phases θ_k that make exp(iθ_k)·patch_k agree where patches overlap.

    Angular synchronisation: the leading eigenvector of the degree-normalised Hermitian matrix of overlap
    products c_kl = Σ w q_k q_l* starts the search [1]_; weighted least squares on the graph of overlaps
    finishes it, with every phase drawn weakly towards zero. The pull decides what overlaps cannot: the phase between
    groups of patches that do not touch, and slow drifts across the scan. If the result agrees no better
    than the patches as they are, the phases are zero.

    Parameters
    ----------
    patches : (n, M, M) complex
    positions_px : (n, 2) float
        Patch centres (row, column); the convention of `physics.diffraction.extract_patches`.
    weights : (M, M) float, optional
        Confidence in a patch's pixels, such as the probe's intensity; uniform by default.
    prior : float
        Strength of the pull towards zero relative to the mean overlap of a patch.

    Returns
    -------
    (n,) float64
        Phases in rad, in (-π, π]; their weighted circular mean is zero.

    References
    ----------
    .. [1] A. Singer, "Angular synchronization by eigenvectors and semidefinite programming", Appl. Comput.
       Harmon. Anal. 30, 20 (2011).
    """
    overlap = overlap_products(patches, positions_px, weights)
    strength = abs(overlap)
    degree = np.asarray(strength.sum(1)).ravel()
    if not np.isfinite(degree).all() or not degree.any():
        return np.zeros(len(patches))
    start = _eigenvector_phases(overlap, degree)
    phases = [
        _least_squares(overlap, guess, prior * degree.mean()) for guess in (np.zeros(len(patches)), start)
    ]
    best = max([np.zeros(len(patches)), *phases], key=lambda theta: agreement(overlap, theta))
    return best


def overlap_products(
    patches: NDArray[np.complexfloating],
    positions_px: NDArray[np.float64],
    weights: NDArray[np.floating] | None = None,
) -> sparse.csr_array:
    """Return the sparse Hermitian (n, n) matrix c_kl = Σ w_k w_l q_k q_l* over common lattice points; zero diagonal.

    Every patch is read by bilinear interpolation at the points of one lattice, common to all patches, that
    is coarse enough to leave about 16 x 16 points of each.
    """
    count, size = len(patches), patches.shape[-1]
    step = max(1, size // _SAMPLES_PER_SIDE)
    corner = np.asarray(positions_px, float) - size / 2
    first = np.ceil(corner / step)  # first lattice index inside each patch
    local = first * step - corner  # its place in the patch, px
    points = (size - 1 - step) // step + 1  # as many as fit every patch, whatever its fraction
    base = np.floor(local).astype(int)
    down, right = ((local - base)[:, axis, None, None].astype(np.float32) for axis in (0, 1))
    index = np.arange(points) * step
    rows, columns = base[:, :1] + index, base[:, 1:] + index
    which = np.arange(count)[:, None, None]

    def read(image: NDArray) -> NDArray:
        owner = which if image.ndim == 3 else 0
        image = image if image.ndim == 3 else image[None]

        def at(i: int, j: int) -> NDArray:
            return image[
                owner,
                np.minimum(rows + i, size - 1)[:, :, None],
                np.minimum(columns + j, size - 1)[:, None, :],
            ]

        upper = (1 - right) * at(0, 0) + right * at(0, 1)
        return (1 - down) * upper + down * ((1 - right) * at(1, 0) + right * at(1, 1))

    values = read(np.asarray(patches))
    if weights is not None:
        values = values * read(np.asarray(weights, np.float32))

    lattice = (first[:, :, None] + np.arange(points)).astype(np.int64)  # (n, 2, points)
    lattice -= lattice.min(axis=(0, 2), keepdims=True)
    width = int(lattice[:, 1].max()) + 1
    place = (lattice[:, 0, :, None] * width + lattice[:, 1, None, :]).reshape(count, -1)
    pointer = np.arange(0, place.size + 1, place.shape[1])
    on_lattice = sparse.csr_array(
        (values.reshape(-1), place.reshape(-1), pointer), shape=(count, int(place.max()) + 1)
    )
    products = (on_lattice @ on_lattice.conj().T.tocsr()).tocsr()
    products.setdiag(0)
    products.eliminate_zeros()
    return products


def agreement(overlap: sparse.csr_array, phases: NDArray[np.float64]) -> float:
    """Return Σ Re(e^{iθ_k} c_kl e^{-iθ_l}) / Σ|c_kl|: 1 if all overlaps agree, about 0 for random phases."""
    rotor = np.exp(-1j * phases)
    return float(np.vdot(rotor, overlap @ rotor).real / abs(overlap).sum())


def _eigenvector_phases(overlap: sparse.csr_array, degree: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return phases from the leading eigenvector of D^(-1/2) C D^(-1/2), for each connected group of patches."""
    phases = np.zeros(len(degree))
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    normalised = (scale @ overlap @ scale).tocsr()
    groups, label = connected_components(overlap, directed=False)
    for group in range(groups):
        member = np.flatnonzero(label == group)
        if member.size < 2:
            continue
        part = normalised[member][:, member]
        if member.size < 50:
            vector = np.linalg.eigh(part.toarray())[1][:, -1]
        else:
            vector = eigsh(part, k=1, which="LA", v0=np.ones(member.size, part.dtype), tol=1e-4)[1][:, 0]
        # Eigenvector ~ exp(-iθ), up to a phase that is chosen to change the patches least.
        gauge = np.sum(degree[member] * vector / np.maximum(np.abs(vector), 1e-12))
        phases[member] = -np.angle(vector * np.conj(gauge))
    return phases


def _least_squares(
    overlap: sparse.csr_array, phases: NDArray[np.float64], pull: float, *, steps: int = 5
) -> NDArray[np.float64]:
    """Minimise Σ |c_kl|·(θ_k - θ_l + arg c_kl)² / 2 + pull·Σ θ_k² by Gauss-Newton on wrapped differences."""
    pairs = sparse.triu(overlap, 1).tocoo()
    strength = np.abs(pairs.data).astype(float)
    count = len(phases)
    degree = np.bincount(pairs.row, strength, count) + np.bincount(pairs.col, strength, count)
    links = sparse.coo_array((strength, (pairs.row, pairs.col)), shape=(count, count))
    normal = (sparse.diags_array(degree + pull) - links - links.T).tocsc()
    for _ in range(steps):
        residual = np.angle(pairs.data * np.exp(1j * (phases[pairs.row] - phases[pairs.col])))
        gradient = np.bincount(pairs.row, strength * residual, count) - np.bincount(
            pairs.col, strength * residual, count
        )
        change = spsolve(normal, -(gradient + pull * np.angle(np.exp(1j * phases))))
        phases = phases + change
        if np.abs(change).max() < 1e-4:
            break
    mean = np.angle(np.sum(degree * np.exp(1j * phases)))
    return np.angle(np.exp(1j * (phases - mean)))
