"""Stacks of diffraction patterns that stay on disk: select and convert, without loading.

A stack is anything with `.shape`, `.dtype` and indexing along its first axis: a numpy array, an
`np.memmap`, an h5py dataset, or the lazy `StackView` of one of them.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK_BYTES = 16 * 2**20
"""Memory of one block when a whole stack is passed through."""
SCRATCH_BYTES = 2**28
"""Largest array of results that is kept in memory: the patches of 32 768 patterns of 64 × 64."""


class StackView:
    """A selection of a stack, converted block by block when it is read.

    Parameters
    ----------
    source : stack
        (n, ...) array-like.
    indices : (k,) int array, optional
        Patterns of the view, in its order; all of them by default.
    function : callable, optional
        Maps a block (b, ...) of source patterns to (b, *pattern_shape); must treat each pattern alone.
    pattern_shape : tuple of int, optional
        Shape after `function`; that of the source by default.
    dtype : dtype, optional
        Type after `function`; that of the source by default.
    """

    def __init__(
        self,
        source: Any,
        *,
        indices: Array | None = None,
        function: Callable[[Array], Array] | None = None,
        pattern_shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.source = source
        self._indices = np.arange(source.shape[0]) if indices is None else np.asarray(indices, dtype=np.int64)
        self._function = function
        self.dtype = np.dtype(source.dtype if dtype is None else dtype)
        self.shape = (len(self._indices), *(source.shape[1:] if pattern_shape is None else pattern_shape))

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape, dtype=np.int64)))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        first, *rest = key if isinstance(key, tuple) else (key,)
        chosen = self._indices[first]
        block = read_patterns(self.source, np.atleast_1d(chosen))
        if self._function is not None:
            block = self._function(block)
        block = np.asarray(block, dtype=self.dtype)
        block = block[0] if np.ndim(chosen) == 0 else block
        if rest:
            block = block[tuple(rest)] if np.ndim(chosen) == 0 else block[(slice(None), *rest)]
        return block

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a StackView is read from its source; it cannot become an array without a copy")
        result = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for part, block in blocks(self):
            result[part] = block
        return result


def read_patterns(stack: Any, indices: Array) -> Array:
    """Return the patterns at `indices`, in that order, repeats allowed, as an array in memory.

    h5py reads increasing indices only, and contiguous ranges much faster: the order is restored afterwards.
    """
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) == 0:
        return np.empty((0, *stack.shape[1:]), stack.dtype)
    if np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        patterns = np.array(stack[int(indices[0]) : int(indices[-1]) + 1])
        release(stack)
        return patterns
    unique, inverse = np.unique(indices, return_inverse=True)
    patterns = np.asarray(stack[unique])[inverse]
    release(stack)
    return patterns


def select(stack: Any, indices: Array) -> Any:
    """Return a selection: an array of an array in memory, a lazy view of anything on disk."""
    indices = np.asarray(indices, dtype=np.int64)
    if isinstance(stack, np.ndarray) and not isinstance(stack, np.memmap):
        return stack[indices]
    return StackView(stack, indices=indices)


def blocks(stack: Any, nbytes: int = CHUNK_BYTES) -> Iterator[tuple[slice, Array]]:
    """Yield (slice, array) over the whole stack, each array at most about `nbytes` large."""
    per_pattern = max(1, int(np.prod(stack.shape[1:], dtype=np.int64)) * np.dtype(stack.dtype).itemsize)
    step = max(1, nbytes // per_pattern)
    for start in range(0, stack.shape[0], step):
        part = slice(start, min(start + step, stack.shape[0]))
        yield part, np.asarray(stack[part])
        release(stack)


def mean_total(stack: Any) -> float:
    """Return the mean over patterns of Σ value²; what is not finite, or negative, counts as zero."""
    total = 0.0
    for _, block in blocks(stack):
        total += float(np.square(block, dtype=np.float64).sum(where=np.isfinite(block) & (block > 0)))
    return total / max(stack.shape[0], 1)


def release(stack: Any) -> None:
    """Give the memory of a mapped file back to the system: what is needed again is read again.

    Pages of a file that were looked at count as resident memory; without this a pass through a stack on disk
    would seem to need all of it.
    """
    if isinstance(stack, StackView):
        release(stack.source)
        return
    owner: Any = getattr(stack, "_mmap", None)  # of an np.memmap, and of every view of it
    # Not of a copy-on-write map: its changes live in these pages alone.
    shared = isinstance(owner, mmap.mmap) and getattr(stack, "mode", None) in ("r", "r+", "w+")
    if shared and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array to be filled: in memory, or above `SCRATCH_BYTES` in a temporary file.

    The file has no name and goes with the array. `release` it after each block that was written or read.
    """
    if np.prod(shape, dtype=object) * np.dtype(dtype).itemsize <= SCRATCH_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as stream:
        return np.memmap(stream, dtype, mode="w+", shape=shape)
