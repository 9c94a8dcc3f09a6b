"""The study configuration: every setting, its default and its limits, in one place.

A configuration is read from YAML (safe loader), validated as a whole, and immutable afterwards.
Unknown keys are refused with the nearest known name. Nothing else in the library holds settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ptycho_lib.condition_settings import ConditionConfig, Count, Fraction, NotNegative, Positive, Section
from ptycho_lib.errors import InputError
from ptycho_lib.io.yaml_file import parse_yaml, read_settings
from ptycho_lib.model_names import (
    HYBRIDS,
    ITERATIVE,
    NETWORKS,
    NOMINAL,  # noqa: F401 - offered to users of the configuration
    ONCE,
    TRAIN,  # noqa: F401
    UNTRAINED,
    Model,
    RunKind,
)
from ptycho_lib.settings_problems import validation_problems, with_same_modes

LossTerm = Literal["poisson", "amplitude_mae"]
_CONDITION_FILES = ("probe_file", "test_data")
_CONTROL_SETTINGS = {
    *("backbone", "gridsize", "first_guess_iterations", "first_guess_by_dose"),
    *("probe_mask_radius_px", "probe_modes"),
}
"""Settings of the network on which its first guess depends."""

MOST_MERGED = 13
"""Samples whose patches can be merged: one and its nearest neighbours."""

PUBLISHED_NETWORK = {"width": 2, "first_guess_iterations": 0}
PUBLISHED_TRAINING = {"merged_patches": 1, "learning_rate": 1e-3}
"""Defaults in force with the published backbone."""


MLFLOW_STORE = "MLFLOW_TRACKING_URI"
"""Environment variable that names the store of the tracker `mlflow`."""


class SamplingConfig(Section):
    """Which training patterns make up a subset of a given size."""

    method: Literal["representative", "random", "sequential"] = "representative"
    """`representative` covers the scan evenly (farthest-point order); `random` draws; `sequential` takes the
    first ones, which trains on one corner of the object and exists for comparison only."""
    validation_fraction: Fraction = 0.125
    """Share of the training patterns kept out of the gradient steps to choose the best weights, at most 32 a scan."""


class NetworkConfig(Section):
    """The backbone that both models share, and what is special to one of them."""

    backbone: Literal["compact", "published"] = "compact"
    """`compact`: space-to-depth encoder that corrects a physics first guess. `published`: the
    encoder-decoder of Hoidn et al., Sci. Rep. 13, 22789 (2023); with it the defaults of width (2),
    first_guess_iterations (0), merged_patches (1) and learning_rate (1e-3) are those of the paper, too."""
    width: Count = 8
    """Channels of the finest level; the deeper levels are multiples of it."""
    gridsize: Annotated[int, Field(ge=1, le=3)] = 1
    """A sample is gridsize² neighbouring patterns."""
    first_guess_iterations: Annotated[int, Field(ge=0)] = 20
    """Iterations of phase retrieval with the known probe, which turn each pattern into the object estimate
    that the network corrects; 0 feeds the measured amplitude itself, as PtychoNN does."""
    first_guess_by_dose: bool = True
    """Make fewer of these iterations where few photons fall on a pixel: further ones would fit the noise. Needs
    `photons_per_pattern`, and changes nothing from 400 photons an illuminated pixel on."""
    probe_modes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Largest number of incoherent probe modes in the first guess and in PtychoPINN's loss, strongest first;
    null uses the fewest that hold 99 % of the light."""
    trainable_scale: bool = True
    """Let the log-intensity scale of the diffraction model follow the gradient (PtychoPINN)."""
    trainable_probe: bool = False
    """Refine the probe of the diffraction model together with the network (PtychoPINN)."""
    probe_smoothing_px: NotNegative = 0
    """What the refinement adds to the probe is convolved with a Gaussian of this standard deviation."""
    probe_mask_radius_px: Positive | None = None
    """The probe, given and refined, is zero beyond this distance from the centre of its array; null: no limit."""

    @model_validator(mode="after")
    def _smooths_what_is_refined(self) -> NetworkConfig:
        if self.probe_smoothing_px and not self.trainable_probe:
            raise ValueError("probe_smoothing_px smooths a refined probe; set trainable_probe: true, too")
        return self


class TrainingConfig(Section):
    """One schedule for both models."""

    steps: Count = 800
    """Gradient steps of a training, the same number for every training size. They are rounded up to full epochs."""
    validations: Count = 50
    """How often the validation loss is computed, evenly through the training; the weights with the least one
    are kept. History and progress call the steps between two of them an epoch."""
    batch_size: Count = 16
    """Samples in one gradient step."""
    learning_rate: Positive = 2e-3
    """Peak of the cosine schedule."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises linearly from zero."""
    pinn_loss: dict[LossTerm, Positive] = {}  # noqa: RUF012 - pydantic copies it
    """PtychoPINN's loss, a sum of terms with their weights: `poisson`, the negative log-likelihood of the
    counts, and `amplitude_mae`, the mean absolute error of the amplitudes, for instance
    `{poisson: 1, amplitude_mae: 0.5}`. A name alone has weight 1. Empty, or `auto`, takes Poisson
    where `photons_per_pattern` is known, else the amplitudes."""
    merged_patches: Annotated[int, Field(ge=1, le=MOST_MERGED * 9)] = 8
    """Neighbouring patterns whose predicted patches are merged before the diffraction model (PtychoPINN): the
    overlap constraint of ptychography in the loss. 1 fits each pattern, or group, alone; groups are taken whole.
    At most 13 patterns, or groups."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better validation loss; 0 never stops early: with another value
    trainings of different sizes may get different numbers of steps."""
    min_epochs: Annotated[int, Field(ge=0)] = 10
    """Early stopping waits at least this long."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """`mixed_bfloat16` computes convolutions in bfloat16; complex arithmetic stays float32."""
    jit_compile: bool = False
    """Compile the training step with XLA: half a minute of compilation, and no promise of equal digits on
    GPUs. Meant for GPUs and long trainings."""
    tracker: Literal["tensorboard", "mlflow"] | None = None
    """Also send the losses to TensorBoard's files in the run's `execution` folder, or to MLflow (extra
    `mlflow`), to the store that the variable MLFLOW_TRACKING_URI names. Changes no result and makes no run stale."""

    @property
    def steps_per_epoch(self) -> int:
        """Gradient steps between two validations."""
        return -(-self.steps // self.validations)

    @property
    def epochs(self) -> int:
        """Planned number of validations, at most `validations`."""
        return -(-self.steps // self.steps_per_epoch)

    @field_validator("pinn_loss", mode="before")
    @classmethod
    def _named_loss(cls, value: Any) -> Any:
        """Turn the name of one term into its weight."""
        if not isinstance(value, str):
            return value
        if value != "auto" and value not in get_args(LossTerm):
            names = ", ".join(get_args(LossTerm))
            raise ValueError(f"auto, {names}, or weights such as {{poisson: 1, amplitude_mae: 0.5}}")
        return {} if value == "auto" else {value: 1.0}


class IterativeConfig(Section):
    """Iterative reconstruction with Pty-chi, of the models whose name says so; needs the extra `iterative`."""

    algorithm: Literal["lsqml", "epie", "rpie", "dm"] = "lsqml"
    """`lsqml`: least-squares maximum likelihood (Odstrčil et al., Opt. Express 26, 3108, 2018); `epie`,
    `rpie`: extended and regularised iterative engine (Maiden et al., Optica 4, 736, 2017); `dm`: difference
    map (Thibault et al., Ultramicroscopy 109, 338, 2009)."""
    updates: Count = 2000
    """Most updates of the object, each from `batch_size` patterns, however many there are."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 5e-4
    """Stop when 100 updates lower the mean loss by less than this share; 0 takes all updates."""
    batch_size: Count = 32
    """Patterns in one update; the difference map always takes all of them."""
    refine_probe: bool = False
    """Refine the probe together with the object; otherwise it counts as known, as for the networks."""
    correct_positions: bool = False
    """Refine the positions, too."""
    probe_modes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Most probe modes, strongest first; null as the networks. With `refine_probe`, missing ones are added."""

    def updates_per_epoch(self, n_patterns: int) -> int:
        """Return the updates of one pass over the patterns."""
        return 1 if self.algorithm == "dm" else -(-n_patterns // self.batch_size)

    def epochs(self, n_patterns: int) -> int:
        """Return the most passes over the patterns: those that hold `updates`, rounded up."""
        return -(-self.updates // self.updates_per_epoch(n_patterns))


class EvaluationConfig(Section):
    """How patches become an object, and which pixels are compared with the truth."""

    min_illumination: Fraction = 0.1
    """Pixels count if their summed probe intensity is at least this share of the maximum."""
    synchronise_phases: bool = True
    """Estimate each patch's unobservable global phase from its overlaps before stitching."""
    correct_phase_drift: bool = True
    """Remove the slow drift of the stitched phase that the measured test patterns contradict."""
    position_correction_steps: Annotated[int, Field(ge=0, le=50)] = 0
    """Most steps that correct the scan positions by the measured test patterns, before the patches are stitched
    for good. For stitched models; the iterative reconstruction has `iterative.correct_positions`."""
    max_shift_px: Positive = 2.0
    """Cap of the sub-pixel registration. A larger shift is not applied but reported: it is an error of the frame."""


class StudyConfig(Section):
    """A whole generalization study."""

    name: str = "study"
    """Short name, used in titles."""
    n_train_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (128, 256, 512)
    """Numbers of training patterns."""
    n_test_images: Count | None = None
    """Number of test patterns; null takes 500, or all there are if fewer."""
    trials: Count = 3
    """Independent repetitions of each size. Intervals and comparisons need at least three."""
    vary: tuple[Literal["subset", "weights", "order"], ...] = ("subset", "weights", "order")
    """What a trial changes: the training subset, the initial weights, the batch order."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Root of every random number."""
    train_data: tuple[str, ...] = ()
    """Training files, where the command names none; relative to the configuration file's folder. Patterns of
    several scans are drawn evenly, and `n_train_sizes` count all of them."""
    allow_leakage: bool = False
    """Run although test data share patterns, positions or compared area with the training data; every
    output then says so."""
    models: Annotated[tuple[Model, ...], Field(min_length=1)] = (*NETWORKS, UNTRAINED)
    """Models to compare. `untrained` is the control: what the first guess reaches without training.
    `iterative` reconstructs the test patterns without a network. Both are computed once for all sizes.
    `pinn+iterative` and `baseline+iterative` start the iterative reconstruction from the network's object."""
    sampling: SamplingConfig = SamplingConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    iterative: IterativeConfig = IterativeConfig()
    conditions: tuple[ConditionConfig, ...] = ()
    """Changes of the test set under which every model is evaluated, too."""
    share_first_guesses: bool = True
    """Keep first guesses in the study's folder `cache`, so that all its runs make them once. It changes no number,
    and the folder may be removed at any time."""
    training_scan: bool = True
    """Evaluate networks and control on the training scan, too (condition `train`): the difference from the
    test scan is the generalization gap. As many patterns as the test has, evenly over the whole scan."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, settings: Any) -> Any:
        """Fill in the paper's defaults where its backbone is asked for."""
        settings = with_same_modes(settings)
        network = settings.get("network") if isinstance(settings, Mapping) else None
        if not isinstance(network, Mapping) or network.get("backbone") != "published":
            return settings
        training = settings.get("training") or {}
        published = {"network": {**PUBLISHED_NETWORK, **network}}
        if isinstance(training, Mapping):
            published["training"] = {**PUBLISHED_TRAINING, **training}
        return {**settings, **published}

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if list(self.n_train_sizes) != sorted(set(self.n_train_sizes)):
            raise ValueError(f"n_train_sizes {list(self.n_train_sizes)} must rise strictly; each size once")
        group = self.network.gridsize**2
        if self.n_train_sizes[0] < group:
            found = f"n_train_sizes begins with {self.n_train_sizes[0]}"
            raise ValueError(f"{found}; a group of gridsize {self.network.gridsize} holds {group} patterns")
        if self.training.merged_patches > MOST_MERGED * group:
            found = f"training.merged_patches is {self.training.merged_patches}"
            raise ValueError(
                f"{found}; at gridsize {self.network.gridsize} at most {MOST_MERGED * group} can be merged"
            )
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"models {list(self.models)} names a model twice")
        if not self.networks:
            raise ValueError(f"models {list(self.models)} names no network to train; add pinn or baseline")
        for hybrid, network in self.hybrids.items():
            if network not in self.models:
                raise ValueError(f"models: '{hybrid}' starts from '{network}', which is missing")
        names = [condition.name for condition in self.conditions]
        if len(set(names)) != len(names):
            raise ValueError(f"conditions: the names {names} must differ")
        return self

    @property
    def networks(self) -> tuple[Model, ...]:
        """The models that are trained, in the order of `models`."""
        return tuple(model for model in self.models if model in NETWORKS)

    @property
    def hybrids(self) -> dict[Model, Model]:
        """The models that start an iterative reconstruction from a network's object, and that network."""
        return {model: HYBRIDS[model] for model in self.models if model in HYBRIDS}

    @property
    def kinds(self) -> tuple[RunKind, ...]:
        """The kinds of runs that the models need; what is computed once comes first."""
        once = tuple(kind for model, kind in ONCE.items() if model in self.models)
        return (*once, "trained")

    def models_of(self, kind: RunKind) -> tuple[Model, ...]:
        """Return the models that a run of this kind computes."""
        return tuple(model for model in self.models if ONCE.get(model, "trained") == kind)

    def result_settings(self, kind: RunKind | None = None) -> dict[str, Any]:
        """Return the settings that change the numbers of a run; sizes, trials and names do not.

        Settings of models that a run does not compute leave it as it is. Without `kind`: of all models.
        """
        idle = {"name", "n_train_sizes", "n_test_images", "trials", "train_data", "share_first_guesses"}
        models = self.models if kind is None else self.models_of(kind)
        if not set(models) & {ITERATIVE, *HYBRIDS}:
            idle |= {"iterative"}
        if kind in ONCE.values():
            idle |= {"vary", "sampling", "training", "allow_leakage"}
        if kind == "iterative":
            idle |= {"network", "training_scan"}
        settings = self.model_dump(mode="json", exclude=idle) | {"models": list(models)}
        settings.get("training", {}).pop("tracker", None)  # it changes no number
        if kind == "untrained":
            settings["network"] = {
                key: settings["network"][key] for key in settings["network"] if key in _CONTROL_SETTINGS
            }
        return settings

    def fingerprint(self, kind: RunKind | None = None) -> str:
        """Return the SHA-256 of `result_settings` in canonical JSON (hex).

        Files count by their content (`study.folder.manifest.condition_files`), not by their place.
        """
        settings = self.result_settings(kind)
        for condition in settings["conditions"]:
            condition |= {key: condition[key] and Path(condition[key]).name for key in _CONDITION_FILES}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def anchored(self, folder: Path) -> StudyConfig:
        """Return the same settings with relative paths of data files taken from a folder."""
        conditions = []
        for condition in self.conditions:
            named = condition.model_dump(include=set(_CONDITION_FILES), exclude_none=True)
            paths = {key: str((folder / path).absolute()) for key, path in named.items()}
            conditions.append(condition.model_copy(update=paths))
        train_data = tuple(str((folder / path).absolute()) for path in self.train_data)
        return self.model_copy(update={"conditions": tuple(conditions), "train_data": train_data})

    def seeds(self, trial: int) -> dict[str, int]:
        """Return the seeds of one trial, keyed `subset`, `weights`, `order`.

        A seed depends on the trial only if `vary` names it, and never on the training size:
        subsets of one trial are nested, and sizes differ in nothing but their patterns.
        """

        def seed(purpose: str) -> int:
            number = trial if purpose in self.vary else 0
            digest = hashlib.sha256(f"{self.seed}/{purpose}/{number}".encode()).digest()
            return int.from_bytes(digest[:4], "big") >> 1

        return {purpose: seed(purpose) for purpose in ("subset", "weights", "order")}

    def to_yaml(self) -> str:
        """Return the configuration as YAML; `load_config` reads it back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(path: str | Path | None = None, **overrides: Any) -> StudyConfig:
    """Read and validate a configuration.

    Parameters
    ----------
    path : str or Path, optional
        YAML file, or settings written as `{key: value, ...}`; without it the defaults hold.
    **overrides
        Top-level fields that replace those of the file; None leaves them as they are.

    Raises
    ------
    InputError
        With one problem for each unknown key and each value out of its limits.
    """
    written = path is not None and str(path).startswith("{")
    source, how = (
        "command line" if path is None else "config" if written else str(path),
        "Give a YAML file of settings.",
    )
    read = parse_yaml(str(path), source, how) if written else {} if path is None else read_settings(path, how)
    settings = read | {key: value for key, value in overrides.items() if value is not None}
    return parse_config(settings, source).anchored(Path() if path is None or written else Path(path).parent)


def parse_config(settings: Mapping[str, Any], source: str) -> StudyConfig:
    """Validate plain settings as `load_config` does; `source` names their origin in the problems."""
    try:
        return StudyConfig.model_validate(dict(settings))
    except ValidationError as error:
        raise InputError(validation_problems(error, source, StudyConfig)) from None
