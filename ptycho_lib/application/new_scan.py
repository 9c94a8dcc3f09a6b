"""A new scan for a trained network: patterns and positions of any known layout; object and probe may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.application.model_file import ModelFile
from ptycho_lib.data.dataset import PtychoDataset, check_dataset
from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.prepare.detector import crop as cropped
from ptycho_lib.data.readers import RawScan, read_parts
from ptycho_lib.data.readers.convert import complete
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.joined_stack import JoinedStack
from ptycho_lib.physics.probes import strongest_first
from ptycho_lib.physics.scan import probe_diameter

SAME_PROBE = 0.98
"""Two probes that agree better are called the same."""


@dataclass(frozen=True, eq=False)
class NewScan:
    """A scan that a network is applied to.

    Parameters
    ----------
    dataset : PtychoDataset
        Without an object in the file, its `obj` is flat, on the smallest grid that holds all patches.
    notes : tuple of str
        What a reader of the result must know: which probe was used, and how it compares with that of the training.
    """

    dataset: PtychoDataset
    notes: tuple[str, ...]


def open_scan(
    place: str | Path, model: ModelFile, options: ReadOptions | None = None, *, crop: bool = False
) -> NewScan:
    """Read the scan that a network is to reconstruct.

    Parameters
    ----------
    place : path
        A file of any layout that `check` reads, or a folder of such files, which are parts of one scan in the
        order of their names.
    model : ModelFile
        Its probe serves where the scan has none.
    options : ReadOptions, optional
    crop : bool
        Cut or pad the patterns to the size that the network was trained with.

    Returns
    -------
    NewScan

    Raises
    ------
    InputError
        With every problem: of the file, or if its patterns have another size than those of the network.
    """
    options = options or ReadOptions()
    place = Path(place)
    if not place.is_dir():
        return convert([read_parts(place, options)], model, options, crop=crop)
    files = scan_files(place)
    if not files:
        fix = "Give the file of a scan, or the folder of its parts."
        raise InputError(Problem(str(place), "", "an empty folder", "the files of a scan", fix))
    parts: list[RawScan] = []
    problems: list[Problem] = []
    for path in files:
        try:
            parts.append(read_parts(path, options))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return convert(parts, model, options, source=str(place), crop=crop)


def scan_files(folder: Path) -> list[Path]:
    """Return the files of a folder in the order of their names; hidden ones are left out."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def convert(
    parts: Sequence[RawScan],
    model: ModelFile,
    options: ReadOptions,
    *,
    source: str = "",
    checked: bool = True,
    crop: bool = False,
) -> NewScan:
    """Convert what the files of one scan hold to the conventions of the contract.

    Parameters
    ----------
    parts : sequence of RawScan
        In the order of the patterns; what they have in common is taken from the first.
    model, options, crop
        As for `open_scan`.
    source : str
        For messages; that of the first part by default.
    checked : bool
        Look at every value.

    Raises
    ------
    InputError
        As `open_scan`.
    """
    raw = _joined(parts, source)
    given = raw.probe is not None
    if not given:
        raw = replace(raw, probe=model.probe, history=(*raw.history, "probe: none; that of the training"))
    dataset = complete(raw, options, need_object=False)
    if crop and dataset.patch_size != model.patch_size:
        dataset = cropped(dataset, model.patch_size)
    problems = check_dataset(dataset) if checked else []
    if dataset.patch_size != model.patch_size:
        found, expected = (f"patterns of {size}×{size} pixels" for size in (dataset.patch_size, model.patch_size))
        fix = "Cut or pad them with --crop, which changes the object pixel, or train a network of this size."
        problems = [Problem(dataset.source, "diffraction", found, f"{expected}, as the network was trained", fix)]
    if problems:
        raise InputError(problems)
    return NewScan(dataset, (probe_note(model.probe, dataset.probe_modes if given else None),))


def probe_agreement(first: NDArray[np.complexfloating], second: NDArray[np.complexfloating]) -> float:
    """Return how well the strongest modes of two probes agree: 1 up to a shift, a scale and a phase.

    Parameters
    ----------
    first, second : (N, N) or (m, N, N) complex
        In the same window.

    Returns
    -------
    float
        max |Σ P Q*| / (‖P‖ ‖Q‖) over all whole-pixel shifts, 0 to 1.
    """
    one, other = (np.asarray(strongest_first(probe), np.complex128)[0] for probe in (first, second))
    product = np.fft.ifft2(np.fft.fft2(one) * np.fft.fft2(other).conj())
    return float(np.abs(product).max() / (np.linalg.norm(one) * np.linalg.norm(other)))


def probe_note(trained: NDArray[np.complexfloating], given: NDArray[np.complexfloating] | None) -> str:
    """Return which probe is used, and what is known about it.

    Parameters
    ----------
    trained : (m, N, N) complex
        Of the training scan.
    given : (k, N, N) complex or None
        Of the new scan; None if it has none.
    """
    if given is None:
        return (
            "The scan has no probe: that of the training is used. It belongs to another scan; if the illumination "
            "has changed since, the object is wrong without a sign in the spread. Give it with --probe-file."
        )
    agreement = probe_agreement(trained, given)
    if agreement >= SAME_PROBE:
        return f"The scan's own probe is used; it agrees with that of the training to {agreement:.3f}."
    ours, theirs = (f"{probe_diameter(probe):.0f} px, {_modes(probe)}" for probe in (given, trained))
    return (
        f"The scan's own probe is used, another than that of the training (agreement {agreement:.2f}, 1 is the same; "
        f"{ours}; in training {theirs}). First guess, illumination and stitching take it; the "
        "trained weights have not seen it. Judge the result by its residual."
    )


def _modes(probe: NDArray[np.complexfloating]) -> str:
    number = 1 if probe.ndim == 2 else len(probe)
    return f"{number} mode{'s' * (number > 1)}"


def _joined(parts: Sequence[RawScan], source: str) -> RawScan:
    """Put the patterns and positions of several files of one scan behind one another.

    Raises
    ------
    InputError
        If one lacks them, or they have different shapes.
    """
    first = parts[0]
    if len(parts) == 1:
        return replace(first, source=source or first.source)
    problems = []
    for part in parts:
        if part.patterns is None or part.positions is None:
            found = "patterns without positions" if part.positions is None else "positions without patterns"
            fix = "Each file of the folder holds patterns with their positions."
            problems.append(Problem(part.source, "", found, "a part of one scan", fix))
        elif part.patterns.shape[1:] != first.patterns.shape[1:] or part.unit != first.unit:
            found = f"patterns {part.patterns.shape[1:]}, positions in {part.unit}"
            expected = f"{first.patterns.shape[1:]} and {first.unit}, as in {Path(first.source).name}"
            problems.append(Problem(part.source, "", found, expected, "Give the files of one scan alone."))
    if problems:
        raise InputError(problems)
    return replace(
        first,
        patterns=JoinedStack([part.patterns for part in parts]),
        positions=np.concatenate([np.asarray(part.positions) for part in parts]),
        pattern_index=None,
        position_index=None,
        patches=None,
        scan_index=None,
        photons_per_pattern=None,
        source=source or first.source,
        history=(*first.history, f"patterns: of {len(parts)} files, in the order of their names"),
    )
