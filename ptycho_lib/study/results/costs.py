"""Time and memory of each model, in one table of the study.

Times differ whenever a run is repeated. They are recorded in `run.json` and `aggregated_costs.csv`, never among
the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.folder.record import ReconstructionCost, RunRecord

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
"""One reconstruction a row: which one, what it was made of, what it took. docs/reference/tables.md explains them."""


def collect_costs(records: Iterable[tuple[str, RunRecord]]) -> pd.DataFrame:
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
    for model, costs in record.reconstructions.items():
        # `a+b` continues what network a was trained for and has reconstructed.
        network, _, further = model.partition("+")
        training = record.models.get(network) if record.key.is_trained else None
        for condition, own in costs.items():
            before = record.reconstructions.get(network, {}).get(condition) if further else None
            cost = _usage(own) + _usage(before) if before else _usage(own)
            facts = record.conditions[condition]
            yield {
                "n_train": record.n_train,
                "trial": record.trial,
                "model": model,
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
