"""Views of stacks that stay on disk: several as one, other orders of axes, a scan grid as a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptycho_lib.io.lazy_stack import Array, read_patterns


class Joined:
    """Several stacks, one after the other, as one."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __getitem__(self, key: Any) -> Array:
        wanted = np.atleast_1d(np.arange(self.shape[0])[key])
        result = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            result[mine] = read_patterns(self._parts[number], wanted[mine] - self._starts[number])
        return result


class LastAxis:
    """A stack (rows, columns, n) seen as (n, rows, columns)."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.dtype = source.dtype
        self.shape = (source.shape[-1], *source.shape[:-1])

    def __getitem__(self, key: Any) -> Array:
        return np.moveaxis(np.asarray(self._source[..., key]), -1, 0)


class Exchanged:
    """A stack (..., columns, rows), as MATLAB stores it, seen as (..., rows, columns)."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.dtype = source.dtype
        self.shape = (*source.shape[:-2], source.shape[-1], source.shape[-2])

    def __getitem__(self, key: Any) -> Array:
        return np.asarray(self._source[key]).swapaxes(-1, -2)


class Grid:
    """A stack (lines, positions in a line, rows, columns) seen as (n, rows, columns), line after line."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.dtype = source.dtype
        self.lines, self.line = source.shape[:2]
        self.shape = (self.lines * self.line, *source.shape[2:])

    def __getitem__(self, key: Any) -> Array:
        wanted = np.arange(self.shape[0])[key]
        if np.ndim(wanted) == 0:
            return np.asarray(self._source[int(wanted) // self.line, int(wanted) % self.line])
        result = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for row in np.unique(wanted // self.line):
            mine = wanted // self.line == row
            columns, inverse = np.unique(wanted[mine] % self.line, return_inverse=True)
            first, last = int(columns[0]), int(columns[-1]) + 1
            result[mine] = np.asarray(self._source[int(row), first:last])[columns - first][inverse]
        return result
