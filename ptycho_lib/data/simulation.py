"""Simulated studies from a YAML file: objects, probe, scan and detector of training and test files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, model_validator

from ptycho_lib.config import Section
from ptycho_lib.data.dataset import PtychoDataset, save_dataset
from ptycho_lib.data.npz import NpzArchive
from ptycho_lib.data.options import Even, parse_options
from ptycho_lib.data.simulate import Detector, simulate_dataset
from ptycho_lib.data.stack import Array
from ptycho_lib.errors import Fault, InputError
from ptycho_lib.physics import objects, probes, scan

Positive = Annotated[float, Field(gt=0)]
Range = tuple[float, float]
PartName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class ObjectConfig(Section):
    """The object and its contrast."""

    kind: Literal["lines", "siemens_star", "gaussian_random_field", "blobs", "manhattan", "natural_image"] = (
        "lines"
    )
    """Generator of `ptycho_lib.physics.objects`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the generator, as `count` and `width_px` of lines."""
    phase: Literal["coupled", "independent"] = "coupled"
    """Phase from the pattern of the amplitude, or from another draw of the same kind."""
    amplitude: Range = (0.7, 1.0)
    """Transmission of the densest material and of empty space."""
    phase_rad: Range = (0.0, 1.0)
    """Phase of empty space and of the densest material."""


class ProbeConfig(Section):
    """The illumination."""

    kind: Literal["disc", "zone_plate", "file"] = "disc"
    """Smoothed disc, Fresnel zone plate with central stop, or an array of an npz file."""
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
    """Array in the file: (N, N), or incoherent modes (m, N, N)."""
    defocus_rad: float = 0.0
    """Phase curvature at the edge of the array, added to any kind."""
    mode_powers: tuple[Positive, ...] = ()
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
    """The detector; fields as in `ptycho_lib.data.simulate.Detector`."""

    photons_per_pattern: Positive | None = None
    """Mean photons of a pattern; null for noise-free amplitudes."""
    poisson: bool = True
    """Draw the counts."""
    background_counts: Annotated[float, Field(ge=0)] = 0.0
    """Mean counts added to each pixel."""
    dead_pixel_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of pixels that read zero."""
    saturation: bool = False
    """Cut counts at 65535."""
    point_spread_px: Annotated[float, Field(ge=0)] = 0.0
    """Gaussian blur of the intensity."""


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
    """Root of every random number. Each part has objects and noise of its own."""
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
        stars = [
            name for name, part in self.parts.items() if (part.object or self.object).kind == "siemens_star"
        ]
        if len(stars) > 1:
            raise ValueError(f"parts {stars} would share one object: a Siemens star draws nothing at random")
        return self


def load_simulation(path: str | Path) -> SimulationConfig:
    """Read and validate a simulation file.

    Raises
    ------
    InputError
        With one fault for each unknown key and each value out of its limits.
    """
    how = "Give a YAML file as in studies/lines; docs/data_contracts.md explains it."
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(Fault(str(path), "", found, "a readable YAML file", how)) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        found = f"text that is not YAML ({' '.join(str(error).split())})"
        raise InputError(Fault(str(path), "", found, "YAML", how)) from None
    if not isinstance(settings, dict):
        raise InputError(Fault(str(path), "", type(settings).__name__, "a mapping of settings", how))
    return parse_options(SimulationConfig, str(path), settings)


def simulate_part(config: SimulationConfig, part: str, folder: str | Path = ".") -> PtychoDataset:
    """Return one part of a simulation, lazily: patterns are computed when they are read.

    Parameters
    ----------
    config : SimulationConfig
    part : str
        Name of one of `config.parts`.
    folder : str or Path
        Where relative paths of probe files begin.
    """
    chosen = config.parts[part]
    merged = {
        name: getattr(chosen, name) or getattr(config, name)
        for name in ("object", "probe", "scan", "detector")
    }
    probe = make_probe(merged["probe"], config.size, folder)
    positions, shape = make_scan(
        merged["scan"], chosen.n, config.size, scan.probe_diameter(probe), _rng(config, part, "scan")
    )
    obj = make_object(merged["object"], shape, _rng(config, part, "object"))
    dataset = simulate_dataset(
        obj,
        probe,
        positions,
        detector=Detector(**merged["detector"].model_dump()),
        seed=_seed(config, part, "noise"),
    )
    settings = {"size": config.size, "seed": config.seed, "part": part, "n": chosen.n}
    settings |= {name: section.model_dump(mode="json") for name, section in merged.items()}
    label = f"simulated: {json.dumps(settings, sort_keys=True)}"
    return replace(dataset, history=(label,), source=f"{config.name}_{part}")


def simulate_study(
    config_path: str | Path, out_dir: str | Path, *, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write the files of a simulation, ``NAME_<part>.npz``; memory does not grow with the number of patterns.

    Raises
    ------
    InputError
        For faults of the configuration, or an existing file; then nothing is written.
    """
    config = load_simulation(config_path)
    paths = {part: Path(out_dir) / f"{config.name}_{part}.npz" for part in config.parts}
    mend = "Choose another folder, or allow it with `--overwrite`."
    faults = [
        Fault(str(path), "", "an existing file", "a new one", mend)
        for path in paths.values()
        if path.exists() and not overwrite
    ]
    if faults:
        raise InputError(faults)
    folder = Path(config_path).parent
    datasets = {part: simulate_part(config, part, folder) for part in config.parts}
    return tuple(save_dataset(datasets[part], path, overwrite=overwrite) for part, path in paths.items())


def make_object(config: ObjectConfig, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Return a complex object (H, W)."""
    generate = getattr(objects, config.kind)
    source = (shape,) if config.kind == "siemens_star" else (shape, rng)
    try:
        first = generate(*source, **config.settings)
        second = generate(*source, **config.settings) if config.phase == "independent" else None
    except (TypeError, ValueError) as error:
        mend = "The generators in ptycho_lib/physics/objects.py say which settings they take."
        fault = Fault("simulation", "object.settings", str(error), f"settings of {config.kind}", mend)
        raise InputError(fault) from None
    return objects.transmission(first, second, amplitude=config.amplitude, phase_rad=config.phase_rad)


def make_probe(config: ProbeConfig, size: int, folder: str | Path = ".") -> Array:
    """Return the probe (N, N), or incoherent modes (m, N, N), of unit total intensity."""
    if config.kind == "disc":
        probe = probes.disc(size, config.diameter_px, smoothing_px=config.smoothing_px)
    elif config.kind == "zone_plate":
        probe = probes.zone_plate(
            size,
            aperture_px=min(config.aperture_px, size),
            stop_fraction=config.stop_fraction,
            defocus_rad=config.pupil_defocus_rad,
        )
    else:
        probe = _probe_from_file(Path(folder) / str(config.path), config.key, size)
    if config.defocus_rad:
        probe = probes.defocus(probe, config.defocus_rad)
    if config.mode_powers:
        probe = probes.incoherent_modes(probe.reshape(-1, size, size)[0], config.mode_powers)
    return probes.normalise(probe)


def make_scan(
    config: ScanConfig, n: int, size: int, diameter_px: float, rng: np.random.Generator
) -> tuple[Array, tuple[int, int]]:
    """Return positions (n, 2) and the shape of the object that holds their patches."""
    if config.overlap is None:
        step = float(config.step_px or 0)
    else:
        step = scan.step_for_overlap(config.overlap, diameter_px)
    if config.kind == "fermat_spiral":
        positions = scan.fermat_spiral(n, step)
    elif config.kind == "random":
        positions = scan.random(n, step, rng)
    else:
        jitter = config.jitter * step if config.kind == "jittered_raster" else 0.0
        positions = scan.raster(n, step, jitter_px=jitter, rng=rng)
    return scan.frame(positions, size)


def _probe_from_file(path: Path, key: str, size: int) -> Array:
    archive = NpzArchive(path)
    if key not in archive.members:
        found = f"the keys {', '.join(archive.members) or 'none'}"
        raise InputError(
            Fault(str(path), key, found, f"the key '{key}'", "Name the probe's array with `key`.")
        )
    probe = np.array(archive.read(key))
    if probe.dtype.kind != "c" or probe.ndim not in (2, 3) or probe.shape[-2:] != (size, size):
        found = f"shape {probe.shape} of {probe.dtype}"
        mend = "Choose the array of this size, or another `size` of the simulation."
        raise InputError(Fault(str(path), key, found, f"complex, (…, {size}, {size})", mend))
    return probe


def _seed(config: SimulationConfig, part: str, purpose: str) -> int:
    """Return a seed that no other part and no other purpose shares."""
    digest = hashlib.sha256(f"{config.seed}/{part}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _rng(config: SimulationConfig, part: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(_seed(config, part, purpose))
