"""What each arm spent, time and memory: from a run's reconstructions to one table of the study.

Times differ whenever a run is repeated. They stand in `run.json` and `aggregated_costs.csv`, never among
the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.conditions import conditions_of
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.study.record import ConditionFacts, ReconstructionCost, RunRecord
from ptycho_lib.usage import Usage

COSTS = "aggregated_costs.csv"
COST_COLUMNS = (
    "n_train",
    "trial",
    "model",
    "condition",
    "n_patterns",
    "overlap",
    "photons_per_pattern",
    "compared_px",
    "training_s",
    "reconstruction_s",
    "patterns_per_s",
    "training_memory_bytes",
    "reconstruction_memory_bytes",
    "memory_of_step",
    "device",
    "run",
)
"""One reconstruction a row: which one, what it was made of, what it took. docs/metrics.md explains them."""


class Reconstructed(Protocol):
    """What is recorded of a reconstruction; `evaluation.reconstruction.Reconstruction` has it."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels compared, (H, W)."""

    @property
    def usage(self) -> Usage | None:
        """What it took."""


Reconstructions = Mapping[tuple[str, str], Reconstructed]
"""By arm and test condition."""


def reconstruction_costs(made: Reconstructions) -> dict[str, dict[str, ReconstructionCost]]:
    """Return what the reconstructions of a run took, by arm and test condition."""
    costs: dict[str, dict[str, ReconstructionCost]] = {}
    for (arm, condition), result in made.items():
        if result.usage is not None:
            taken = asdict(result.usage) | {"seconds": round(result.usage.seconds, 4)}
            costs.setdefault(arm, {})[condition] = ReconstructionCost(**taken)
    return costs


def condition_facts(
    test: PtychoDataset, config: StudyConfig, made: Reconstructions
) -> dict[str, ConditionFacts]:
    """Return what the arms of a run were given under each test condition."""
    compared = {condition: int(result.mask.sum()) for (_, condition), result in made.items()}
    return {
        name: ConditionFacts(
            n_patterns=len(data),
            overlap=data.overlap(),
            photons_per_pattern=data.photons_per_pattern,
            compared_px=compared[name],
        )
        for name, data in conditions_of(test, config)
        if name in compared
    }


def spending(records: Iterable[tuple[str, RunRecord]]) -> pd.DataFrame:
    """Return what every reconstruction of a study took.

    Parameters
    ----------
    records : iterable of (str, RunRecord)
        Run folder relative to the study, and record, of each complete run.

    Returns
    -------
    DataFrame
        Columns `COST_COLUMNS`; empty if the runs recorded no times.
    """
    rows = [row for run, record in records for row in _rows(run, record)]
    table = pd.DataFrame(rows, columns=list(COST_COLUMNS))
    return table.astype({"photons_per_pattern": float, "training_memory_bytes": float})


def _rows(run: str, record: RunRecord) -> Iterator[dict[str, object]]:
    for arm, costs in record.reconstructions.items():
        # `a+b` continues what network a was trained for and has reconstructed.
        network, _, further = arm.partition("+")
        training = record.arms.get(network) if record.n_train else None
        for condition, own in costs.items():
            before = record.reconstructions.get(network, {}).get(condition) if further else None
            cost = _usage(own) + _usage(before) if before else _usage(own)
            facts = record.conditions[condition]
            yield {
                "n_train": record.n_train,
                "trial": record.trial,
                "model": arm,
                "condition": condition,
                **facts.model_dump(),
                "training_s": training.seconds if training else 0.0,
                "reconstruction_s": cost.seconds,
                "patterns_per_s": facts.n_patterns / cost.seconds if cost.seconds else np.inf,
                "training_memory_bytes": training.peak_memory_bytes if training else None,
                "reconstruction_memory_bytes": cost.peak_memory_bytes,
                "memory_of_step": cost.memory_of_step,
                "device": record.device,
                "run": run,
            }


def _usage(cost: ReconstructionCost) -> Usage:
    return Usage(**cost.model_dump())
