"""The samples of a training as streams of batches, for gradient steps and for validation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.networks.batches import (
    Indices,
    MixedSamples,
    Samples,
    central_half,
    epoch_batches,
    hold_out,
    input_scale,
    mixed,
    overlap_partners,
    sample_groups,
)

KEPT_BYTES = 2**28
"""Validation batches are kept in memory up to this size: there are dozens of validations, all of the same samples."""

AT_A_TIME = 64
"""Patterns of a validation batch."""


@dataclass(frozen=True, eq=False)
class Batching:
    """How the samples of a training are put into batches.

    Parameters
    ----------
    samples : Samples or MixedSamples
        Those of the gradient steps, then the held-out ones.
    count : int
        Number of the former.
    labelled : bool
        Whether the object patches come with the patterns.
    merged : int
        Neighbouring samples that stand together in a batch.
    batch_size, steps : int
        Samples in a gradient step, and steps in an epoch.
    devices : int
        Share a batch evenly, and never divide a group.
    partners : (m, NEIGHBOURS) int array
        From `overlap_partners`; always of the same scan.
    reach_px : int
        Largest offset within a group of merged patches, whole pixels.
    seed : int
        Of the order.
    """

    samples: Samples | MixedSamples
    count: int
    labelled: bool
    merged: int
    batch_size: int
    steps: int
    devices: int
    partners: Indices
    reach_px: int
    seed: int


def plan_batches(
    scans: Sequence[PtychoDataset], config: StudyConfig, seed: int, *, labelled: bool, devices: int = 1
) -> Batching:
    """Choose the samples of a training and how they are batched.

    Parameters
    ----------
    scans : sequence of PtychoDataset
        The training subset of each scan, in nested order. A batch holds samples of several; those whose
        patches are merged are of one.
    config : StudyConfig
    seed : int
        Of groups and order.
    labelled : bool
        For a supervised network: single samples with their object patches. PtychoPINN merges neighbours at
        gridsize 1.
    devices : int
        That share a batch.

    Returns
    -------
    Batching
    """
    plans = [_plan_scan(scan, config, seed, labelled=labelled, devices=devices) for scan in scans]
    return plans[0] if len(plans) == 1 else _together(plans, config, devices)


def _plan_scan(dataset: PtychoDataset, config: StudyConfig, seed: int, *, labelled: bool, devices: int) -> Batching:
    """Return the plan of a training on one scan."""
    gridsize, training = config.network.gridsize, config.training
    parts = hold_out(len(dataset), config.sampling.validation_fraction, gridsize)
    fit, held = (sample_groups(dataset.positions_px, part, gridsize, seed) for part in parts)
    members = np.concatenate([fit, held])
    samples = Samples(dataset, members, input_scale(dataset), object_scale(dataset) if labelled else 1.0)
    merged = 1 if labelled else max(1, min(training.merged_patches // gridsize**2, len(fit)))
    centres = dataset.positions_px[members[:, 0]]
    partners = overlap_partners(centres, centres[: len(fit)], reach_px=dataset.patch_size / 2)
    return Batching(
        samples=samples,
        count=len(fit),
        labelled=labelled,
        merged=merged,
        batch_size=_batch_size(training.batch_size, merged * devices),
        steps=training.steps_per_epoch,
        devices=devices,
        partners=partners,
        reach_px=_reach_px(dataset.positions_px, members, partners if merged > 1 else None),
        seed=seed,
    )


def _together(plans: list[Batching], config: StudyConfig, devices: int) -> Batching:
    """Return the plan of a training on several scans: the samples of the gradient steps first, scan by scan."""
    fit = [np.arange(plan.count) for plan in plans]
    held = [np.arange(plan.count, len(plan.samples)) for plan in plans]
    starts = np.cumsum([0, *(plan.count for plan in plans)])
    source = [
        np.stack([np.full(len(numbers), scan), numbers], axis=1)
        for part in (fit, held)
        for scan, numbers in enumerate(part)
    ]
    partners = [
        np.where(plan.partners >= 0, plan.partners + start, -1) for plan, start in zip(plans, starts, strict=False)
    ]
    merged = min(plan.merged for plan in plans)
    samples = [plan.samples for plan in plans if isinstance(plan.samples, Samples)]
    return replace(
        plans[0],
        samples=mixed(samples, np.concatenate(source), config.network),
        count=int(starts[-1]),
        merged=merged,
        batch_size=_batch_size(config.training.batch_size, merged * devices),
        partners=np.concatenate(
            [near[numbers] for part in (fit, held) for near, numbers in zip(partners, part, strict=True)]
        ),
        reach_px=max(plan.reach_px for plan in plans),
    )


def _batch_size(wanted: int, unit: int) -> int:
    """Return the batch size that holds whole groups on every device."""
    return max(unit, wanted // unit * unit)


def _reach_px(positions_px: np.ndarray, members: Indices, partners: Indices | None) -> int:
    """Return the largest offset within the samples (m, k), and between a sample and its partners."""
    offsets = [positions_px[members] - positions_px[members[:, :1]]]
    if partners is not None:
        near = np.where(partners >= 0, partners, np.arange(len(members))[:, None])
        centres = positions_px[members[:, 0]]
        offsets.append(centres[near] - centres[:, None])
    return math.ceil(max(float(np.abs(offset).max()) for offset in offsets))


def object_scale(dataset: PtychoDataset) -> float:
    """Return the root mean square amplitude of the object that the labels are cut from."""
    some = np.unique(np.linspace(0, len(dataset) - 1, 512).astype(np.int64))
    power = np.square(np.abs(central_half(dataset.object_patches(some))), dtype=np.float64).mean()
    return float(np.sqrt(power)) or 1.0


def training_stream(plan: Batching, epoch: int) -> tf.data.Dataset:
    """Return the batches of the gradient steps from an epoch on, without end."""

    def batches() -> Iterator[Any]:
        for number in itertools.count(epoch):
            order = epoch_batches(
                plan.count, plan.steps, plan.batch_size, plan.merged, plan.partners, plan.seed, number
            )
            yield from (_batch(plan, chosen) for chosen in order)

    return _stream(plan, batches, plan.batch_size)


def validation_stream(plan: Batching) -> tf.data.Dataset:
    """Return the held-out samples once, each with its nearest training samples to be merged with."""
    once = np.arange(plan.count, len(plan.samples))
    # Repeated to fill the devices; what is repeated does not count.
    held = np.resize(once, -(-len(once) // plan.devices) * plan.devices)
    counts = np.zeros((len(held), plan.merged), np.float32)
    counts[: len(once), 0] = 1
    groups = np.repeat(held[:, None], plan.merged, axis=1)
    nearest = plan.partners[held, : plan.merged - 1]
    groups[:, 1:] = np.where(nearest >= 0, nearest, groups[:, 1:])
    per_batch = max(1, AT_A_TIME // plan.merged // plan.devices) * plan.devices

    def batches() -> Iterator[Any]:
        for start in range(0, len(held), per_batch):
            chosen = slice(start, start + per_batch)
            yield _batch(plan, groups[chosen].ravel(), counts[chosen].ravel())

    stream = _stream(plan, batches, None)
    sample = sum(array.nbytes for array in tf.nest.flatten(_batch(plan, once[:1])))
    stream = stream.cache() if groups.size * sample <= KEPT_BYTES else stream
    return stream.apply(tf.data.experimental.assert_cardinality(-(-len(held) // per_batch)))


def _batch(plan: Batching, chosen: Indices, counts: np.ndarray | float = 1.0) -> Any:
    inputs = plan.samples.inputs(chosen)
    inputs["weight"] *= np.reshape(counts, (-1, 1))
    return (inputs, plan.samples.labels(chosen)) if plan.labelled else (inputs,)


def _stream(plan: Batching, batches: Callable[[], Iterator[Any]], size: int | None) -> tf.data.Dataset:
    example = _batch(plan, np.zeros(1, np.int64))
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec((size, *x.shape[1:]), x.dtype), example)
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
    options = tf.data.Options()
    # There is nothing to tune, and at the end of a training its thread is waited for up to half a minute.
    options.autotune.enabled = False
    return stream.with_options(options)
