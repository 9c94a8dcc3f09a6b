"""First guesses of a dataset's samples: the same for every network, so made once and shared.

They depend on the patterns, the probe and the settings of the first guess, not on what a network has learned.
A study keeps them in a cache for all its runs; where that is off, or not possible, they are made again.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.io.lazy_stack import release, scratch
from ptycho_lib.networks.batches import MixedSamples, Samples, photons_per_pixel
from ptycho_lib.networks.first_guess import FirstGuess, Schedule

PIXELS_AT_A_TIME = 64 * 64**2
"""Pixels of all waves of a batch, one for each pattern and probe mode: enough that starting each operation costs
little, few enough for the cache (docs/methods/networks.md)."""

IN_FLIGHT = 2
"""Batches under way at a time: one is read and handed back while another is computed."""

IN_MEMORY_BYTES = 2**30
"""First guesses of a training are kept in memory up to this size, else made batch by batch, or read from the cache."""

SOURCES = ("first_guess.py", "layers.py", "guesses.py")
"""The modules that first guesses are made by."""


@dataclass(frozen=True)
class FirstGuesses:
    """The first guesses of samples.

    Parameters
    ----------
    values : (m, k, N, N, 2) float32
        Real and imaginary parts; mapped from the disk if they come from a cache.
    seconds : float
        What making them took, without compiling, whoever made them.
    found : bool
        Whether they were there before.
    """

    values: NDArray[np.float32]
    seconds: float
    found: bool


Guess = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Schedule], tf.Tensor]


@cache
def guess_function(patch_size: int, iterations: int, damping: float) -> Guess:
    """Return the compiled first guess, the same for all networks of a process.

    It takes amplitudes (b, k, N, N), positions (b, k, 2), modes (m, N, N) of the probe and the schedule, and
    returns (b, k, N, N, 2) float32.
    """
    layer = FirstGuess(patch_size, iterations=iterations, damping=damping)

    def guess(amplitude: tf.Tensor, positions_px: tf.Tensor, probe: tf.Tensor, schedule: Schedule) -> tf.Tensor:
        return layer(amplitude, positions_px, probe=probe, schedule=schedule)

    compiled: Guess = tf.function(guess)  # not for shapes of any size: each is made fast by knowing its own
    return compiled


class Guesser:
    """Makes the first guesses of the samples of one dataset, batch by batch.

    Parameters
    ----------
    layer : FirstGuess
        Whose settings are taken, not its probe.
    samples : Samples
    probe : (m, N, N) complex64 array
        Of these patterns, on the input scale.
    batch_size : int, optional
        Samples at a time; by default as many as have `PIXELS_AT_A_TIME`.
    """

    def __init__(
        self, layer: FirstGuess, samples: Samples, probe: NDArray[np.complex64], batch_size: int | None = None
    ) -> None:
        count, k = samples.members.shape
        size = samples.dataset.patch_size
        self.samples, self.batch_size = samples, batch_size or fitting_batch(size, count, k * len(probe))
        self.shape = (count, k, size, size, 2)
        self.settings = (layer.iterations, layer.damping)
        self._function = guess_function(size, *self.settings)
        self._probe, self._light = tf.constant(probe), probe
        dose = photons_per_pixel(samples.dataset)
        self._schedule = layer.schedule(together=k > 1, probe=self._probe, photons_px=dose)
        self.seconds = 0.0

    def starts(self) -> range:
        """Return the first sample of each batch."""
        return range(0, len(self.samples), self.batch_size)

    def chosen(self, start: int) -> NDArray[np.int64]:
        """Return the samples of a batch; the last is filled up: one shape, one compilation."""
        return np.arange(start, start + self.batch_size) % len(self.samples)

    def batch(self, start: int) -> tf.Tensor:
        """Return the first guesses of a batch, (batch_size, k, N, N, 2)."""
        chosen = self.chosen(start)
        amplitudes, positions = self.samples.amplitudes(chosen), self.samples.positions_px(chosen)
        return self._function(tf.constant(amplitudes), tf.constant(positions), self._probe, self._schedule)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the first guesses of all samples in order, and note the seconds."""
        self.batch(0)  # compiled before the clock starts
        started = time.perf_counter()
        for start, block in in_order(lambda start: self.batch(start).numpy(), self.starts()):
            yield block[: len(self.samples) - start]
        self.seconds = time.perf_counter() - started

    def kept(self, cached: ArrayCache | None) -> FirstGuesses | None:
        """Return the first guesses from a cache, made if need be; None without one."""
        if cached is None or self.settings[0] == 0:
            return None
        entry = cached.array(self.name(), self.shape, np.float32, self.blocks, lambda: self.seconds)
        return None if entry is None else FirstGuesses(entry.values, entry.seconds, entry.found)

    def name(self) -> str:
        """Return a SHA-256 (hex) of all that the values depend on: inputs, settings, code, kind of machine."""
        total = hashlib.sha256()
        devices = sorted({device.device_type for device in tf.config.list_physical_devices()})
        facts = (self.settings, self._schedule, self.shape, tf.__version__, platform.machine(), devices)
        total.update(repr(facts).encode())
        for module in SOURCES:
            total.update((Path(__file__).parent / module).read_bytes())
        total.update(np.ascontiguousarray(self._light).data)
        everything = np.arange(len(self.samples))
        for start in self.starts():
            amplitudes = self.samples.amplitudes(everything[start : start + self.batch_size])
            total.update(np.ascontiguousarray(amplitudes).data)
        total.update(self.samples.positions_px(everything).tobytes())
        return total.hexdigest()


def with_first_guesses(
    layer: FirstGuess, samples: Samples | MixedSamples, cached: ArrayCache | None = None
) -> tuple[Samples | MixedSamples, float]:
    """Return the samples of a training with their first guesses, each under the probe of its scan.

    Those of one scan that are too many to be kept are left to be made batch by batch. Those of several are
    kept in any case, on disk if need be: a batch may hold patterns under different probes.

    Parameters
    ----------
    layer : FirstGuess
        Of the network; holds the probe of a single scan.
    samples : Samples or MixedSamples
    cached : ArrayCache, optional
        Where first guesses are kept.

    Returns
    -------
    samples : Samples or MixedSamples
    seconds : float
        What making those took that were in the cache already.
    """
    if layer.iterations == 0:
        return samples, 0.0
    if isinstance(samples, Samples):
        values, seconds = _of_scan(layer, samples, layer.probe.numpy(), cached, always=False)
        return replace(samples, guess=values), seconds
    parts, total = [], 0.0
    for part, modes in zip(samples.parts, samples.probes, strict=True):
        values, seconds = _of_scan(layer, part, modes[np.any(modes, axis=(1, 2))], cached, always=True)
        parts.append(replace(part, guess=values))
        total += seconds
    return replace(samples, parts=tuple(parts)), total


def _of_scan(
    layer: FirstGuess, samples: Samples, probe: NDArray[np.complex64], cached: ArrayCache | None, *, always: bool
) -> tuple[NDArray[np.float32] | None, float]:
    """Return first guesses and what those from the cache took; None if they are too many and not wanted `always`."""
    guesser = Guesser(layer, samples, probe)
    small = 4 * int(np.prod(guesser.shape, dtype=np.int64)) <= IN_MEMORY_BYTES
    kept = guesser.kept(cached)
    if kept is not None:
        return np.array(kept.values) if small else kept.values, kept.seconds if kept.found else 0.0
    if not (small or always):
        return None, 0.0
    values, start = scratch(guesser.shape, np.float32), 0
    for block in guesser.blocks():
        values[start : start + len(block)] = block
        start += len(block)
        release(values)
    return values, 0.0


def fitting_batch(patch_size: int, count: int, waves: int) -> int:
    """Return how many samples, each of some waves, are computed at a time."""
    return min(max(1, PIXELS_AT_A_TIME // (waves * patch_size**2)), count)


def in_order(compute: Callable[[int], Any], starts: range) -> Iterator[tuple[int, Any]]:
    """Yield each start with what is computed for it, `IN_FLIGHT` at a time and no further ahead."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting: deque[tuple[int, Future[Any]]] = deque()
        for start in starts:
            waiting.append((start, pool.submit(compute, start)))
            if len(waiting) > IN_FLIGHT:
                first, done = waiting.popleft()
                yield first, done.result()
        while waiting:
            first, done = waiting.popleft()
            yield first, done.result()
