"""Names of the models that a study compares, of its kinds of runs, and of its standing test conditions."""

from __future__ import annotations

from typing import Literal, NamedTuple

Model = Literal["pinn", "baseline", "untrained", "iterative", "pinn+iterative", "baseline+iterative"]
RunKind = Literal["trained", "untrained", "iterative"]
"""What a run computes: networks of one size and trial, or a model that depends on neither."""

NETWORKS: tuple[Model, ...] = ("pinn", "baseline")
"""Models that are trained."""

UNTRAINED: Model = "untrained"
"""The control: the first guess alone, with the stitching and the metrics of the networks."""

ITERATIVE: Model = "iterative"
"""The iterative reconstruction of the test data, without a network."""

ONCE: dict[str, RunKind] = {UNTRAINED: "untrained", ITERATIVE: "iterative"}
"""Models that depend on no training size, each with the run that computes it once a study."""

HYBRIDS: dict[Model, Model] = {"pinn+iterative": "pinn", "baseline+iterative": "baseline"}
"""Iterative reconstructions, and the network that they start from."""

MODELS: tuple[Model, ...] = (*NETWORKS, UNTRAINED, ITERATIVE, *HYBRIDS)

NOMINAL = "nominal"
"""Name of the condition in which the test set is unchanged."""

TRAIN = "train"
"""Name of the condition in which the models reconstruct the training scan."""


class ModelName(NamedTuple):
    """A model's name: in legends and tables, and within a sentence."""

    label: str
    phrase: str


MODEL_NAMES: dict[str, ModelName] = {
    "pinn": ModelName("PtychoPINN", "PtychoPINN"),
    "baseline": ModelName("Supervised baseline", "the supervised baseline"),
    UNTRAINED: ModelName("Untrained first guess", "the untrained first guess"),
    ITERATIVE: ModelName("Iterative", "the iterative reconstruction"),
    "pinn+iterative": ModelName("PtychoPINN, then iterative", "PtychoPINN followed by iterations"),
    "baseline+iterative": ModelName("Baseline, then iterative", "the supervised baseline followed by iterations"),
}
"""In the order in which figures and tables list them."""


def model_label(model: str) -> str:
    """Return a model's name in legends and tables; an unknown name without underscores."""
    return MODEL_NAMES[model].label if model in MODEL_NAMES else model.replace("_", " ")


def model_phrase(model: str) -> str:
    """Return a model's name within a sentence; an unknown name without underscores."""
    return MODEL_NAMES[model].phrase if model in MODEL_NAMES else model.replace("_", " ")
