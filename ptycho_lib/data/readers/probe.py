"""Probe and object of a RawScan, in the shapes of the contract: incoherent modes (m, N, N), one slice (H, W)."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.probes import mode_shares, orthogonal_modes, resize

MOST_MODES = 16
"""More arrays than this, one for each pattern, are no modes."""
DARK = 1e-6
"""A mode with a smaller share of the light is left out."""
ORTHOGONAL = 1e-3
"""Modes are orthogonal if their normalised scalar products are smaller."""


def single_slice(raw: RawScan) -> tuple[Array, tuple[str, ...]]:
    """Return the object (H, W) of a scan, and lines for the history.

    Raises
    ------
    InputError
        If it has several slices or modes, or is not complex.
    """
    obj = np.asarray(raw.obj)
    notes: tuple[str, ...] = ()
    if obj.ndim > 2 and np.prod(obj.shape[:-2]) != 1:
        fix = "Give the reconstruction of one thin slice (or the product of the slices)."
        raise InputError(Problem(raw.source, "object", f"shape {obj.shape}", "one slice (H, W)", fix))
    if obj.ndim > 2:
        notes = (f"object: {obj.shape} -> its only slice",)
    if obj.ndim < 2 or obj.dtype.kind != "c":
        fix = "Give amplitude and phase as one complex array (H, W)."
        raise InputError(Problem(raw.source, "object", f"shape {obj.shape} of {obj.dtype}", "complex (H, W)", fix))
    return obj.reshape(obj.shape[-2:]), notes


def incoherent_modes(raw: RawScan, count: int) -> tuple[Array, tuple[str, ...]]:
    """Return the probe of a scan as the contract has it, and lines for the history.

    Parameters
    ----------
    raw : RawScan
        Its probe is (N, N), (m, N, N), (N, N, m), or has leading axes as tike, ptychodus and Pty-chi write
        them: (1, 1, m, N, N), or (components, m, N, N) with orthogonal probe relaxation, whose first
        component is the probe of all patterns.
    count : int
        Number of patterns.

    Returns
    -------
    probe : (N, N) or (m, N, N) complex64 array
        Modes are orthogonal, strongest first.
    notes : tuple of str

    Raises
    ------
    InputError
        If it is not complex, or holds a probe for each pattern.
    """
    probe = np.asarray(raw.probe)
    if probe.ndim < 2 or probe.dtype.kind != "c" or 0 in probe.shape:
        fix = "Give amplitude and phase as one complex array (N, N), or modes (m, N, N)."
        raise InputError(Problem(raw.source, "probe", f"shape {probe.shape} of {probe.dtype}", "complex (N, N)", fix))
    notes = []
    if probe.ndim == 3 and probe.shape[0] == probe.shape[1] and probe.shape[2] < min(MOST_MODES + 1, probe.shape[0]):
        notes.append(f"probe: {probe.shape} -> modes first")
        probe = np.moveaxis(probe, -1, 0)
    while probe.ndim > 3:
        if probe.shape[0] > 1:
            notes.append(f"probe: the first of {probe.shape[0]} components of a probe that varies during the scan")
        probe = probe[0]
    modes = probe.reshape(-1, *probe.shape[-2:])
    if len(modes) > MOST_MODES and len(modes) == count:
        fix = "Give the probe, or the incoherent modes, that all patterns share; `--probe-file` takes another file's."
        raise InputError(
            Problem(raw.source, "probe", f"shape {probe.shape}, one for each pattern", "(N, N) or (m, N, N)", fix)
        )
    if len(modes) == 1:
        return modes[0].astype(np.complex64), tuple(notes)
    flat = modes.reshape(len(modes), -1).astype(np.complex128)
    norm = np.linalg.norm(flat, axis=1)
    products = np.abs(flat.conj() @ flat.T) / np.maximum(np.outer(norm, norm), 1e-300)
    mixed = bool((products - np.diag(np.diag(products)) > ORTHOGONAL).any()) and bool(np.isfinite(flat).all())
    modes = orthogonal_modes(modes) if mixed else modes
    shares = mode_shares(modes)
    order = np.argsort(-shares, kind="stable")
    kept = order[shares[order] > DARK] if np.isfinite(shares).all() and shares.any() else order[:1]
    words = ", ".join(f"{share:.0%}" for share in shares[kept])
    how = "mixed by a unitary matrix, made orthogonal: " if mixed else ""
    notes.append(f"probe: {len(kept)} incoherent modes, {how}{words} of the light")
    modes = modes[kept].astype(np.complex64)
    return (modes if len(modes) > 1 else modes[0]), tuple(notes)


def fitted(probe: Array, size: int) -> tuple[Array, tuple[str, ...]]:
    """Return the probe cropped or zero-padded to the size of a pattern, and lines for the history.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) array
        On object pixels of the same size.
    size : int

    Returns
    -------
    probe : (size, size) or (m, size, size) array
    notes : tuple of str
    """
    old = probe.shape[-1]
    changed = resize(probe, size)
    if size > old:
        how = "padded with zeros"
    else:
        lost = 1 - float(np.sum(np.abs(changed) ** 2) / max(float(np.sum(np.abs(probe) ** 2)), 1e-300))
        how = f"cut; {lost:.1%} of its light lay outside"
    return changed, (f"probe: {old}×{old} -> {size}×{size} pixels of the same size, {how}",)
