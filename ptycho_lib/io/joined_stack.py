"""Several stacks of patterns as one, without loading any: a scan that lies in several files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptycho_lib.io.lazy_stack import Array, read_patterns


class JoinedStack:
    """Stacks one behind the other along their first axis.

    Parameters
    ----------
    parts : sequence of stacks
        (n_k, ...), alike in all but their number of patterns.

    Raises
    ------
    ValueError
        If there is no stack, or their patterns differ in shape.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"stacks of one pattern shape are joined, not of {sorted(shapes)}")
        self.parts = tuple(parts)
        self.ends = np.cumsum([part.shape[0] for part in parts])
        self.shape = (int(self.ends[-1]), *shapes.pop())
        self.dtype = np.result_type(*(part.dtype for part in parts))

    ndim = property(lambda self: len(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        first, *rest = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(len(self))[first]
        wanted = np.atleast_1d(chosen)
        result = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self.ends, wanted, side="right")
        for number in np.unique(owner):
            mine = owner == number
            start = self.ends[number] - self.parts[number].shape[0]
            result[mine] = read_patterns(self.parts[number], wanted[mine] - start)
        if np.ndim(chosen) == 0:
            return np.asarray(result[0][tuple(rest)] if rest else result[0])
        return result[(slice(None), *rest)] if rest else result
