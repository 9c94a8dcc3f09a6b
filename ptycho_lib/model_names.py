"""Names of the models that a study compares, of its kinds of runs, and of its standing test conditions."""

from __future__ import annotations

from typing import Literal

Model = Literal["pinn", "baseline", "untrained", "iterative", "pinn+iterative", "baseline+iterative"]
RunKind = Literal["trained", "untrained", "iterative"]
"""What a run computes: networks of one size and trial, or a model that depends on neither."""

NETWORKS: tuple[Model, ...] = ("pinn", "baseline")
"""Models that are trained."""

UNTRAINED: Model = "untrained"
"""The control: the first guess alone, with the stitching and the metrics of the networks."""

ITERATIVE: Model = "iterative"
"""The iterative reconstruction of the test data, without a network."""

ONCE: dict[str, RunKind] = {"untrained": "untrained", "iterative": "iterative"}
"""Models that depend on no training size, each with the run that computes it once a study."""

HYBRIDS: dict[Model, Model] = {"pinn+iterative": "pinn", "baseline+iterative": "baseline"}
"""Iterative reconstructions, and the network that they start from."""

MODELS: tuple[Model, ...] = (*NETWORKS, UNTRAINED, ITERATIVE, *HYBRIDS)

NOMINAL = "nominal"
"""Name of the condition in which the test set is unchanged."""

TRAIN = "train"
"""Name of the condition in which the models reconstruct the training scan."""
