"""What a GPU gives: right numbers first, then speed and memory.

Run ``python benchmarks/gpu.py [--sizes "64 128 256"] [--batches "16 64 256"] [--seconds 3]`` where `ptycho-lib[gpu]` is
installed. It prints the devices; the largest differences of first guess, loss and gradients from the processor's,
beside what is tolerated; training and prediction in patterns a second and the device's peak memory, plain, with
XLA, and in bfloat16; and, with two devices or more, whether a training on all of them gives the losses of
one. ``--logical 2`` makes two devices of the processor, to try the same path without a GPU.

It has not been run on a GPU yet: the project had none. Its path on two logical devices is a test.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import tensorflow as tf  # noqa: TID253 - the benchmark is of TensorFlow

from ptycho_lib.config import StudyConfig, parse_config
from ptycho_lib.data.dataset import PtychoDataset, materialise
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.networks import training
from ptycho_lib.networks.batches import probe_in_use
from ptycho_lib.networks.devices import configure_devices
from ptycho_lib.networks.guesses import with_first_guesses
from ptycho_lib.networks.models import build_pinn
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.streams import plan_batches, training_stream
from ptycho_lib.physics import objects, probes

TOLERATED = {"first guess": 1e-3, "loss": 1e-4, "gradient": 1e-2}
"""Largest differences from the processor, relative to the largest value: float32 sums in another order, through twenty
iterations of the first guess, and through a network."""

DISTRIBUTED = 1e-4
"""Largest relative difference of the first losses between one device and several."""

WAYS = {"float32": {}, "XLA": {"jit_compile": True}, "bfloat16": {"precision": "mixed_bfloat16"}}


def scan(n: int, size: int, seed: int = 1) -> PtychoDataset:
    """Return `n` patterns of a random texture under a curved disc, 1e6 photons each."""
    rng = np.random.default_rng(seed)
    edge = 3 * size
    obj = objects.transmission(objects.lines((edge, edge), rng), amplitude=(0.5, 1.0), phase_rad=(-0.5, 0.5))
    rows, columns = np.mgrid[:size, :size] - size // 2
    disc = probes.disc(size, 0.44 * size, smoothing_px=size / 32)
    light = (disc * np.exp(0.012j * (rows**2 + columns**2) * (64 / size) ** 2)).astype(np.complex64)
    positions = rng.uniform(size // 2, edge - size // 2 - 1, (n, 2))
    return materialise(simulate_dataset(obj, light, positions, detector=Detector(photons_per_pattern=1e6), seed=seed))


def study(**settings: Any) -> StudyConfig:
    """Return the default configuration with these settings of the training."""
    return parse_config({"training": settings}, "gpu.py")


def first_step(device: str, data: PtychoDataset) -> dict[str, np.ndarray]:
    """Return first guesses, loss and gradients of one batch, as one device computes them."""
    config = study()
    with tf.device(device):
        plan = plan_batches([data], config, 0, labelled=False)
        tf.keras.utils.set_random_seed(0)
        group = {"merged_patches": plan.merged, "reach_px": plan.reach_px}
        network = build_pinn(config.network, probe_in_use(data, config.network), **group)
        for weight in network.backbone.trainable_weights:  # those that start at zero would hide the others
            weight.assign(np.random.default_rng(list(map(int, weight.shape))).normal(0, 0.05, weight.shape))
        samples, _ = with_first_guesses(network.first_guess, plan.samples)
        inputs, *_ = next(iter(training_stream(replace(plan, samples=samples), 0)))
        with tf.GradientTape() as tape:
            loss = network.compute_loss(inputs, None, network(inputs, training=True))
        slopes = tape.gradient(loss, network.backbone.trainable_weights)
    flat = np.concatenate([np.ravel(slope) for slope in slopes])
    return {"first guess": np.asarray(samples.guess), "loss": np.asarray(loss), "gradient": flat}


def correctness(devices: Sequence[str], data: PtychoDataset) -> bool:
    """Print how far each device is from the processor; return whether all are near enough."""
    expected = first_step("CPU:0", data)
    good = True
    for device in devices:
        for what, found in first_step(device, data).items():
            off = float(np.abs(found - expected[what]).max() / np.abs(expected[what]).max())
            good &= off <= TOLERATED[what]
            verdict = "met" if off <= TOLERATED[what] else "MISSED"
            print(f"{device:<8}{what:<14}off by {off:.1e}   tolerated {TOLERATED[what]:.0e}: {verdict}", flush=True)
    return good


def throughput(device: str, size: int, batch: int, way: dict[str, Any], seconds: float) -> str:
    """Return training and prediction in patterns a second, and the device's peak memory."""
    data = scan(max(2 * batch, 64), size)
    ends: list[float] = []

    def enough() -> bool:
        ends.append(time.monotonic())
        return ends[-1] - ends[0] > seconds

    config = study(steps=100_000, validations=5_000, batch_size=batch, **way)
    on_gpu = device.startswith("GPU")
    if on_gpu:
        tf.config.experimental.reset_memory_stats(device)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, on([device]):
        trained = training.train_model("pinn", data, config, 1, folder, should_stop=enough)
        seen = predict_patches(trained.network, data)
    rate = (len(ends) - 1) * config.training.steps_per_epoch * batch / max(ends[-1] - ends[0], 1e-9)
    memory = tf.config.experimental.get_memory_info(device)["peak"] if on_gpu else seen.usage.peak_memory_bytes
    predicted = len(seen.patches) / seen.usage.seconds
    return f"{ends[0] - begin:>9.1f}{rate:>12.0f}{predicted:>14.0f}{memory / 1e9:>10.2f}"


def several(devices: Sequence[str], data: PtychoDataset) -> bool:
    """Print how far the losses on all devices are from those on one; return whether they agree."""
    losses = []
    for chosen in (devices[:1], devices):
        with tempfile.TemporaryDirectory() as folder, on(chosen):
            config = study(steps=4, validations=2)
            trained = training.train_model("pinn", data, config, 1, folder)
            losses.append(trained.history["loss"].to_numpy())
    off = float(np.abs(losses[1] / losses[0] - 1).max())
    verdict = "met" if off <= DISTRIBUTED else "MISSED"
    print(f"{len(devices)} devices: losses off by {off:.1e}   tolerated {DISTRIBUTED:.0e}: {verdict}", flush=True)
    return off <= DISTRIBUTED


def on(devices: Sequence[str]) -> Any:
    """Return the context in which trainings run on these devices."""
    one = len(devices) == 1
    strategy = tf.distribute.OneDeviceStrategy(devices[0]) if one else tf.distribute.MirroredStrategy(list(devices))
    return patch.object(training, "distribution", lambda: strategy)


def devices_of(logical: int) -> list[str]:
    """Return the devices to measure: all GPUs, or so many that are made of the processor."""
    if logical:
        (processor,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * logical
        tf.config.set_logical_device_configuration(processor, parts)
        return [f"CPU:{k}" for k in range(logical)]
    configure_devices()
    return [f"GPU:{k}" for k in range(len(tf.config.list_physical_devices("GPU")))]


def alone(logical: int, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call on the devices returns; run in a process of its own."""
    return call(devices_of(logical), *arguments)


def row(devices: Sequence[str], *arguments: Any) -> str:
    """Return the throughput on the first device."""
    return throughput(devices[0], *arguments)


@click.command(help=__doc__)
@click.option("--sizes", default="64 128 256", help="Pattern sizes N.")
@click.option("--batches", default="16 64 256", help="Patterns in a gradient step.")
@click.option("--ways", default=" ".join(WAYS), help=f"Some of: {', '.join(WAYS)}.")
@click.option("--seconds", default=3.0, help="Length of each measurement.")
@click.option("--logical", default=0, help="Make so many devices of the processor instead.")
def main(sizes: str, batches: str, ways: str, seconds: float, logical: int) -> None:
    """Print everything; exit with 1 if a number is not right."""
    data = scan(64, int(sizes.split(maxsplit=1)[0]))
    # A process for each: determinism, once promised, cannot be taken back, and peak memory is that of a process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        devices = pool.submit(alone, logical, list).result()
        if not devices:
            sys.exit("TensorFlow sees no GPU: install `ptycho-lib[gpu]` on a machine that has one, or try --logical 2.")
        print(f"TensorFlow {tf.__version__}: {', '.join(devices)}", flush=True)
        good = pool.submit(alone, logical, correctness, data).result()
        if len(devices) > 1:
            good &= pool.submit(alone, logical, several, data).result()
        print(f"{'way':<10}{'N':>5}{'batch':>7}{'start s':>9}{'training/s':>12}{'prediction/s':>14}{'peak GB':>10}")
        for size, batch, way in itertools.product(map(int, sizes.split()), map(int, batches.split()), ways.split()):
            measured = pool.submit(alone, logical, row, size, batch, WAYS[way], seconds)
            try:
                print(f"{way:<10}{size:>5}{batch:>7}{measured.result()}", flush=True)
            except (tf.errors.OpError, ValueError) as problem:  # such as memory that does not suffice
                print(f"{way:<10}{size:>5}{batch:>7}   {str(problem).splitlines()[0][:80]}", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
