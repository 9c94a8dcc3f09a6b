"""Raw file -> training and test files; the files record every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset, check_dataset, save_dataset
from ptycho_lib.data.options import PrepareOptions, parse_options
from ptycho_lib.data.prepare.automatic import automatic_options
from ptycho_lib.data.prepare.detector import bin_pixels, crop, drop_bad_patterns, mask_pixels, repair_pixels
from ptycho_lib.data.prepare.kept_reference import with_reference
from ptycho_lib.data.prepare.split import split
from ptycho_lib.data.readers import read_file
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import StackView, mean_total


@dataclass(frozen=True)
class PreparedFile:
    """A file to be written: its dataset is still lazy.

    Parameters
    ----------
    path : Path
    dataset : PtychoDataset
    """

    path: Path
    dataset: PtychoDataset


def prepare(raw_path: str | Path, out_dir: str | Path, *, overwrite: bool = False, **options: Any) -> tuple[Path, ...]:
    """Write ``NAME_train.npz`` and ``NAME_test.npz`` (or, without a split, ``NAME.npz``).

    The same input and options give the same bytes; files appear complete or not at all.

    Parameters
    ----------
    raw_path : str or Path
        Any file that `open_dataset` reads.
    out_dir : str or Path
    overwrite : bool
        Without it existing files are refused.
    **options
        Fields of `PrepareOptions`.

    Returns
    -------
    train_path, test_path : Path
        One path if `split` is 'none'.

    Raises
    ------
    InputError
        With every problem of the file or the options, or if an output exists. Nothing is written then.
    """
    plan = plan_preparation(raw_path, out_dir, overwrite=overwrite, **options)
    return tuple(save_dataset(item.dataset, item.path, overwrite=overwrite) for item in plan)


Reconstruct = Callable[[PtychoDataset, PrepareOptions], PtychoDataset]
"""Gives a dataset an object, or other probe modes: work of `iterative`, which this subpackage does not import."""
ReconstructApart = Callable[[tuple[PtychoDataset, ...], PrepareOptions], tuple[PtychoDataset, ...]]
"""Gives each part an object of its own, and all of them one probe."""


def plan_preparation(
    raw_path: str | Path,
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    reconstruct: Reconstruct | None = None,
    refine_probe: Reconstruct | None = None,
    reconstruct_apart: ReconstructApart | None = None,
    **options: Any,
) -> tuple[PreparedFile, ...]:
    """Do everything but write: what `prepare` would do, with the histories that it would record.

    Parameters
    ----------
    raw_path, out_dir, overwrite, **options
        As for `prepare`.
    reconstruct : callable, optional
        Gives the object if `reference` is 'iterative'.
    refine_probe : callable, optional
        Gives the training part its modes if `probe_modes` is set; the test part gets the same.
    reconstruct_apart : callable, optional
        Gives each part its object if `reference` is 'iterative-apart'.

    Returns
    -------
    tuple of PreparedFile

    Raises
    ------
    InputError
        With every problem of the file or the options, or if an output exists.
    """
    raw_path = Path(raw_path)
    settings = parse_options(PrepareOptions, "options", options)
    notes: tuple[str, ...] = ()
    if settings.auto:
        settings, notes = automatic_options(raw_path, settings)
    dataset = prepare_dataset(raw_path, settings, reconstruct)
    dataset = replace(dataset, history=(*notes, *dataset.history))
    parts: tuple[PtychoDataset, ...] = (dataset,) if settings.split == "none" else split(dataset, settings)
    paths = output_paths(raw_path, out_dir, len(parts))
    _refuse(raw_path, paths, overwrite)  # before a long refinement
    if settings.reference_file is not None:
        parts = with_reference(parts, settings.reference_file)
    elif settings.apart:
        if reconstruct_apart is None:
            fix = "Use `ptycho-study prepare --reference iterative-apart`."
            raise InputError(Problem("options", "reference", "'iterative-apart'", "'file' in this call", fix))
        parts = reconstruct_apart(parts, settings)
    if settings.probe_modes is not None:
        parts = _with_modes(parts, settings, refine_probe)
    if settings.patches and settings.apart:
        parts = tuple(_with_patches(part) for part in parts)
    return tuple(PreparedFile(path, part) for path, part in zip(paths, parts, strict=True))


def prepare_dataset(
    raw_path: str | Path, settings: PrepareOptions, reconstruct: Reconstruct | None = None
) -> PtychoDataset:
    """Read a file and take every step but the split; the result fulfils the contract.

    Raises
    ------
    InputError
        With every problem that is left after all steps.
    """
    dataset = _take_steps(read_file(raw_path, settings), settings)
    problems = check_dataset(dataset)
    if problems:
        raise InputError(problems)
    if settings.reference == "iterative":
        if reconstruct is None:
            fix = "Use `ptycho-study prepare --reference iterative`."
            raise InputError(Problem("options", "reference", "'iterative'", "'file' in this call", fix))
        dataset = reconstruct(dataset, settings)
    return _with_patches(dataset) if settings.patches and not settings.apart else dataset


def output_paths(raw_path: str | Path, out_dir: str | Path, number: int = 2) -> tuple[Path, ...]:
    """Return the paths of the training and the test file, or of the only file."""
    name = Path(raw_path).stem.removesuffix("_raw")
    endings = ("_train", "_test") if number == 2 else ("",)
    return tuple(Path(out_dir) / f"{name}{ending}.npz" for ending in endings)


def _subset(dataset: PtychoDataset, size: int, seed: int) -> PtychoDataset:
    if size > len(dataset):
        found = f"{size} of {len(dataset)} patterns"
        raise InputError(Problem("options", "subset", found, "at most as many as there are", "Lower it."))
    chosen = np.sort(subset_order(dataset.positions_px, "representative", seed)[:size])
    note = f"subset: {size} of {len(dataset)} patterns, spread over the scan (seed {seed})"
    part = dataset.select(chosen)
    return replace(part, history=(*part.history, note))


def _take_steps(as_read: PtychoDataset, settings: PrepareOptions) -> PtychoDataset:
    """Return the dataset after every step on its patterns, lazily."""
    dataset = as_read
    if settings.subset is not None:
        dataset = _subset(dataset, settings.subset, settings.seed)
    if settings.bad_pixels == "mask":
        dataset = mask_pixels(dataset)
    elif settings.bad_pixels != "keep":
        dataset = repair_pixels(dataset, settings.bad_pixels)
    if settings.crop is not None:
        dataset = crop(dataset, settings.crop)
    if settings.bin > 1:
        dataset = bin_pixels(dataset, settings.bin)
    if settings.drop_bad_patterns:
        dataset = drop_bad_patterns(dataset)
    return dataset if dataset.diffraction is as_read.diffraction else _same_counts(dataset, as_read)


def _same_counts(dataset: PtychoDataset, as_read: PtychoDataset) -> PtychoDataset:
    """Let the mean of the photons follow what was cut, left out or repaired: a count stays a count."""
    if as_read.photons_per_pattern is None:
        return dataset
    after, before = mean_total(dataset.diffraction), mean_total(as_read.diffraction)
    if not (before > 0 and after > 0) or np.isclose(after, before, rtol=1e-9):
        return dataset
    photons = as_read.photons_per_pattern * after / before
    old, new = f"{as_read.photons_per_pattern:.4g}", f"{photons:.4g}"
    notes = (f"photons per pattern: {old} -> {new}, of what is kept",) if new != old else ()
    return replace(dataset, photons_per_pattern=photons, history=(*dataset.history, *notes))


def _with_modes(
    parts: tuple[PtychoDataset, ...], settings: PrepareOptions, refine_probe: Reconstruct | None
) -> tuple[PtychoDataset, ...]:
    """Refine the probe of the first part, the training; every part gets its modes and the note about them."""
    if refine_probe is None:
        fix = "Use `ptycho-study prepare --probe-modes`."
        raise InputError(Problem("options", "probe_modes", f"{settings.probe_modes}", "null in this call", fix))
    refined = refine_probe(parts[0], settings)
    notes = refined.history[len(parts[0].history) :]
    return tuple(replace(part, probe=refined.probe, history=(*part.history, *notes)) for part in parts)


def _with_patches(dataset: PtychoDataset) -> PtychoDataset:
    """Add the object patches, cut as they are written; in place of patches that the file may hold."""
    size = dataset.patch_size
    patches = StackView(
        np.arange(len(dataset)),
        function=replace(dataset, patches=None).object_patches,
        pattern_shape=(size, size),
        dtype=np.complex64,
    )
    note = "patches: Y cut from the object, bilinear at fractional positions"
    return replace(dataset, patches=patches, history=(*dataset.history, note))


def _refuse(raw_path: Path, paths: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse to replace an existing file unless that is allowed, and the input itself in any case."""
    problems = []
    for path in paths:
        if path.exists() and path.samefile(raw_path):
            fix = "Choose another output folder; the input is never changed."
            problems.append(Problem(str(path), "", "the input file", "another file", fix))
        elif path.exists() and not overwrite:
            fix = "Choose another folder, or allow it with `--overwrite`."
            problems.append(Problem(str(path), "", "an existing file", "a new one", fix))
    if problems:
        raise InputError(problems)
