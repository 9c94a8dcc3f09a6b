"""Positions of a RawScan: orientation, unit, affine map and offset; each step adds a line to the history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers.frame_order import LINED, frame_order
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array

METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
"""Length of each unit of positions, metres."""
SAME_SCALE = 2e-4
"""Two scales, or a shear and none, that differ by less are the same."""


def positions_px(
    raw: RawScan, shape: tuple[int, ...], size: int, pixel: float | None, options: ReadOptions
) -> tuple[Array, tuple[str, ...]]:
    """Return the patch centres (n, 2), (row, column), object pixels, and lines for the history.

    Parameters
    ----------
    raw : RawScan
    shape : (int, int)
        Of the object.
    size : int
        Edge N of a patch.
    pixel : float or None
        Object pixel, metres.
    options : ReadOptions

    Returns
    -------
    positions : (n, 2) float64 array
    notes : tuple of str

    Raises
    ------
    InputError
        If there are no positions, or lengths without a pixel size.
    """
    given = np.asarray(raw.positions)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given) or given.dtype.kind not in "fiu":
        found = f"shape {given.shape} of {given.dtype}"
        fix = "Give row and column of each pattern."
        raise InputError(Problem(raw.source, "positions", found, "(n, 2) real numbers", fix))
    positions, lines = _in_order(given.astype(np.float64), raw, options)
    notes = [*lines]
    steps: tuple[tuple[bool, str, Callable[[Array], Array]], ...] = (
        (options.swap_xy, "x and y exchanged", lambda where: where[:, ::-1]),
        (options.flip_rows, "rows mirrored", lambda where: mirror(where, 0)),
        (options.flip_columns, "columns mirrored", lambda where: mirror(where, 1)),
    )
    for wanted, words, step in steps:
        if wanted:
            positions = step(positions)
            notes.append(f"positions: {words}")
    if raw.unit != "px":
        positions, note = _metres_to_pixels(positions * METRES[raw.unit], raw, shape, pixel)
        notes.append(note)
    if raw.reference == "corner":
        positions = positions + size / 2
        notes.append(f"positions: upper left corner -> centre, + {size / 2:g} pixels")
    matrix = affine_matrix(options)
    if not np.array_equal(matrix, np.eye(2)):
        positions = transformed(positions, matrix)
        numbers = ", ".join(f"{value:.6g}" for value in matrix.ravel())
        notes.append(f"positions: multiplied by the matrix ({numbers}) about their mean")
    shift = (options.shift_rows_px, options.shift_columns_px)
    if any(shift):
        positions = positions + shift
        notes.append(f"positions: moved by ({shift[0]:g}, {shift[1]:g}) pixels (row, column)")
    return positions, tuple(notes)


def mirror(positions: Array, axis: int) -> Array:
    """Return positions with one coordinate mirrored within the scan's extent.

    Parameters
    ----------
    positions : (n, 2) array
    axis : {0, 1}

    Returns
    -------
    (n, 2) float64 array
    """
    result = np.array(positions, dtype=np.float64)
    result[:, axis] = result[:, axis].min() + result[:, axis].max() - result[:, axis]
    return result


def transformed(positions: Array, matrix: Array) -> Array:
    """Return positions mapped by a matrix about their mean.

    Parameters
    ----------
    positions : (n, 2) array
    matrix : (2, 2) array
        On (row, column).

    Returns
    -------
    (n, 2) float64 array
    """
    if np.array_equal(matrix, np.eye(2)):
        return positions
    middle = positions.mean(axis=0)
    return np.asarray((positions - middle) @ np.asarray(matrix).T + middle)


def affine_matrix(options: ReadOptions) -> Array:
    """Return the matrix (2, 2) on (row, column) that the options ask for: affine · scale · rotation."""
    matrix = options.scale_scan * rotation(options.rotate_scan)
    if options.affine is None:
        return matrix
    return np.array([float(word) for word in options.affine.split()]).reshape(2, 2) @ matrix


def rotation(degrees: float) -> Array:
    """Return the matrix (2, 2) on (row, column) that turns from the row axis to the column axis."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def affine_options(matrix: Array) -> tuple[float, float, str | None]:
    """Return the options `rotate_scan`, `scale_scan` and `affine` that stand for a matrix (2, 2).

    A matrix that only turns and scales needs no `affine`; else `affine` is all of it, row by row.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    degrees = float(np.rad2deg(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])))
    if np.abs(matrix - scale * rotation(degrees)).max() > SAME_SCALE * scale:
        return 0.0, 1.0, " ".join(f"{value:.5f}" for value in matrix.ravel())
    degrees, scale = round(degrees, 3), round(scale, 5)
    return (degrees if abs(degrees) > 1e-3 else 0.0), (scale if abs(scale - 1) > SAME_SCALE else 1.0), None


def _in_order(positions: Array, raw: RawScan, options: ReadOptions) -> tuple[Array, tuple[str, ...]]:
    if options.frame_order == "as-is":
        return positions, ()
    line = options.line_length
    if options.frame_order in LINED and (line < 1 or len(positions) % line):
        found = f"{len(positions)} positions in lines of {line}"
        fix = "Give the number of positions in a line with `--line-length`."
        raise InputError(Problem(raw.source, "positions", found, "lines that the positions fill", fix))
    note = f"positions: brought into the order of the frames ({options.frame_order}, lines of {line})"
    return positions[frame_order(len(positions), options.frame_order, line)], (note,)


def _metres_to_pixels(positions: Array, raw: RawScan, shape: tuple[int, ...], pixel: float | None) -> tuple[Array, str]:
    if pixel is None:
        fix = "Give it with `--pixel-size-m`."
        raise InputError(Problem(raw.source, "pixel_size_m", "nothing", "the object pixel, to convert metres", fix))
    if raw.origin_m is not None:
        note = f"positions: lengths -> pixels of {pixel:.4g} m, from the object's corner"
        return np.asarray((positions - raw.origin_m) / pixel), note
    note = f"positions: lengths -> pixels of {pixel:.4g} m, the scan centred in the object"
    centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
    return np.asarray((positions - centre) / pixel + np.asarray(shape) / 2), note
