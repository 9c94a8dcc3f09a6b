"""A reconstruction as a file of other programs: CXI, ptychodus product, NeXus, TIFF images."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

import ptycho_lib
from ptycho_lib.errors import InputError, Problem

PLANCK_J_S = 6.62607015e-34
LIGHT_M_S = 299792458.0
ELECTRON_VOLT_J = 1.602176634e-19
PROGRAM = f"ptycho-lib {ptycho_lib.__version__}"


@dataclass(frozen=True, eq=False)
class Result:
    """What a model made of a scan, in the terms of an experiment.

    Parameters
    ----------
    title : str
        One line: study, training size, model.
    obj : (H, W) complex64
        As stitched; its global phase means nothing.
    mask : (H, W) bool
        The pixels that were compared with the truth.
    probe_modes : (m, N, N) complex64
        Strongest first; on an arbitrary common scale.
    positions_px : (n, 2) float64
        (row, column) of the patch centres, object pixels.
    pixel_size_m : float or None
        Edge of an object pixel.
    wavelength_m, detector_distance_m : float or None
    """

    title: str
    obj: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    probe_modes: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    pixel_size_m: float | None = None
    wavelength_m: float | None = None
    detector_distance_m: float | None = None

    @property
    def pixel_m(self) -> float:
        """The object pixel; InputError where it is unknown."""
        if self.pixel_size_m is None:
            fix = "Give it with `--pixel-size-m`."
            raise InputError(Problem(self.title, "pixel_size_m", "unknown", "the object pixel, metres", fix))
        return self.pixel_size_m

    @property
    def positions_m(self) -> NDArray[np.float64]:
        """(n, 2) (row, column) from the middle of the object, H/2 and W/2, metres."""
        return (self.positions_px - np.array(self.obj.shape) / 2) * self.pixel_m

    @property
    def photon_energy_j(self) -> float | None:
        """Energy of a photon of this wavelength."""
        return None if self.wavelength_m is None else PLANCK_J_S * LIGHT_M_S / self.wavelength_m


def write_result(result: Result, path: Path, to: str, *, overwrite: bool = False) -> Path:
    """Write a result; the file, for TIFF the folder, appears complete or not at all.

    Parameters
    ----------
    result : Result
    path : Path
        Without its ending.
    to : {'cxi', 'ptychodus', 'nexus', 'tiff'}
    overwrite : bool
        Without it an existing file is refused.

    Returns
    -------
    Path
        With its ending.

    Raises
    ------
    InputError
        If it exists, or a format needs a pixel size that is unknown.
    """
    ending, write = FORMATS[to]
    target = path.with_name(path.name + ending)
    if target.exists() and not overwrite:
        fix = "Choose another folder with `--output`, or allow it with `--overwrite`."
        raise InputError(Problem(str(target), "", "an existing file", "a new one", fix))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        write(result, part)
        if target.is_dir():
            shutil.rmtree(target)
        part.replace(target)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
    return target


def write_cxi(result: Result, path: Path) -> None:
    """Write CXI 1.6 (Maia, Nat. Methods 9, 854 (2012)): probe and object as images, the scan as translations.

    A translation moves the sample. In CXI's axes (along the beam, x to the left, y up) its (x, y) is then (column, row)
    of the probe, from the middle of the object, which is `image_center`.
    """
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        file["number_of_entries"] = 1
        entry = _group(file, "entry_1", "NXentry")
        entry["title"], entry["program_name"] = result.title, PROGRAM
        instrument = _group(entry, "instrument_1", "NXinstrument")
        source = _group(instrument, "source_1", "NXsource")
        source["illumination"] = result.probe_modes
        _quantity(source, "energy", result.photon_energy_j, "J")
        _quantity(source, "wavelength", result.wavelength_m, "m")
        detector = _group(instrument, "detector_1", "NXdetector")
        _quantity(detector, "distance", result.detector_distance_m, "m")
        x_y = result.positions_m[:, ::-1]
        geometry = _group(_group(entry, "sample_1", "NXsample"), "geometry_1", "NXgeometry")
        _quantity(geometry, "translation", np.pad(x_y, ((0, 0), (0, 1))), "m")
        for number, (title, array) in enumerate((("probe", result.probe_modes), ("object", result.obj)), start=1):
            image = _group(entry, f"image_{number}", "NXdata")
            image["title"], image["data"], image["data_type"] = title, array, "amplitude"
            image["data_space"] = "real"
            size = [array.shape[-1] * result.pixel_m, array.shape[-2] * result.pixel_m, 0.0]
            _quantity(image, "image_size", size, "m")
            _quantity(image, "image_center", [0.0, 0.0, 0.0], "m")
        entry["image_2/mask"] = np.where(result.mask, 0, 1).astype(np.uint32)


def write_ptychodus(result: Result, path: Path) -> None:
    """Write a product of ptychodus (HDF5); energy, distance and photons are 0 where they are unknown."""
    energy = result.photon_energy_j
    numbers = {
        "detector_object_distance_m": result.detector_distance_m or 0.0,
        "probe_energy_eV": 0.0 if energy is None else energy / ELECTRON_VOLT_J,
        "probe_photon_count": 0,
        "exposure_time_s": 0.0,
        "mass_attenuation_m2_kg": 0.0,
        "tomography_angle_deg": 0.0,
    }
    pixels = {"pixel_width_m": result.pixel_m, "pixel_height_m": result.pixel_m}
    with h5py.File(path, "w") as file:
        file.attrs.update({"name": result.title, "comments": PROGRAM} | numbers)
        file["probe_position_indexes"] = np.arange(len(result.positions_px))
        file["probe_position_x_m"] = result.positions_m[:, 1]
        file["probe_position_y_m"] = result.positions_m[:, 0]
        file["probe"], file["object"] = result.probe_modes[None], result.obj[None]
        file["probe"].attrs.update(pixels)
        file["object"].attrs.update(pixels | {"center_x_m": 0.0, "center_y_m": 0.0})
        file["object_layer_spacing_m"] = np.empty(0)
        file["loss_epochs"], file["loss_values"] = np.empty(0, np.int64), np.empty(0)
        file["mask"] = result.mask  # a key of our own; ptychodus ignores it


def write_nexus(result: Result, path: Path) -> None:
    """Write NeXus: an entry with plottable data of object and probe modes, the positions, beam and program."""
    axes = [(np.arange(edge) - edge / 2) * result.pixel_m for edge in result.obj.shape]
    with h5py.File(path, "w") as file:
        entry = _group(file, "entry", "NXentry")
        file.attrs["default"], entry.attrs["default"] = "entry", "object"
        entry["title"] = result.title
        process = _group(entry, "process", "NXprocess")
        process["program"], process["version"] = "ptycho-lib", ptycho_lib.__version__
        shown = _group(entry, "object", "NXdata")
        shown.attrs.update({"signal": "phase", "auxiliary_signals": ["amplitude"], "axes": ["y", "x"]})
        _quantity(shown, "phase", np.angle(result.obj), "rad")
        shown["amplitude"], shown["data"], shown["mask"] = np.abs(result.obj), result.obj, result.mask
        for name, axis in zip("yx", axes, strict=True):
            _quantity(shown, name, axis, "m")
        probe = _group(entry, "probe", "NXdata")
        probe.attrs["signal"] = "amplitude"
        probe["amplitude"], probe["data"] = np.abs(result.probe_modes), result.probe_modes
        _quantity(probe, "pixel_size", result.pixel_m, "m")
        scan = _group(entry, "scan", "NXdata")
        scan.attrs.update({"signal": "y", "axes": ["x"]})
        for name, values in zip("yx", result.positions_m.T, strict=True):
            _quantity(scan, name, values, "m")
        instrument = _group(entry, "instrument", "NXinstrument")
        beam = _group(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_wavelength", result.wavelength_m, "m")
        _quantity(beam, "incident_energy", result.photon_energy_j, "J")
        detector = _group(instrument, "detector", "NXdetector")
        _quantity(detector, "distance", result.detector_distance_m, "m")


def write_tiff(result: Result, folder: Path) -> None:
    """Write a folder of float32 TIFF images with their pixel size (ImageJ reads it), and positions.csv."""
    folder.mkdir()
    images = {
        "object_amplitude": np.abs(result.obj),
        "object_phase_rad": np.angle(result.obj),
        "probe_amplitude": np.abs(result.probe_modes),
        "probe_phase_rad": np.angle(result.probe_modes),
        "mask": result.mask.astype(np.uint8),
    }
    known = result.pixel_size_m is not None
    per_um = 1e-6 / result.pixel_m if known else 1.0
    about = {"unit": "um" if known else "pixel", "Info": f"{result.title}\n{PROGRAM}"}
    for name, image in images.items():
        array = image if image.dtype == np.uint8 else image.astype(np.float32)
        about_axes = about | {"axes": "ZYX" if array.ndim == 3 else "YX"}
        tifffile.imwrite(folder / f"{name}.tif", array, imagej=True, resolution=(per_um, per_um), metadata=about_axes)
    table = pd.DataFrame(result.positions_px, columns=["row_px", "column_px"])
    if known:
        table[["y_m", "x_m"]] = result.positions_m
    table.to_csv(folder / "positions.csv", index=False)


FORMATS: dict[str, tuple[str, Callable[[Result, Path], None]]] = {
    "cxi": (".cxi", write_cxi),
    "ptychodus": ("_ptychodus.h5", write_ptychodus),
    "nexus": (".nxs", write_nexus),
    "tiff": ("_tiff", write_tiff),
}
"""Ending and writer of each format."""


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _quantity(group: h5py.Group, name: str, value: object, unit: str) -> None:
    """Write a number or an array with its unit, unless it is unknown."""
    if value is not None:
        group[name] = value
        group[name].attrs["units"] = unit
