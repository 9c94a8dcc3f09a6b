"""The order of the frames: which position belongs to which pattern, where a file lists them differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from ptycho_lib.io.lazy_stack import Array

Order = Literal["as-is", "column-major", "snake", "column-major-snake", "reversed"]
ORDERS: tuple[str, ...] = get_args(Order)
LINED = ("column-major", "snake", "column-major-snake")
"""Orders that need the number of positions in a line."""


def frame_order(count: int, order: str, line: int) -> Array:
    """Return for each pattern the place of its position in the list of positions, (n,) int.

    Parameters
    ----------
    count : int
        Number n of positions; for an order of lines a multiple of `line`.
    order : str
        One of `ORDERS`. 'column-major': the positions run along lines, the patterns across them;
        'snake': every second line of patterns runs backwards; 'column-major-snake': across the lines, there
        and back; 'reversed': the last first.
    line : int
        Positions in a line, as the list of positions runs.

    Returns
    -------
    (n,) int array

    Raises
    ------
    ValueError
        If the positions do not fill lines of this length.
    """
    index = np.arange(count)
    if order == "as-is":
        return index
    if order == "reversed":
        return index[::-1]
    if line < 1 or count % line:
        raise ValueError(f"{count} positions do not fill lines of {line}")
    table = index.reshape(-1, line)
    if order.startswith("column-major"):
        table = table.T
    if order.endswith("snake"):
        table = table.copy()
        table[1::2] = table[1::2, ::-1]
    return table.reshape(-1)


def reordered(positions: Array, order: str, line: int) -> Array:
    """Return the positions (n, 2) in the order of the patterns.

    Parameters
    ----------
    positions : (n, 2) array
    order : str
    line : int
        As in `frame_order`.

    Returns
    -------
    (n, 2) array
    """
    return positions if order == "as-is" else positions[frame_order(len(positions), order, line)]


def possible_orders(count: int) -> Iterator[tuple[str, int]]:
    """Yield every order but the given one, with each length of lines that the positions fill."""
    yield "reversed", 0
    for line in range(3, count // 3 + 1):
        if count % line == 0:
            for order in LINED:
                yield order, line
