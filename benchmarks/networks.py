"""Quality and speed of the networks: what a training of given length reaches, and how fast it runs.

``python benchmarks/networks.py quality`` trains both models on the curved-probe data set of docs/methods/networks.md
for several lengths and prints the held-out quality of each; ``lines`` does so for PtychoPINN on line objects,
beside published values; ``throughput`` times gradient steps, predictions and stitching for several pattern,
batch and group sizes. Nothing else should run meanwhile.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd

from ptycho_lib.config import NETWORKS, StudyConfig, parse_config
from ptycho_lib.data.dataset import PtychoDataset, load_dataset, materialise
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.evaluation.reconstruction import Reconstruction, reconstruct
from ptycho_lib.evaluation.stitching import stitch
from ptycho_lib.networks.models import ReconstructionNetwork
from ptycho_lib.networks.prediction import PredictedPatches, predict_patches
from ptycho_lib.networks.training import TrainedModel, train_model
from ptycho_lib.physics import objects, probes
from ptycho_lib.report.figures.objects import comparison_figure
from ptycho_lib.report.results import side_by_side

REAL_PROBES = Path(__file__).parents[1] / "studies" / "siemens_star" / "velociprobe_probes.npz"


PUBLISHED_LINES = {
    ("flat", 1): 0.620,
    ("velociprobe", 1): 0.904,
    ("flat", 2): 0.952,
    ("velociprobe", 2): 0.968,
}
"""Published amplitude SSIM of PtychoPINN on line objects, by probe (idealised, experimental) and gridsize."""


def texture_scan(n: int, seed: int, *, probe: str = "curved", size: int = 64) -> PtychoDataset:
    """Return `n` patterns of a 224² texture: amplitude 0.3–1, phase ±0.5 rad, drawn apart."""
    rng = np.random.default_rng(seed)
    edge = 224 * size // 64

    def texture() -> np.ndarray:
        lines = objects.lines((edge, edge), rng)
        return objects.stretch(lines + 0.7 * objects.gaussian_random_field((edge, edge), rng))

    obj = objects.transmission(texture(), texture(), amplitude=(0.3, 1.0), phase_rad=(-0.5, 0.5))
    return random_scan(obj, n, seed, rng, probe=probe, size=size)


def lines_scan(n: int, seed: int, *, probe: str) -> PtychoDataset:
    """Return `n` patterns of 392² random lines, amplitude and phase of one material."""
    rng = np.random.default_rng(seed)
    obj = objects.transmission(objects.lines((392, 392), rng), amplitude=(0.6, 1.0), phase_rad=(0.0, 1.2))
    return random_scan(obj, n, seed, rng, probe=probe, size=64)


def random_scan(
    obj: np.ndarray, n: int, seed: int, rng: np.random.Generator, *, probe: str, size: int
) -> PtychoDataset:
    """Return `n` patterns at random positions of an object, 1e9 photons a pattern.

    The probe is a disc of radius 14 px smoothed by 2 px, `flat` or `curved` by 0.012·r² rad, or the
    `velociprobe`.
    """
    if probe == "velociprobe":
        with np.load(REAL_PROBES) as stored:
            light = stored[f"probe_n{size}"]
    else:
        light = probes.disc(size, 28 * size / 64, smoothing_px=2.0 * size / 64)
        if probe == "curved":
            rows, columns = np.mgrid[:size, :size] - size // 2
            light = light * np.exp(0.012j * (rows**2 + columns**2) * (64 / size) ** 2)
    positions = rng.uniform(size // 2, len(obj) - size // 2 - 1, (n, 2))
    detector = Detector(photons_per_pattern=1e9)
    return simulate_dataset(obj, light.astype(np.complex64), positions, detector=detector, seed=seed)


SCENES = {"texture": texture_scan, "lines": lines_scan}


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--train", "train_file", help="Training file; the curved-probe data set by default.")
@click.option("--test", "test_file", help="Test file.")
@click.option("--scene", default="texture", type=click.Choice(list(SCENES)), help="What is simulated.")
@click.option("--probe", default="curved", type=click.Choice(["curved", "flat", "velociprobe"]))
@click.option("--n-train", default="512", help="Training sizes, for instance '128 512'.")
@click.option("--steps", default="100 400 1600", help="Gradient steps of each training.")
@click.option("--models", default=" ".join(NETWORKS))
@click.option("--trials", default=1)
@click.option("--set", "settings", multiple=True, help="A setting, for instance network.width=16.")
@click.option("--picture", help="Draw the reconstructions of the last training of each model into this file.")
def quality(
    train_file: str | None,
    test_file: str | None,
    scene: str,
    probe: str,
    n_train: str,
    steps: str,
    models: str,
    trials: int,
    settings: tuple[str, ...],
    picture: str | None,
) -> None:
    """Held-out quality against training seconds."""
    largest = max(map(int, n_train.split()))
    train = load_dataset(train_file) if train_file else SCENES[scene](largest, 1, probe=probe)
    test = load_dataset(test_file) if test_file else SCENES[scene](512, 2, probe=probe)
    print("model       n_train trial steps  train s  patterns/s  amplitude MAE  SSIM   phase MAE  SSIM")
    last: dict[str, Reconstruction] = {}
    for size in map(int, n_train.split()):
        for count in map(int, steps.split()):
            for trial in range(1, trials + 1):
                for model in models.split():
                    last[model] = _quality(model, train, test, size, count, trial, settings)
    if picture:
        draw(test, last, picture)


def draw(test: PtychoDataset, results: dict[str, Reconstruction], path: str) -> None:
    """Save the truth and the aligned reconstructions as a picture."""
    objects = {model: result.obj for model, result in results.items()}
    mask = next(iter(results.values())).mask
    shown = side_by_side(test, objects, mask)
    figure = comparison_figure(shown.truth, shown.aligned, mask, seen=shown.seen)
    figure.savefig(path, dpi=115)


def study_config(training: dict[str, object], settings: tuple[str, ...], gridsize: int = 1) -> StudyConfig:
    """Return the default configuration with these changes; a setting is `section.key=value`."""
    plain: dict[str, dict[str, object]] = {"training": training, "network": {"gridsize": gridsize}}
    for setting in settings:
        name, value = setting.split("=")
        section, key = name.split(".")
        plain.setdefault(section, {})[key] = value
    return parse_config(plain, "--set")


def held_out(
    model: str, train: PtychoDataset, test: PtychoDataset, config: StudyConfig, trial: int
) -> tuple[TrainedModel, Reconstruction, pd.Series]:
    """Train; return the model, the test reconstruction, and its aligned metrics by component and metric."""
    with tempfile.TemporaryDirectory() as folder:
        trained = train_model(model, train, config, trial, folder)
    seen = predict_patches(trained.network, test)
    options = config.evaluation
    result = reconstruct(
        seen.patches,
        seen.positions_px,
        test,
        min_illumination=options.min_illumination,
        synchronise=options.synchronise_phases,
        correct_drift=options.correct_phase_drift,
        position_steps=options.position_correction_steps,
    )
    scores = result.compare(max_shift_px=2.0).query("alignment == 'aligned'")
    return trained, result, scores.set_index(["component", "metric"])["value"]


def _quality(
    model: str,
    train: PtychoDataset,
    test: PtychoDataset,
    size: int,
    steps: int,
    trial: int,
    settings: tuple[str, ...],
) -> Reconstruction:
    config = study_config({"steps": steps, "validations": 10}, settings)
    order = subset_order(train.positions_px, "representative", config.seeds(trial)["subset"])
    subset = train.select(order[:size])
    trained, result, value = held_out(model, subset, test, config, trial)
    shown = trained.outcome.steps * config.training.batch_size / trained.seconds
    print(
        f"{model:9s} {size:7d} {trial:5d} {trained.outcome.steps:5d} {trained.seconds:8.1f} {shown:11.0f}"
        f"  {value['amplitude', 'mae']:13.4f} {value['amplitude', 'ssim']:6.3f}"
        f" {value['phase', 'mae']:10.4f} {value['phase', 'ssim']:6.3f}",
        flush=True,
    )
    return result


@main.command()
@click.option("--n-train", default=1024, show_default=True, help="Patterns to train, and as many to test.")
@click.option("--steps", default=1600, show_default=True, help="Gradient steps of each training.")
def lines(n_train: int, steps: int) -> None:
    """PtychoPINN on line objects, single patterns and groups of four, beside published values."""
    print("probe        gridsize  amplitude SSIM  published  amplitude MAE  phase SSIM  phase MAE  train s")
    for (probe, gridsize), published in PUBLISHED_LINES.items():
        train, test = (lines_scan(n_train, seed, probe=probe) for seed in (1, 2))
        samples = 16 // gridsize**2
        config = study_config({"steps": steps, "validations": 10, "batch_size": samples}, (), gridsize)
        trained, _, value = held_out("pinn", train, test, config, 1)
        print(
            f"{probe:12s} {gridsize:8d} {value['amplitude', 'ssim']:15.3f} {published:10.3f}"
            f" {value['amplitude', 'mae']:14.4f} {value['phase', 'ssim']:11.3f}"
            f" {value['phase', 'mae']:10.4f} {trained.seconds:8.0f}",
            flush=True,
        )


@main.command()
@click.option("--sizes", default="64 128 256", help="Pattern sizes N.")
@click.option("--batches", default="16 32", help="Patterns in a gradient step.")
@click.option("--gridsizes", default="1 2", help="A sample is gridsize² patterns.")
@click.option("--models", default=" ".join(NETWORKS))
@click.option("--probe", default="curved", type=click.Choice(["curved", "flat", "velociprobe"]))
@click.option("--seconds", default=3.0, help="Length of each measurement.")
@click.option("--set", "settings", multiple=True, help="A setting: training.precision=mixed_bfloat16.")
def throughput(
    sizes: str,
    batches: str,
    gridsizes: str,
    models: str,
    probe: str,
    seconds: float,
    settings: tuple[str, ...],
) -> None:
    """Patterns a second of training and prediction, share of the machine's peak, memory, stitching."""
    peak = matrix_product_gflops()
    print(f"matrix products in float32: {peak:.0f} GFLOP/s; 'share': of it, by the convolutions of training")
    print("model       N    gridsize  batch  start s  training/s  share  prediction/s  peak GB  stitching s/1000")
    rows = itertools.product(
        map(int, sizes.split()), map(int, gridsizes.split()), map(int, batches.split()), models.split()
    )
    # A process for each: peak memory is that of a process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for size, gridsize, batch, model in rows:
            row = pool.submit(_throughput, model, size, probe, gridsize, batch, seconds, settings, peak)
            print(row.result(), flush=True)


def matrix_product_gflops(size: int = 2048, repeats: int = 7) -> float:
    """Return the median rate of float32 matrix products of TensorFlow, GFLOP/s."""
    import tensorflow as tf

    factor = tf.random.normal((size, size))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        tf.matmul(factor, factor).numpy()
        seconds.append(time.perf_counter() - started)
    return float(2 * size**3 / np.median(seconds) / 1e9)


def convolution_flops(network: ReconstructionNetwork) -> int:
    """Return the floating-point operations of all convolutions in one prediction of one sample."""
    convolutions = [layer for layer in network.backbone.layers if hasattr(layer, "kernel")]
    return sum(2 * int(np.prod((*each.kernel.shape, *each.output.shape[1:3]))) for each in convolutions)


def _throughput(
    model: str,
    size: int,
    probe: str,
    gridsize: int,
    batch: int,
    seconds: float,
    settings: tuple[str, ...],
    peak_gflops: float,
) -> str:
    scan = materialise(texture_scan(256, 1, probe=probe, size=size))
    samples = max(1, batch // gridsize**2)
    config = study_config({"steps": 200_000, "validations": 10_000, "batch_size": samples}, settings, gridsize)
    ends: list[float] = []

    def enough() -> bool:
        ends.append(time.monotonic())
        return ends[-1] - ends[0] > seconds

    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_model(model, scan, config, 1, folder, should_stop=enough)
    steps = trained.outcome.steps // trained.outcome.epochs
    a_second = (len(ends) - 1) * steps * samples / (ends[-1] - ends[0])
    start = ends[0] - begin - steps * samples / a_second
    # Backwards costs a convolution twice its way forwards: gradients of its input and of its weights.
    gflops = 3 * convolution_flops(trained.network) * a_second / 1e9
    # Many batches, as a scan has: the first and the last are not overlapped by others.
    long = scan.select(np.resize(np.arange(len(scan)), 2048 * 64**2 // size**2))
    predictions = [predict_patches(trained.network, long) for _ in range(5)]
    predicted = np.median([len(seen.patches) / seen.usage.seconds for seen in predictions])
    memory = max(trained.outcome.peak_memory_bytes, predictions[-1].usage.peak_memory_bytes)
    return (
        f"{model:9s} {size:4d} {gridsize:9d} {batch:6d} {start:8.1f}"
        f" {a_second * gridsize**2:11.0f} {gflops / peak_gflops:6.0%}"
        f" {predicted:13.0f} {memory / 1e9:8.2f} {stitching_seconds(predictions[0], scan):15.2f}"
    )


def stitching_seconds(seen: PredictedPatches, scan: PtychoDataset, count: int = 1000) -> float:
    """Return the median time to stitch `count` patches, their phases synchronised."""
    chosen = np.resize(np.arange(len(seen.patches)), count)
    jitter = np.random.default_rng(0).uniform(-1, 1, (count, 2))  # no two patches at one place
    patches, positions = seen.patches[chosen], seen.positions_px[chosen] + jitter
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        stitch(patches, positions, scan.obj.shape)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
