"""Continue the training of a network on a new scan: self-supervised, so the scan needs no object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ptycho_lib.application.launch import TUNING, refuse_baseline
from ptycho_lib.application.model_file import MODEL_FILE, ModelFile
from ptycho_lib.application.network import TrainedNetwork, load_model
from ptycho_lib.application.new_scan import NewScan, open_scan
from ptycho_lib.application.scan_reconstruction import ScanReconstruction
from ptycho_lib.config import StudyConfig
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import require_writable, write_atomically
from ptycho_lib.networks.devices import device_name
from ptycho_lib.networks.training import HISTORY, OUTCOME, TrainedModel, train_model
from ptycho_lib.study.folder import provenance
from ptycho_lib.study.folder.progress import PROGRESS
from ptycho_lib.study.selection import refuse_empty, training_subset

LEARNING_RATE = 5e-4
"""Peak of the schedule, a quarter of that of a training: the start is good already."""
VALIDATIONS = 10


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A network before and after training continued with a new scan.

    Parameters
    ----------
    before, after : ScanReconstruction
        Of all patterns of the scan.
    trained : TrainedModel
    n_patterns : int
        Patterns of the new scan with which training continued.
    """

    before: ScanReconstruction
    after: ScanReconstruction
    trained: TrainedModel
    n_patterns: int

    def sentence(self) -> str:
        """Return what became of the residual."""
        first, last, steps = self.before.total_residual, self.after.total_residual, self.trained.outcome.steps
        change = f"Residual {first:.3f} before and {last:.3f} after {steps} steps with {self.n_patterns} patterns"
        if last < first:
            return f"{change}: object and probe now explain {1 - last / first:.0%} more of what was unexplained."
        return f"{change}: nothing was gained; keep the network as it was."


def tuned_config(config: StudyConfig, steps: int, learning_rate: float = LEARNING_RATE) -> StudyConfig:
    """Return the settings of a continued training: those of the training but for its length and rate.

    Parameters
    ----------
    config : StudyConfig
    steps : int
        Gradient steps.
    learning_rate : float
        Peak of the cosine schedule.
    """
    changes = {"steps": steps, "validations": min(VALIDATIONS, steps), "learning_rate": learning_rate, "patience": 0}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def config_of(file: ModelFile) -> StudyConfig:
    """Return the settings that a network was trained with; the defaults where its run is not known."""
    known = {} if file.record is None else file.record.config
    chosen = {name: known[name] for name in ("training", "sampling", "evaluation", "seed") if name in known}
    return StudyConfig.model_validate(chosen | {"network": file.network})


def fine_tune(
    network: TrainedNetwork,
    scan: NewScan,
    out_dir: str | Path,
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    patterns: int = 0,
    seed: int = 0,
    progress_file: Path | None = None,
) -> FineTuned:
    """Train a PtychoPINN on with the patterns of a scan, and reconstruct the scan before and after.

    Parameters
    ----------
    network : TrainedNetwork
    scan : NewScan
    out_dir : path
        Receives `model.keras`, `history.csv` and `outcome.json`; none of them may be there.
    steps : int
        Gradient steps.
    learning_rate : float
    patterns : int
        Number of patterns, evenly over the scan; 0 for all.
    seed : int
        Of their choice and order.
    progress_file : Path, optional
        See `networks.training.train_model`.

    Raises
    ------
    InputError
        If the network is no PtychoPINN, there are not as many patterns, or the folder holds a network.
    """
    folder, dataset = Path(out_dir), scan.dataset
    problems = refuse_baseline(network.file)
    if (folder / MODEL_FILE).exists():
        fix = "Give another folder."
        problems.append(Problem(str(folder), MODEL_FILE, "a network", "a folder without one", fix))
    if not 0 <= patterns <= len(dataset):
        fix = "Ask for fewer, or for all: 0."
        problems.append(Problem(dataset.source, "patterns", f"{patterns} asked for", f"at most {len(dataset)}", fix))
    if problems:
        raise InputError(problems)
    config = tuned_config(config_of(network.file), steps, learning_rate).model_copy(update={"seed": seed})
    chosen = dataset.select(training_subset(dataset, config, patterns or len(dataset), 1))
    before = network.reconstruct(scan)
    trained = train_model("pinn", chosen, config, 1, folder, start=network.network, progress_file=progress_file)
    after = TrainedNetwork(network.file, trained.network).reconstruct(scan)
    return FineTuned(before, after, trained, len(chosen))


@dataclass(eq=False)
class TuningJob:
    """A continued training as its notebook sees it.

    Parameters
    ----------
    network : TrainedNetwork
    scan : NewScan
    output_dir : Path
    steps, learning_rate, patterns, seed
        See `fine_tune`.
    """

    network: TrainedNetwork
    scan: NewScan
    output_dir: Path
    steps: int
    learning_rate: float
    patterns: int
    seed: int

    @property
    def file(self) -> ModelFile:
        """What the file of the network says."""
        return self.network.file

    def run(self) -> FineTuned:
        """Train on, write the network, both reconstructions and, last, the record."""
        folder = self.output_dir
        result = fine_tune(
            self.network,
            self.scan,
            folder,
            steps=self.steps,
            learning_rate=self.learning_rate,
            patterns=self.patterns,
            seed=self.seed,
            progress_file=folder / PROGRESS,
        )
        result.before.save(folder / "reconstruction_before.npz", overwrite=True)
        result.after.save(folder / "reconstruction.npz", overwrite=True)
        write_atomically(folder / TUNING, json.dumps(self.facts(result), indent=2, ensure_ascii=False) + "\n")
        return result

    def facts(self, result: FineTuned) -> dict[str, Any]:
        """Return what `fine_tuning.json` holds."""
        return {
            "sentence": result.sentence(),
            "scan": self.scan.dataset.source,
            "start": str(self.file.path),
            "start_sha256": self.file.sha256(),
            "steps": result.trained.outcome.steps,
            "learning_rate": self.learning_rate,
            "patterns": result.n_patterns,
            "seed": self.seed,
            "training_seconds": round(result.trained.seconds, 2),
            "collapsed": result.trained.reason,
            "before": result.before.facts(),
            "after": result.after.facts(),
            "device": device_name(),
            "versions": provenance.library_versions(),
        }


def open_tuning(
    model: str | Path,
    scan: str | Path,
    output_dir: str | Path,
    steps: int,
    options: str = "",
    *,
    crop: bool = False,
    learning_rate: float = LEARNING_RATE,
    patterns: int = 0,
    seed: int = 0,
) -> TuningJob:
    """Load network and scan and open the folder of a continued training.

    Parameters
    ----------
    model, scan, output_dir, options, crop
        As for `job.open_job`.
    steps, learning_rate, patterns, seed
        See `fine_tune`.

    Raises
    ------
    InputError
        With every problem of the input.
    """
    refuse_empty(model=model, scan=scan, output_dir=output_dir)
    settings = parse_options(ReadOptions, "options", yaml.safe_load(options) or {} if options else {})
    folder = require_writable(Path(output_dir).resolve())
    for name in (TUNING, MODEL_FILE, HISTORY, OUTCOME, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    network = load_model(model)
    return TuningJob(
        network, open_scan(scan, network.file, settings, crop=crop), folder, steps, learning_rate, patterns, seed
    )
