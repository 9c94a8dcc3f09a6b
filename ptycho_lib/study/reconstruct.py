"""All reconstructions of a run: every model under every test condition, with what each took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.config import ITERATIVE, NOMINAL, TRAIN, UNTRAINED, EvaluationConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.evaluation.reconstruction import Reconstruction, assess, reconstruct
from ptycho_lib.evaluation.uncertainty import error_ratios, reliability
from ptycho_lib.io.files import file_sha256
from ptycho_lib.iterative.reconstruction import EngineRoom, Iterated, iterate
from ptycho_lib.resource_usage import Usage
from ptycho_lib.study.folder.record import ConditionFacts, ModelOutcome, ReconstructionCost
from ptycho_lib.study.run_session import OpenRun


class Patches(Protocol):
    """Object patches that a network predicted; `networks.prediction.PredictedPatches`."""

    @property
    def patches(self) -> NDArray[np.complex64]:
        """(m, M, M), M <= N."""

    @property
    def positions_px(self) -> NDArray[np.float64]:
        """Their centres (row, column), (m, 2)."""

    @property
    def usage(self) -> Usage:
        """What the prediction took."""


Predict = Callable[[PtychoDataset], Patches]
Pair = tuple[str, str]
"""Model and condition."""


@dataclass(eq=False)
class RunReconstructions:
    """The reconstructions of a run.

    Parameters
    ----------
    max_shift_px : float
        Cap of the registration with the truth.
    objects : dict
        By model and condition.
    facts : dict
        What the models were given under each condition.
    outcomes : dict
        How the models ended that are not trained, by name.
    histories : dict of str to DataFrame
        Losses of the iterative reconstructions of the unchanged test set.
    device : str
        On which PyTorch computed; empty without iterative models.
    """

    max_shift_px: float
    objects: dict[Pair, Reconstruction] = field(default_factory=dict)
    facts: dict[str, ConditionFacts] = field(default_factory=dict)
    outcomes: dict[str, ModelOutcome] = field(default_factory=dict)
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    device: str = ""

    @property
    def nominal(self) -> dict[str, Reconstruction]:
        """The reconstructions of the unchanged test set, by model."""
        return {model: result for (model, condition), result in self.objects.items() if condition == NOMINAL}

    def aligned(self) -> dict[str, NDArray[np.complexfloating]]:
        """Return the nominal objects aligned to the truth as the metrics do, by model, each (H, W)."""
        return {model: found.align(max_shift_px=self.max_shift_px).aligned for model, found in self.nominal.items()}

    def reliability(self) -> pd.DataFrame:
        """Return how often the truth lies within the spread of overlapping patches on the unchanged test set.

        Returns
        -------
        DataFrame
            `evaluation.uncertainty.RELIABILITY_COLUMNS`; calibrated rows where the training scan was
            reconstructed, too.
        """
        ratios: dict[str, dict[str, NDArray[np.float64]]] = {NOMINAL: {}, TRAIN: {}}
        for (model, condition), found in self.objects.items():
            if condition in ratios:
                aligned = found.align(max_shift_px=self.max_shift_px).aligned
                ratios[condition][model] = error_ratios(found.truth, aligned, found.spread, found.mask)
        return reliability(ratios[NOMINAL], ratios[TRAIN])

    def metrics(self) -> pd.DataFrame:
        """Return every metric of every reconstruction, one value a row."""
        scores = [
            result.compare(max_shift_px=self.max_shift_px).assign(model=model, condition=condition)
            for (model, condition), result in self.objects.items()
        ]
        return pd.concat(scores, ignore_index=True)

    def costs(self) -> dict[str, dict[str, ReconstructionCost]]:
        """Return what the reconstructions took, by model and condition."""
        costs: dict[str, dict[str, ReconstructionCost]] = {}
        for (model, condition), result in self.objects.items():
            if result.usage is not None:
                taken = asdict(result.usage) | {"seconds": round(result.usage.seconds, 4)}
                costs.setdefault(model, {})[condition] = ReconstructionCost(**taken)
        return costs


def reconstruct_all(
    run: OpenRun,
    predict: Mapping[str, Predict] | None = None,
    probes: Mapping[str, NDArray[np.complexfloating] | None] | None = None,
) -> RunReconstructions:
    """Reconstruct every test condition with every model of a run, and save each result in the run folder.

    What an earlier, smaller run of the same identity left is read instead of computed.

    Parameters
    ----------
    run : OpenRun
    predict : mapping of str to callable, optional
        By model: object patches of a dataset's patterns, as `networks.prediction.predict_patches` gives them.
    probes : mapping of str to ndarray or None, optional
        By network: the refined probe, (N, N) complex, from which an iterative continuation starts.

    Returns
    -------
    RunReconstructions
    """
    results = RunReconstructions(run.config.evaluation.max_shift_px)
    if UNTRAINED in (predict or {}):
        results.outcomes[UNTRAINED] = ModelOutcome(seconds=0.0)
    with EngineRoom() as room:
        for condition, data in run.conditions():
            for model, network in (predict or {}).items():
                kept = _kept(run, model, condition, data)
                results.objects[model, condition] = kept or stitched(network(data), data, run.config.evaluation)
            if condition != TRAIN:
                for model in _iterative_models(run):
                    _iterate(run, model, condition, data, results, probes or {}, room)
            made = {model: result for (model, name), result in results.objects.items() if name == condition}
            for model, result in made.items():
                _save(run, model, condition, result)
            compared = next(iter(made.values())).mask
            results.facts[condition] = facts_of(data, compared)
    return results


def facts_of(data: PtychoDataset, compared: NDArray[np.bool_]) -> ConditionFacts:
    """Return what the models are given under a condition.

    Parameters
    ----------
    data : PtychoDataset
        The patterns.
    compared : (H, W) bool
        The pixels that are compared.
    """
    return ConditionFacts(
        n_patterns=len(data),
        overlap=data.overlap(),
        photons_per_pattern=data.photons_per_pattern,
        compared_px=int(compared.sum()),
    )


def _iterative_models(run: OpenRun) -> Iterator[str]:
    """Yield the models of a run that iterate: from a flat object, or from the object of a network."""
    yield from (model for model in run.models if model == ITERATIVE or model in run.config.hybrids)


def stitched(seen: Patches, data: PtychoDataset, options: EvaluationConfig) -> Reconstruction:
    """Stitch the patches that a network predicted for the patterns of `data`, as a study evaluates them.

    Parameters
    ----------
    seen : Patches
    data : PtychoDataset
    options : EvaluationConfig

    Returns
    -------
    Reconstruction
    """
    return reconstruct(
        seen.patches,
        seen.positions_px,
        data,
        min_illumination=options.min_illumination,
        synchronise=options.synchronise_phases,
        correct_drift=options.correct_phase_drift,
        position_steps=options.position_correction_steps,
        predicted=seen.usage,
    )


def _iterate(
    run: OpenRun,
    model: str,
    condition: str,
    data: PtychoDataset,
    results: RunReconstructions,
    probes: Mapping[str, NDArray[np.complexfloating] | None],
    room: EngineRoom,
) -> None:
    """Reconstruct iteratively, or read what an earlier run left, and note how it ended."""
    kept, history = _kept(run, model, condition, data), run.history_file(model, condition)
    if kept is not None and run.kept is not None and history.is_file():
        results.objects[model, condition] = kept
        results.outcomes.setdefault(model, run.kept.models[model])
        results.device = results.device or run.kept.device
        if condition == NOMINAL:
            results.histories[model] = pd.read_csv(history)
        return
    network = run.config.hybrids.get(model)  # type: ignore[call-overload]
    start = results.objects[network, condition].obj if network else None
    # A refined probe belongs to the scan that it was refined on.
    probe = probes.get(network) if network and data.probe is run.test.probe else None
    seed = run.seeds["order"] if network else run.config.seed
    done: Iterated = iterate(
        data,
        run.config.iterative,
        seed=seed,
        start=start,
        probe=probe,
        progress_file=run.progress_file,
        history_file=history,
        model=model,
        room=room,
    )
    least = run.config.evaluation.min_illumination
    results.objects[model, condition] = assess(done.obj, data, min_illumination=least, usage=done.usage)
    ending = done.outcome
    results.outcomes.setdefault(
        model, ModelOutcome(seconds=ending.seconds, collapsed=ending.collapsed, reason=ending.reason)
    )
    results.device = done.device
    if condition == NOMINAL:
        results.histories[model] = done.history


def _kept(run: OpenRun, model: str, condition: str, data: PtychoDataset) -> Reconstruction | None:
    """Return the reconstruction that an earlier run left, if it is whole."""
    cost = run.kept.reconstructions.get(model, {}).get(condition) if run.kept else None
    path = run.reconstruction_file(model, condition)
    if run.kept is None or cost is None or not path.is_file():
        return None
    if run.kept.outputs.get(path.relative_to(run.output_dir).as_posix()) != file_sha256(path):
        return None
    with np.load(path, allow_pickle=False) as stored:
        return Reconstruction(
            truth=data.obj,
            obj=stored["object"],
            mask=stored["mask"],
            spread=stored["spread"],
            residual=stored["residual"],
            pixel_size_m=data.pixel_size_m,
            usage=Usage(**cost.model_dump()),
        )


def _save(run: OpenRun, model: str, condition: str, result: Reconstruction) -> Path:
    path = run.reconstruction_file(model, condition)
    path.parent.mkdir(parents=True, exist_ok=True)
    return result.save(path)
