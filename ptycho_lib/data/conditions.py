"""Changed test conditions: one test set, seen under another scan, dose, probe, scan error or detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_lib.config import NOMINAL, ConditionConfig, StudyConfig
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.reprojection import reprojection, spread_indices
from ptycho_lib.data.thinning import thinned
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, StackView, read_patterns
from ptycho_lib.io.npz import NpzArchive
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import defocus
from ptycho_lib.physics.scan import resolved_area


def under_conditions(dataset: PtychoDataset, config: StudyConfig) -> Iterator[tuple[str, PtychoDataset]]:
    """Yield the name and the test set of each condition of a study, the unchanged one ("nominal") first.

    Patterns that had to be computed, such as those with fewer photons, are computed once, into memory.
    """
    for name, changed in conditions_of(dataset, config):
        computed = name != NOMINAL and isinstance(changed.diffraction, StackView)
        yield name, replace(changed, diffraction=changed.diffraction[:]) if computed else changed


def conditions_of(dataset: PtychoDataset, config: StudyConfig) -> Iterator[tuple[str, PtychoDataset]]:
    """Yield the same as `under_conditions`, with patterns that are computed when they are read."""
    yield NOMINAL, dataset
    least = config.evaluation.min_illumination
    for condition in config.conditions:
        yield condition.name, apply_condition(dataset, condition, config.seed, min_illumination=least)


def refuse_conditions(dataset: PtychoDataset, config: StudyConfig) -> None:
    """Apply every condition of a study, before anything is trained.

    Parameters
    ----------
    dataset : PtychoDataset
    config : StudyConfig

    Raises
    ------
    InputError
        With the problems of every condition that the test set does not allow.
    """
    problems: list[Problem] = []
    for condition in config.conditions:
        try:
            apply_condition(dataset, condition, config.seed)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)


def apply_condition(
    dataset: PtychoDataset, condition: ConditionConfig, seed: int, *, min_illumination: float = 0.1
) -> PtychoDataset:
    """Return the test set under a condition; patterns are computed when they are read.

    The amplitude keeps its scale: a lower dose makes patterns noisier, not darker, as after normalisation.
    A thinned scan is compared at most where the whole one could: `coverage` is cut to what that resolves.

    Parameters
    ----------
    dataset : PtychoDataset
    condition : ConditionConfig
    seed : int
        Of noise, position errors, dead pixels, and of the pattern with which a thinned scan begins.
    min_illumination : float
        See `physics.scan.resolved_area`.

    Raises
    ------
    InputError
        If the condition needs photon counts and there are none, names a file that does not fit, or asks for a
        scan that leaving out patterns cannot give.
    """
    if condition.test_data is not None:
        other = load_dataset(condition.test_data)
        if other.patch_size != dataset.patch_size:
            found = f"patterns of {other.patch_size} pixels"
            fix = "Prepare it with the same `--crop` and `--bin` as the test file."
            raise InputError(Problem(condition.test_data, "diffraction", found, f"{dataset.patch_size}", fix))
        dataset = other
    probe = _changed_probe(dataset, condition)
    if probe is not None:
        dataset = _with_probe(dataset, probe, seed)
    kept = None
    if condition.scan_overlap is not None:
        kept = thinned(dataset, condition.scan_overlap, seed)
        area = resolved_area(dataset.probe, dataset.positions_px, dataset.obj.shape, min_illumination=min_illumination)
        coverage = area if dataset.coverage is None else area & dataset.coverage
        dataset = replace(dataset, coverage=coverage)
    if condition.photons_factor is not None or condition.photons_per_pattern is not None:
        dataset = _with_dose(dataset, condition, seed)
    if condition.dead_pixel_fraction is not None:
        dataset = _with_dead_pixels(dataset, condition.dead_pixel_fraction, seed)
    if condition.position_jitter_px is not None:
        dataset = _with_jitter(dataset, condition.position_jitter_px, seed)
    if kept is not None:  # last of all: a pattern has the same noise however many are left out
        dataset = dataset.select(kept)
    return replace(dataset, history=(*dataset.history, f"condition: {condition.name}"))


def _changed_probe(dataset: PtychoDataset, condition: ConditionConfig) -> Array | None:
    probe = None if condition.probe_file is None else _load_probe(Path(condition.probe_file), dataset)
    if condition.probe_defocus_rad is not None:
        probe = defocus(dataset.probe if probe is None else probe, condition.probe_defocus_rad)
    return probe


def _load_probe(path: Path, dataset: PtychoDataset) -> Array:
    """Return the file's probe, or modes, with the total intensity of the dataset's."""
    archive = NpzArchive(path)
    square = (dataset.patch_size, dataset.patch_size)
    if "probeGuess" not in archive.members:
        found = f"the keys {', '.join(archive.members) or 'none'}"
        raise InputError(Problem(str(path), "probeGuess", found, "the key 'probeGuess'", "Save the probe under it."))
    probe = np.array(archive.read("probeGuess"))
    right = probe.ndim in (2, 3) and probe.shape[-2:] == square and probe.dtype.kind == "c"
    if not right or not np.isfinite(probe).all() or not np.any(probe):
        found = f"shape {probe.shape} of {probe.dtype}" if not right else "NaN, infinite values or zeros only"
        fix = "Give a probe of this size."
        expected = f"complex {square}, or (m, {square[0]}, {square[1]}) for m modes"
        raise InputError(Problem(str(path), "probeGuess", found, expected, fix))
    return (probe * (np.linalg.norm(dataset.probe) / np.linalg.norm(probe))).astype(np.complex64)


def _with_probe(dataset: PtychoDataset, probe: Array, seed: int) -> PtychoDataset:
    """Simulate the patterns anew, on the measured scale, with Poisson noise if photons are known."""
    scale = reprojection(dataset, spread_indices(len(dataset), 32)).scale
    gain = dataset.amplitude_scale() if dataset.photons_per_pattern is not None else None

    def simulate(indices: Array) -> Array:
        ideal = diffract(dataset.obj, probe, dataset.positions_px[indices]) * np.float32(scale)
        return ideal if gain is None else _poisson((ideal * gain) ** 2.0, indices, seed) / gain

    return replace(dataset, probe=probe, diffraction=_computed(dataset, simulate))


def _with_dose(dataset: PtychoDataset, condition: ConditionConfig, seed: int) -> PtychoDataset:
    """Draw the counts of another dose.

    Fewer photons: each measured photon is kept with a probability, which leaves exactly Poisson
    statistics. More photons: Poisson noise about the measured counts, which keep the noise they have.
    """
    if dataset.photons_per_pattern is None:
        fix = "Store `photons_per_pattern` in the test file: without counts a dose has no meaning."
        raise InputError(Problem(dataset.source, "photons_per_pattern", "no such key", "the mean photon number", fix))
    factor = condition.photons_factor or (condition.photons_per_pattern or 0) / dataset.photons_per_pattern
    gain = dataset.amplitude_scale()

    def draw(indices: Array) -> Array:
        counts = np.square(read_patterns(dataset.diffraction, indices) * gain, dtype=np.float64)
        if factor > 1:
            return _poisson(counts * factor, indices, seed) / (gain * np.sqrt(factor))
        whole = np.rint(counts).astype(np.int64)
        drawn = [
            np.random.default_rng([seed, int(index)]).binomial(one, factor)
            for index, one in zip(indices, whole, strict=True)
        ]
        return np.sqrt(np.stack(drawn)) / (gain * np.sqrt(factor))

    photons = dataset.photons_per_pattern * factor
    return replace(dataset, diffraction=_computed(dataset, draw), photons_per_pattern=photons)


def _with_dead_pixels(dataset: PtychoDataset, fraction: float, seed: int) -> PtychoDataset:
    size = dataset.patch_size
    alive = np.random.default_rng([seed, 1]).uniform(size=(size, size)) >= fraction
    return replace(dataset, diffraction=StackView(dataset.diffraction, function=lambda block: block * alive))


def _with_jitter(dataset: PtychoDataset, sigma_px: float, seed: int) -> PtychoDataset:
    """Return the dataset with wrong positions; patterns and object patches stay those of the true positions."""
    error = np.random.default_rng([seed, 2]).normal(0, sigma_px, dataset.positions_px.shape)
    margin = dataset.patch_size / 2
    limits = np.asarray(dataset.obj.shape) - margin
    wrong = np.clip(dataset.positions_px + error, margin, limits)
    true_patches = StackView(
        np.arange(len(dataset)),
        function=dataset.object_patches,
        pattern_shape=(dataset.patch_size, dataset.patch_size),
        dtype=np.complex64,
    )
    return replace(dataset, positions_px=wrong, patches=true_patches)


def _computed(dataset: PtychoDataset, function: object) -> StackView:
    """Return a stack whose patterns are computed from their indices."""
    assert callable(function)
    size = dataset.patch_size
    return StackView(np.arange(len(dataset)), function=function, pattern_shape=(size, size), dtype=np.float32)


def _poisson(mean: Array, indices: Array, seed: int) -> Array:
    """Return the root of Poisson counts; the noise of a pattern depends on its index alone."""
    drawn = [np.random.default_rng([seed, int(index)]).poisson(one) for index, one in zip(indices, mean, strict=True)]
    return np.sqrt(np.stack(drawn))
