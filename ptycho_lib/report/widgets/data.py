"""Views of datasets and simulated experiments for JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan
from ptycho_lib.report.figures import pattern_figure
from ptycho_lib.report.widgets.live_view import LiveView, choice, int_slider, show_controls, slider, switch

OBJECTS: dict[str, Callable[..., np.ndarray[Any, Any]]] = {
    "lines": objects.lines,
    "circuit": objects.manhattan,
    "cells": objects.blobs,
    "random field": objects.gaussian_random_field,
    "photograph": objects.natural_image,
}
DATA_FILES = (".npz", ".h5", ".hdf5", ".cxi", ".nxs", ".ptyd", ".ptyr")
N_POSITIONS = 144
SIZE = 64


class FilePicker:
    """A menu of data files; the last expression of a cell displays it.

    Parameters
    ----------
    chosen : path
        Chosen at first.
    folder : path
        Its files, at any depth, are offered, too.
    """

    def __init__(self, chosen: str | Path, *, folder: str | Path) -> None:
        root = Path(folder)
        found = sorted(path for path in root.rglob("*") if path.suffix in DATA_FILES and path.is_file())
        mine = Path(chosen).resolve()
        files = {str(path.relative_to(root)): path.resolve() for path in found if path.resolve() != mine}
        self.controls = {"file": choice("file", [(Path(chosen).name, mine), *files.items()])}

    @property
    def path(self) -> Path:
        """The file chosen."""
        return Path(self.controls["file"].value)

    def _ipython_display_(self) -> None:
        show_controls(*self.controls.values())


def pattern_view(dataset: PtychoDataset) -> LiveView:
    """Browse the patterns of a dataset, each with its position on the object."""
    last = len(dataset.positions_px) - 1

    def draw(index: int, logarithmic: bool, upper: float) -> Figure:
        return pattern_figure(dataset, index, logarithmic=logarithmic, upper_share=upper)

    def describe(index: int, logarithmic: bool, upper: float) -> str:
        row, column = dataset.positions_px[index]
        scale = "logarithmic" if logarithmic else "linear"
        return (
            f"Diffraction pattern {index} of {last + 1} on a {scale} scale up to {upper:.0%} of its maximum, "
            f"taken at row {row:.1f}, column {column:.1f}; scan over the object; probe amplitude and phase."
        )

    controls = {
        "index": int_slider("pattern", last // 2, 0, last),
        "logarithmic": switch("logarithmic scale", True),
        "upper": slider("upper colour limit", 1.0, 0.05, 1.0, 0.05),
    }
    return LiveView(draw, describe, controls)


def simulation_view(measured_probe: np.ndarray[Any, Any] | None = None, *, seed: int = 0) -> LiveView:
    """Change object, probe, dose and overlap of a simulated scan and see a diffraction pattern change.

    Parameters
    ----------
    measured_probe : (N, N) complex array, optional
        Offered beside the idealised disc.
    seed : int
        Of object and noise.
    """
    size = SIZE if measured_probe is None else measured_probe.shape[-1]
    kinds = ["disc"] if measured_probe is None else ["measured", "disc"]

    def draw(
        material: str, beam: str, diameter: float, defocus: float, photons: float, overlap: float, index: int
    ) -> Figure:
        disc = probes.disc(size, diameter, smoothing_px=1.5)
        probe = disc if beam == "disc" or measured_probe is None else measured_probe
        dataset = _simulated(material, _Key(probes.defocus(probe, defocus)), overlap, 10**photons, seed)
        return pattern_figure(dataset, index)

    def describe(
        material: str, beam: str, diameter: float, defocus: float, photons: float, overlap: float, index: int
    ) -> str:
        width = f"{diameter:.0f} px wide, " if beam == "disc" else ""
        return (
            f"Simulated pattern {index} of an object of {material}; {beam} probe, {width}defocus "
            f"{defocus:.0f} rad; {10**photons:.2g} photons in a pattern; linear overlap {overlap:.2f}."
        )

    controls = {
        "material": choice("object", list(OBJECTS)),
        "beam": choice("probe", kinds),
        "diameter": slider("diameter of the disc (px)", 24, 8, size * 0.7, 1),
        "defocus": slider("probe defocus (rad at the edge)", 0, -60, 60, 1),
        "photons": slider("photons per pattern, log₁₀", 6, 2, 9, 0.1),
        "overlap": slider("linear overlap", 0.7, 0.3, 0.9, 0.02),
        "index": int_slider("pattern", N_POSITIONS // 2 + 6, 0, N_POSITIONS - 1),
    }
    return LiveView(draw, describe, controls)


class _Key:
    """A probe as a hashable key: equal arrays are equal keys."""

    def __init__(self, probe: np.ndarray[Any, Any]) -> None:
        self.probe = probe
        self._bytes = probe.tobytes()

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._bytes == other._bytes


@lru_cache(maxsize=8)
def _simulated(material: str, key: _Key, overlap: float, photons: float, seed: int) -> PtychoDataset:
    """Simulate a raster scan of `N_POSITIONS`; patterns are computed when they are looked at."""
    step = scan.step_for_overlap(overlap, scan.probe_diameter(key.probe))
    rng = np.random.default_rng(seed)
    positions = scan.raster(N_POSITIONS, step, jitter_px=0.5, rng=rng)
    positions, shape = scan.frame(positions, key.probe.shape[-1])
    obj = objects.transmission(OBJECTS[material](shape, np.random.default_rng(seed)))
    return simulate_dataset(obj, key.probe, positions, detector=Detector(photons_per_pattern=photons), seed=seed)
