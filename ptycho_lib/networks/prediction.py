"""Prediction: the object patches that a trained network sees in diffraction patterns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.sampling import neighbour_groups
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.io.lazy_stack import read_patterns, release, scratch
from ptycho_lib.networks.batches import Samples, input_scale, probe_in_use
from ptycho_lib.networks.guesses import Guesser, in_order
from ptycho_lib.networks.models import ReconstructionNetwork, build_untrained
from ptycho_lib.resource_usage import Meter, Usage


@dataclass(frozen=True)
class PredictedPatches:
    """Object patches that a network sees in diffraction patterns.

    Parameters
    ----------
    patches : (m, N/2, N/2) complex64
        The resolved central regions; in a temporary file if they are many (`data.stack.scratch`).
    positions_px : (m, 2) float64
        Their centres (row, column), object pixels.
    usage : Usage
        Of the prediction; its seconds with reading the patterns, without compiling.
    """

    patches: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    usage: Usage


def predict_patches(
    network: ReconstructionNetwork,
    dataset: PtychoDataset,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cached: ArrayCache | None = None,
) -> PredictedPatches:
    """Reconstruct the object patches of a dataset's patterns.

    Parameters
    ----------
    network : ReconstructionNetwork
    dataset : PtychoDataset
        Of the network's pattern size. Its own probe makes the first guess, whatever probe the network was
        trained with, and it has its own input scale. For gridsize > 1 each pattern forms a
        group with its nearest neighbours, and gives gridsize² patches.
    batch_size : int, optional
        Samples at a time; by default as many as have `guesses.PIXELS_AT_A_TIME`.
    seed : int
        Of `data.sampling.neighbour_groups`.
    progress : callable, optional
        Called after every batch with the number of samples done, and that of all.
    cached : ArrayCache, optional
        Where first guesses are kept for other networks. Patches are the same without, and seconds count them.

    Returns
    -------
    PredictedPatches

    Raises
    ------
    InputError
        If the patterns have another size than the network.
    """
    if dataset.patch_size != network.patch_size:
        found, expected = (f"patterns of {size}×{size} pixels" for size in (dataset.patch_size, network.patch_size))
        fix = "Crop or pad them with `ptycho-study prepare`, or train a network of this size."
        raise InputError(Problem(dataset.source or "dataset", "diffraction", found, expected, fix))
    meter = Meter()
    members = neighbour_groups(dataset.positions_px, network.options.gridsize, seed)
    samples = Samples(dataset, members, input_scale(dataset))
    light = probe_in_use(dataset, network.options)
    guesser = Guesser(network.first_guess, samples, light, batch_size)
    kept = guesser.kept(cached) if network.needs_guess else None
    half, probe, count = dataset.patch_size // 2, tf.constant(light), len(samples)
    patches = scratch((*members.shape, half, half), np.complex64)

    def predict(start: int) -> NDArray[np.complex64]:
        if not network.needs_guess:
            inputs = {"diffraction": tf.constant(samples.amplitudes(guesser.chosen(start)))}
        elif kept is None:
            inputs = {"guess": guesser.batch(start)}
        else:
            inputs = {"guess": tf.constant(read_patterns(kept.values, guesser.chosen(start)))}
        found: NDArray[np.complex64] = network.central_patches(inputs, probe).numpy()
        return found

    predict(0)
    started = time.perf_counter()
    for start, found in in_order(predict, guesser.starts()):
        patches[start : start + len(found)] = found[: count - start]
        release(patches)
        if progress is not None:
            progress(min(start + len(found), count), count)
    seconds = time.perf_counter() - started + (kept.seconds if kept else 0.0)
    positions = dataset.positions_px[members].reshape(-1, 2)
    return PredictedPatches(patches.reshape(-1, half, half), positions, meter.read(seconds=seconds))


def predict_untrained(
    config: NetworkConfig, dataset: PtychoDataset, *, cached: ArrayCache | None = None
) -> PredictedPatches:
    """Return the first guess for a dataset's patterns, as the control of a study.

    Parameters
    ----------
    config : NetworkConfig
        Of the study: the control makes the first guess of its networks.
    dataset : PtychoDataset
    cached : ArrayCache, optional
        As for `predict_patches`.

    Returns
    -------
    PredictedPatches
    """
    return predict_patches(build_untrained(config, dataset), dataset, cached=cached)
