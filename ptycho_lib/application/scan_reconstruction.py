"""The reconstruction of a new scan: the object, how far it can be trusted, and what it took. No truth is needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.reprojection import reprojection, spread_indices
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.evaluation.reconstruction import Reconstruction
from ptycho_lib.io.npz import write_npz
from ptycho_lib.resource_usage import Usage

SAMPLE = 512
"""Patterns, evenly over the scan, from which the one number of the residual is taken."""


@dataclass(frozen=True, eq=False)
class ScanReconstruction:
    """An object that a trained network reconstructed from patterns, positions and probe.

    Parameters
    ----------
    obj : (H, W) complex64
        As stitched: its global phase is free; zero where no patch lies.
    mask : (H, W) bool
        Where the scan brought enough light (`evaluation.comparison.comparison_mask`).
    spread : (H, W) float32
        Standard deviation over the overlapping patches, units of the object.
    residual : (H, W) float32
        Share of the measured amplitude that object and probe do not explain, for each pixel
        (`evaluation.reconstruction.residual_map`).
    positions_px : (n, 2) float64
        Patch centres (row, column) on the grid of the object.
    probe : (m, N, N) complex64
        The probe in use.
    pixel_size_m : float or None
    total_residual : float
        Σ|x − Â| / Σx of `SAMPLE` patterns spread over the scan (`data.reprojection.Residual`).
    flat_residual : float
        The same of a flat object: what the probe alone explains.
    radius : float or None
        Errors of the run's test set were below `radius`·spread at 68 % of its pixels; None where that is unknown.
    usage : Usage
        Time and memory of prediction and stitching.
    notes : tuple of str
        What a reader must know.
    """

    obj: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    spread: NDArray[np.float32]
    residual: NDArray[np.float32]
    positions_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    pixel_size_m: float | None
    total_residual: float
    flat_residual: float
    radius: float | None
    usage: Usage
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows, columns = self.obj.shape
        residuals = f"residual {self.total_residual:.3f}, of a flat object {self.flat_residual:.3f}"
        return f"ScanReconstruction({rows}×{columns} pixels from {len(self.positions_px)} patterns, {residuals})"

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """Return the radius about each value that held 68 % of the errors on known data; NaN if not calibrated."""
        return np.float32(np.nan if self.radius is None else self.radius) * self.spread

    def facts(self) -> dict[str, Any]:
        """Return the numbers of the result as plain values, for `reconstruction.json`."""
        return {
            "n_patterns": len(self.positions_px),
            "shape": list(self.obj.shape),
            "pixel_size_m": self.pixel_size_m,
            "residual": round(self.total_residual, 5),
            "residual_of_a_flat_object": round(self.flat_residual, 5),
            "median_spread": _median(self.spread, self.mask),
            "error_radius_in_spreads": None if self.radius is None else round(self.radius, 3),
            "patterns_per_second": round(len(self.positions_px) / max(self.usage.seconds, 1e-9), 1),
            **{name: round(value, 3) if name == "seconds" else value for name, value in asdict(self.usage).items()},
            "notes": list(self.notes),
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write object, mask, spread, residual, positions and probe to an npz.

        Raises
        ------
        InputError
            If the file exists (without `overwrite`), or cannot be written.
        """
        arrays: dict[str, Any] = {
            "object": self.obj,
            "mask": self.mask,
            "spread": self.spread,
            "residual": self.residual,
            "uncertainty": self.uncertainty,
            "positions_px": self.positions_px,
            "probe": self.probe,
            "pixel_size_m": np.float64(self.pixel_size_m or np.nan),
        }
        return write_npz(path, arrays, overwrite=overwrite)


def summarised(
    result: Reconstruction, dataset: PtychoDataset, *, radius: float | None, notes: tuple[str, ...]
) -> ScanReconstruction:
    """Turn a stitched object into the result for a scan without a truth.

    Parameters
    ----------
    result : Reconstruction
        Its truth is not looked at.
    dataset : PtychoDataset
        The scan.
    radius, notes
        See `ScanReconstruction`.

    Raises
    ------
    InputError
        If no pixel was reconstructed.
    """
    known = result.obj != 0
    if not known.any() or not np.isfinite(result.obj).all():
        found = "no pixel" if not known.any() else "values that are not finite"
        fix = "Check the scan with `ptycho-study check`."
        raise InputError(Problem(dataset.source or "scan", "object", found, "a reconstructed object", fix))
    filled = np.where(known, result.obj, result.obj[known].mean()).astype(np.complex64)
    some = spread_indices(len(dataset), SAMPLE)
    explained = [reprojection(replace(dataset, obj=obj), some).value for obj in (filled, np.ones_like(filled))]
    return ScanReconstruction(
        obj=result.obj,
        mask=result.mask,
        spread=result.spread,
        residual=result.residual,
        positions_px=dataset.positions_px,
        probe=dataset.probe_modes,
        pixel_size_m=dataset.pixel_size_m,
        total_residual=explained[0],
        flat_residual=explained[1],
        radius=radius,
        usage=result.usage or Usage(0.0, 0, memory_of_step=False),
        notes=notes,
    )


def _median(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float | None:
    finite = values[mask & np.isfinite(values)]
    return round(float(np.median(finite)), 6) if finite.size else None
