"""The simulation file: objects, probe, scan and detector of training and test files, each with its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ptycho_lib.config import Section
from ptycho_lib.data.options import Even, parse_options
from ptycho_lib.io.yaml_file import read_settings
from ptycho_lib.physics.objects import NATURAL_IMAGES

Positive = Annotated[float, Field(gt=0)]
Range = tuple[float, float]
PartName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class ObjectConfig(Section):
    """The object and its contrast."""

    kind: Literal["lines", "siemens_star", "gaussian_random_field", "blobs", "manhattan", "natural_image"] = "lines"
    """Generator of `ptycho_lib.physics.objects`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the generator, as `count` and `width_px` of lines."""
    phase: Literal["coupled", "independent"] = "coupled"
    """Phase from the pattern of the amplitude, or from another draw of the same kind."""
    amplitude: Range = (0.7, 1.0)
    """Transmission of the densest material and of empty space."""
    phase_rad: Range = (0.0, 1.0)
    """Phase of empty space and of the densest material."""

    @model_validator(mode="after")
    def _two_draws(self) -> ObjectConfig:
        if self.phase == "independent" and (self.kind == "siemens_star" or "name" in self.settings):
            raise ValueError("a Siemens star or a named photograph is one pattern: its phase is coupled")
        return self


class ProbeConfig(Section):
    """The illumination."""

    kind: Literal["disc", "zone_plate", "file"] = "disc"
    """Smoothed disc, Fresnel zone plate with central stop, or an array of an npz or HDF5 file."""
    diameter_px: Positive = 28.0
    """Of the disc."""
    smoothing_px: Annotated[float, Field(ge=0)] = 2.0
    """Of the disc's edge."""
    aperture_px: Positive = 24.0
    """Of the zone plate, detector pixels."""
    stop_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Of the zone plate."""
    pupil_defocus_rad: float = 0.0
    """Of the zone plate: phase at the rim of the pupil."""
    path: str | None = None
    """Of the file; relative to the configuration."""
    key: str = "probeGuess"
    """Array in the file, in HDF5 with its path: (N, N), or incoherent modes (m, N, N)."""
    defocus_rad: float = 0.0
    """Phase curvature at the edge of the array, added to any kind."""
    mode_powers: Annotated[tuple[Positive, ...], Field(max_length=6)] = ()
    """Shares of incoherent modes derived from the probe; none for a coherent beam."""

    @model_validator(mode="after")
    def _file_has_path(self) -> ProbeConfig:
        if self.kind == "file" and self.path is None:
            raise ValueError("a probe of kind 'file' needs path")
        return self


class ScanConfig(Section):
    """The scan."""

    kind: Literal["raster", "jittered_raster", "fermat_spiral", "random"] = "fermat_spiral"
    """Order and arrangement of the positions."""
    step_px: Positive | None = None
    """Distance of neighbours."""
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Linear overlap of neighbours, relative to the effective diameter of the probe; in place of the step."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Of the jittered raster: half-width of the offsets, in steps."""

    @model_validator(mode="after")
    def _one_spacing(self) -> ScanConfig:
        if (self.step_px is None) == (self.overlap is None):
            raise ValueError("give either step_px or overlap")
        return self


class DetectorConfig(Section):
    """The detector; fields as in `ptycho_lib.data.simulation.scan.Detector`."""

    photons_per_pattern: Annotated[float, Field(gt=0, le=1e15)] | None = None
    """Mean photons of a pattern, before background and losses; null for noise-free amplitudes."""
    poisson: bool = True
    """Draw the counts."""
    background_counts: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Mean counts added to each pixel."""
    dead_pixel_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of pixels that read zero."""
    saturation: bool = False
    """Cut counts at 65535."""
    point_spread_px: Annotated[float, Field(ge=0)] = 0.0
    """Gaussian blur of the intensity."""

    @model_validator(mode="after")
    def _counts(self) -> DetectorConfig:
        if self.photons_per_pattern is None and (self.background_counts or self.saturation):
            raise ValueError("background_counts and saturation need counts: give photons_per_pattern")
        return self


class PartConfig(Section):
    """One file; what is not given is as in the whole simulation."""

    n: Annotated[int, Field(ge=1)]
    """Number of patterns."""
    object: ObjectConfig | None = None
    """Another object."""
    probe: ProbeConfig | None = None
    """Another probe."""
    scan: ScanConfig | None = None
    """Another scan."""
    detector: DetectorConfig | None = None
    """Another detector."""


class SimulationConfig(Section):
    """Training and test files of one simulated study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "simulation"
    """Beginning of the file names."""
    size: Even = 64
    """Edge N of the patterns, pixels."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Root of every random number. Each part draws its own objects and noise."""
    object: ObjectConfig = ObjectConfig()
    probe: ProbeConfig = ProbeConfig()
    scan: ScanConfig = ScanConfig(overlap=0.8)
    detector: DetectorConfig = DetectorConfig(photons_per_pattern=1e5)
    parts: Annotated[dict[PartName, PartConfig], Field(min_length=1)] = Field(
        default_factory=lambda: {"train": PartConfig(n=2048), "test": PartConfig(n=500)}
    )
    """Files NAME_<part>.npz."""

    @model_validator(mode="after")
    def _unseen_objects(self) -> SimulationConfig:
        stars = [name for name, part in self.parts.items() if (part.object or self.object).kind == "siemens_star"]
        if len(stars) > 1:
            raise ValueError(f"parts {stars} would share one object: a Siemens star draws nothing at random")
        pictures = [name for names in self.pictures().values() for name in names]
        twice = sorted({name for name in pictures if pictures.count(name) > 1})
        if twice:
            raise ValueError(f"the photographs {twice} would be shown by more than one part")
        return self

    def pictures(self) -> dict[str, tuple[str, ...]]:
        """Return the photographs of each part of natural images: amplitude and, if independent, phase.

        Those that are not named are drawn without replacement, so that no part shows what another shows.

        Raises
        ------
        ValueError
            If there are too few.
        """
        shown = {name: part.object or self.object for name, part in self.parts.items()}
        shown = {name: obj for name, obj in shown.items() if obj.kind == "natural_image"}
        named = {name: obj.settings["name"] for name, obj in shown.items() if "name" in obj.settings}
        free = [name for name in NATURAL_IMAGES if name not in named.values()]
        drawn = list(np.random.default_rng([self.seed, 11]).permutation(free))
        result: dict[str, tuple[str, ...]] = {}
        for name, obj in shown.items():
            number = 2 if obj.phase == "independent" else 1
            if name not in named and len(drawn) < number:
                raise ValueError(f"there are {len(NATURAL_IMAGES)} photographs, too few for parts {list(shown)}")
            result[name] = (str(named[name]),) if name in named else tuple(str(drawn.pop(0)) for _ in range(number))
        return result


def load_simulation(path: str | Path) -> SimulationConfig:
    """Read and validate a simulation file.

    Raises
    ------
    InputError
        With one problem for each unknown key and each value out of its limits.
    """
    how = "Give a YAML file; the page 'Simulation' explains it."
    return parse_options(SimulationConfig, str(path), read_settings(path, how))
