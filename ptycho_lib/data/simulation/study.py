"""Simulated studies from a YAML file: the parts of a `SimulationConfig` become datasets and files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_lib.data.dataset import SIMULATED, PtychoDataset, save_dataset
from ptycho_lib.data.readers.store import open_store
from ptycho_lib.data.simulation.config import (
    ObjectConfig,
    ProbeConfig,
    ScanConfig,
    SimulationConfig,
    load_simulation,
)
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics import objects, probes, scan

MOST_PIXELS = 2**28
"""Of a simulated object: 2 GB, and a few times as much while it is drawn."""


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
    merged = {name: getattr(chosen, name) or getattr(config, name) for name in ("object", "probe", "scan", "detector")}
    probe = make_probe(merged["probe"], config.size, folder)
    positions, shape = make_scan(
        merged["scan"], chosen.n, config.size, scan.probe_diameter(probe), _rng(config, part, "scan")
    )
    rng = _rng(config, part, "object")
    obj = make_object(merged["object"], shape, rng, config.pictures().get(part, ()))
    dataset = simulate_dataset(
        obj,
        probe,
        positions,
        detector=Detector(**merged["detector"].model_dump()),
        seed=_seed(config, part, "noise"),
    )
    settings = {"size": config.size, "seed": config.seed, "part": part, "n": chosen.n}
    settings |= {name: section.model_dump(mode="json") for name, section in merged.items()}
    label = f"{SIMULATED}{json.dumps(settings, sort_keys=True)}"
    return replace(dataset, history=(label,), source=f"{config.name}_{part}")


def simulate_study(config_path: str | Path, out_dir: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write the files of a simulation, ``NAME_<part>.npz``; memory does not grow with the number of patterns.

    Raises
    ------
    InputError
        For problems of the configuration, or an existing file; then nothing is written.
    """
    config = load_simulation(config_path)
    paths = {part: Path(out_dir) / f"{config.name}_{part}.npz" for part in config.parts}
    fix = "Choose another folder, or allow it with `--overwrite`."
    problems = [
        Problem(str(path), "", "an existing file", "a new one", fix)
        for path in paths.values()
        if path.exists() and not overwrite
    ]
    if problems:
        raise InputError(problems)
    folder = Path(config_path).parent
    datasets = {part: simulate_part(config, part, folder) for part in config.parts}
    return tuple(save_dataset(datasets[part], path, overwrite=overwrite) for part, path in paths.items())


def make_object(
    config: ObjectConfig, shape: tuple[int, int], rng: np.random.Generator, pictures: tuple[str, ...] = ()
) -> Array:
    """Return a complex object (H, W); `pictures` are the photographs of amplitude and phase, if any."""
    generate = getattr(objects, config.kind)
    source = (shape,) if config.kind == "siemens_star" else (shape, rng)
    settings = [{**config.settings, "name": name} for name in pictures] or [config.settings] * 2
    try:
        with np.errstate(divide="raise", invalid="raise"):
            first = generate(*source, **settings[0])
            second = generate(*source, **settings[1]) if config.phase == "independent" else None
    except (TypeError, ValueError, ArithmeticError) as error:
        fix = "The generators in ptycho_lib/physics/objects.py say which settings they take."
        problem = Problem("simulation", "object.settings", str(error), f"settings of {config.kind}", fix)
        raise InputError(problem) from None
    return objects.transmission(first, second, amplitude=config.amplitude, phase_rad=config.phase_rad)


def make_probe(config: ProbeConfig, size: int, folder: str | Path = ".") -> Array:
    """Return the probe (N, N), or incoherent modes (m, N, N), of unit total intensity.

    Raises
    ------
    InputError
        If the file holds no such probe, or the settings leave no light.
    """
    try:
        return _probe(config, size, folder)
    except InputError:
        raise
    except ValueError as error:
        fix = "Fix the section `probe`, or its file."
        raise InputError(Problem("simulation", "probe", str(error), "an illumination", fix)) from None


def _probe(config: ProbeConfig, size: int, folder: str | Path) -> Array:
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
    positions, shape = scan.frame(positions, size)
    if shape[0] * shape[1] > MOST_PIXELS:
        found = f"an object of {shape[0]}×{shape[1]} pixels"
        fix = "Take smaller steps, or fewer patterns."
        raise InputError(Problem("simulation", "scan", found, f"at most {MOST_PIXELS:.1e} pixels", fix))
    return positions, shape


def _probe_from_file(path: Path, key: str, size: int) -> Array:
    store = open_store(path)
    if key not in store:
        found = f"the arrays {'; '.join(list(store.describe())[:12]) or 'none'}"
        raise InputError(Problem(str(path), key, found, f"the key '{key}'", "Name the probe's array with `key`."))
    probe = store.array(key)
    if probe.ndim > 3 and max(probe.shape[:-3]) == 1:  # as tike and ptychodus store it
        probe = probe.reshape(probe.shape[-3:])
    if probe.dtype.kind != "c" or probe.ndim not in (2, 3) or probe.shape[-2:] != (size, size):
        found = f"shape {probe.shape} of {probe.dtype}"
        fix = "Choose the array of this size, or another `size` of the simulation."
        raise InputError(Problem(str(path), key, found, f"complex, (…, {size}, {size})", fix))
    return probe


def _seed(config: SimulationConfig, part: str, purpose: str) -> int:
    """Return a seed that no other part and no other purpose shares."""
    digest = hashlib.sha256(f"{config.seed}/{part}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _rng(config: SimulationConfig, part: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(_seed(config, part, purpose))
