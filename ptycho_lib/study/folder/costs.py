"""What the reconstructions of a run took, and what they were made of, as `run.json` records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.conditions import conditions_of
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.folder.record import ConditionFacts, ReconstructionCost


class Reconstructed(Protocol):
    """What is recorded of a reconstruction; `evaluation.reconstruction.Reconstruction` has it."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels compared, (H, W)."""

    @property
    def usage(self) -> Usage | None:
        """What it took."""


Reconstructions = Mapping[tuple[str, str], Reconstructed]
"""By model and test condition."""


def reconstruction_costs(made: Reconstructions) -> dict[str, dict[str, ReconstructionCost]]:
    """Return what the reconstructions of a run took, by model and test condition."""
    costs: dict[str, dict[str, ReconstructionCost]] = {}
    for (model, condition), result in made.items():
        if result.usage is not None:
            taken = asdict(result.usage) | {"seconds": round(result.usage.seconds, 4)}
            costs.setdefault(model, {})[condition] = ReconstructionCost(**taken)
    return costs


def condition_facts(test: PtychoDataset, config: StudyConfig, made: Reconstructions) -> dict[str, ConditionFacts]:
    """Return what the models of a run were given under each test condition."""
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
