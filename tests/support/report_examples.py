"""Small but true-to-life inputs for the tests of figures, tables and reports."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from ptycho_lib.config import parse_config
from ptycho_lib.data.dataset import PtychoDataset, save_dataset
from ptycho_lib.evaluation.comparison import compare_objects
from ptycho_lib.evaluation.reconstruction import Reconstruction, compared_pixels
from ptycho_lib.metrics_table import COLUMNS, METRICS
from ptycho_lib.physics import diffraction, objects, probes, scan
from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.execution.plan import CONFIG, plan_study, prepare_run
from ptycho_lib.study.folder.manifest import PlannedRun, write_manifest
from ptycho_lib.study.folder.record import ModelOutcome
from ptycho_lib.study.folder.templates import TEMPLATE_VARIABLE
from ptycho_lib.study.reconstruct import RunReconstructions, facts_of
from ptycho_lib.study.run_session import finish_run, open_run
from tests.support.miniature import write_template

PIXEL_M = 58e-9
ONCE = {"untrained": 1.15, "iterative": 0.7}
"""Models that depend on no training size, and the error of each in units of the baseline's at the smallest size."""

SHAPE = (96, 80)


def star(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return objects.transmission(objects.siemens_star(shape, spokes=12))


def mask(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[12:-12, 10:-10] = True
    inside[12:20, 10:20] = False
    return inside


def estimate(truth: np.ndarray, blur_px: float, seed: int = 0) -> np.ndarray:
    """Return the truth blurred, with a smooth phase error."""
    rng = np.random.default_rng(seed)
    blurred = gaussian_filter(truth.real, blur_px) + 1j * gaussian_filter(truth.imag, blur_px)
    return blurred * np.exp(0.5j * gaussian_filter(rng.normal(size=truth.shape), 5))


def dataset(n_side: int = 5, size: int = 16, obj_seed: int | None = None) -> PtychoDataset:
    """Return a scan of the star, or with a seed of a random field: data that a study of the star has not seen."""
    rng = np.random.default_rng(1)
    positions, shape = scan.frame(scan.raster(n_side**2, 4.0, jitter_px=0.7, rng=rng), size)
    field = objects.gaussian_random_field(shape, np.random.default_rng(obj_seed))
    obj = star(shape) if obj_seed is None else objects.transmission(field)
    probe = probes.disc(size, 9.0, smoothing_px=1.0)
    patches = diffraction.extract_patches(obj, positions, size)
    amplitude = diffraction.amplitude(patches, probe)
    counts = diffraction.poisson_counts(amplitude, 1e5, rng)
    return PtychoDataset(
        diffraction=np.sqrt(counts).astype(np.float32),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        obj=obj,
        photons_per_pattern=1e5,
        pixel_size_m=PIXEL_M,
    )


def history(epochs: int = 12, offset: float = 0.0) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    loss = 0.1 + np.exp(-epoch / 3.0)
    rate = 1e-3 * np.cos(np.pi * epoch / 2 / epochs) ** 2
    validation = loss + 0.02 * np.maximum(0, epoch - 8)
    return pd.DataFrame({"epoch": epoch, "loss": loss + offset, "val_loss": validation + offset, "learning_rate": rate})


def tidy_table(
    sizes: tuple[int, ...] = (32, 64, 128),
    trials: int = 1,
    models: tuple[str, ...] = ("pinn", "baseline"),
    conditions: tuple[str, ...] = ("nominal",),
) -> pd.DataFrame:
    """Return a table in which every error falls with n^-0.4, the baseline's being twice PtychoPINN's.

    Models that need no training have one row a condition, of size 0; the training scan gives 0.6 of the error.
    """
    rng = np.random.default_rng(7)
    worse = {"nominal": 1.0, "train": 0.6}
    rows = [
        row
        for model in dict.fromkeys(models)
        if model in ONCE
        for condition in conditions
        for row in _rows(0, 1, model, condition, ONCE[model] * worse.get(condition, 1.5))
    ]
    for n_train in sizes:
        for trial in range(1, trials + 1):
            for model in (name for name in models if name not in ONCE):
                for condition in conditions:
                    level = (0.5 if model == "pinn" else 1.0) * (n_train / sizes[0]) ** -0.4
                    level *= np.exp(0.05 * rng.normal()) * worse.get(condition, 1.5)
                    rows += _rows(n_train, trial, model, condition, level)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def costs(table: pd.DataFrame, *, overlaps: dict[str, float] | None = None) -> pd.DataFrame:
    """Return times for every reconstruction of a table: networks train for seconds, the models of `ONCE` do not."""
    keys = ["n_train", "trial", "model", "condition"]
    rows = table[keys].drop_duplicates().reset_index(drop=True)
    free = rows["model"].isin(ONCE)
    jitter = 1 + 0.1 * rows["trial"]
    return rows.assign(
        n_patterns=500,
        overlap=rows["condition"].map(overlaps or {}).fillna(0.8),
        photons_per_pattern=1e6,
        compared_px=[4000 if name == "nominal" else 3000 for name in rows["condition"]],
        training_s=np.where(free, 0.0, jitter * (10 + rows["n_train"] / 8)),
        reconstruction_s=np.where(free, rows["model"].map({"untrained": 0.3}).fillna(9.0), 0.4) * jitter,
        training_memory_bytes=np.where(free, np.nan, 1.1e9),
        reconstruction_memory_bytes=9e8,
        memory_of_step=True,
        device="CPU, 2 threads",
        run="",
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return means with an interval as wide as the trials: what the figures need of a statistics table."""
    keys = ["n_train", "model", "condition", "component", "alignment", "metric"]
    return table.groupby(keys)["value"].agg(mean="mean", low="min", high="max").reset_index()


def _rows(n_train: int, trial: int, model: str, condition: str, level: float) -> list[dict[str, object]]:
    values = {"mae": 0.08 * level, "mse": 0.01 * level**2, "psnr": 22 - 20 * np.log10(level)}
    values |= {"ssim": 1 / (1 + level), "frc50": 0.12 / (level + 0.3)}
    shared = {"n_train": n_train, "n_groups": n_train, "trial": trial, "seed": 0, "model": model}
    shared |= {"condition": condition, "censored": False, "reason": "", "run": f"n_train_{n_train}"}
    assert set(values) <= set(METRICS)
    return [
        {**shared, "component": c, "alignment": a, "metric": m, "value": v * (1.1 if a == "raw" else 1.0)}
        for c in ("amplitude", "phase")
        for a in ("raw", "aligned")
        for m, v in values.items()
    ]


class FinishedStudy:
    """A study folder made by the study subpackage itself; only the networks are replaced, by blurred truths."""

    def __init__(
        self,
        folder: Path,
        sizes: tuple[int, ...] = (4, 8, 16),
        trials: int = 1,
        history: tuple[str, ...] = (),
        **settings,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        template = write_template(folder / "template.ipynb")
        for number, name in enumerate(("train", "test")):
            made = replace(dataset(n_side=6 - number, obj_seed=None if name == "test" else 5), history=history)
            save_dataset(made, folder / f"{name}.npz")
        chosen = {"models": ["pinn", "baseline"], "training_scan": False, "n_train_sizes": sizes, "trials": trials}
        config = parse_config({"name": "a_study"} | chosen | settings, "test")
        self.folder = folder / "study"
        files = (folder / "train.npz", folder / "test.npz")
        self.plan = plan_study(*files, self.folder, config, template=template)
        self.folder.mkdir()
        write_manifest(self.folder, self.plan.manifest)
        for run in self.plan.runs:
            prepare_run(self.plan, run)

    def finish(self, *, collapse: tuple[int, int] | None = None, skip: tuple[int, int] | None = None) -> Path:
        """Complete every run but `skip`; the baseline of the run `collapse` ends as a constant."""
        for planned in self.plan.runs:
            if (planned.n_train, planned.trial) != skip:
                self._finish(planned, constant=(planned.n_train, planned.trial) == collapse)
        return self.folder

    def _finish(self, planned: PlannedRun, *, constant: bool) -> None:
        config_file = planned.folder / CONFIG
        files = (planned.train_data, planned.test_data, planned.folder)
        with patch.dict(os.environ, {TEMPLATE_VARIABLE: str(self.plan.template)}):
            run = open_run(*files, planned.n_train, planned.identity.n_test, planned.trial, config_file)
            inside = compared_pixels(run.test, run.config.evaluation.min_illumination)
            tables, outcomes, made = [], {}, {}
            for model in run.config.models:
                blur = (1.0 if model == "pinn" else 2.0) * (8 / run.n_train) ** 0.5
                obj = estimate(run.test.obj, blur, seed=run.trial)
                collapsed = constant and model == "baseline"
                obj = np.ones_like(obj) if collapsed else obj
                run.model_dir(model).mkdir(exist_ok=True)
                np.savez(run.model_dir(model) / "reconstruction.npz", object=obj.astype(np.complex64), mask=inside)
                history().to_csv(run.model_dir(model) / "history.csv", index=False)
                scores = compare_objects(run.test.obj, obj, inside, pixel_size_m=PIXEL_M)
                tables.append(scores.assign(model=model, condition="nominal"))
                for condition in run.config.conditions:
                    worse = scores.assign(value=0.9 * scores["value"], model=model, condition=condition.name)
                    tables.append(worse)
                reason = "the loss became NaN" if collapsed else ""
                outcomes[model] = ModelOutcome(seconds=1.5, collapsed=collapsed, reason=reason)
                nothing = np.zeros(obj.shape, np.float32)
                result = Reconstruction(
                    run.test.obj,
                    obj,
                    inside,
                    nothing,
                    nothing,
                    usage=Usage(0.02 / run.n_train, 2 * 10**8, True),
                )
                made |= {(model, name): result for name in ("nominal", *(c.name for c in run.config.conditions))}
            facts = {name: facts_of(data, inside) for name, data in run.conditions()}
            finish_run(run, pd.concat(tables), outcomes, RunReconstructions(2.0, made, facts))
        shutil.copy(self.plan.template, planned.folder / "train_and_compare.ipynb")
