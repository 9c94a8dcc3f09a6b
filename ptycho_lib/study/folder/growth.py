"""A study that grows: which parts of a run are there already when conditions or models are added."""

from __future__ import annotations

from collections.abc import Mapping

from ptycho_lib.config import ONCE, StudyConfig
from ptycho_lib.errors import InputError
from ptycho_lib.study.folder.manifest import identify
from ptycho_lib.study.folder.record import RunIdentity, RunRecord


def missing_parts(
    config: StudyConfig, identity: RunIdentity, code: Mapping[str, str], record: RunRecord
) -> tuple[str, ...]:
    """Return what a complete run lacks of a larger one that is otherwise the same.

    Parameters
    ----------
    config : StudyConfig
        Of the larger run.
    identity : RunIdentity
        Of the larger run.
    code : mapping of str to str
        `code_fingerprints` that hold for it.
    record : RunRecord
        Of the run that is there.

    Returns
    -------
    tuple of str
        Such as `model baseline`, `condition low_dose`; empty if the run is not a part of the larger one.
    """
    smaller = _restricted(config, record)
    if smaller is None:
        return ()
    prints = identity.fingerprints
    data = {
        "train_data": prints.train_data or record.identity.fingerprints.train_data,
        "test_data": prints.test_data,
    }
    try:
        then = identify(smaller, identity.key, identity.n_test, data, code=code)
    except InputError:  # a file of a condition is gone
        return ()
    if then != record.identity:
        return ()
    models = [f"model {name}" for name in config.models if name not in smaller.models]
    known = {condition.name for condition in smaller.conditions}
    conditions = [f"condition {one.name}" for one in config.conditions if one.name not in known]
    scan = ["condition train"] if config.training_scan and not smaller.training_scan else []
    return (*models, *conditions, *scan)


def _restricted(config: StudyConfig, record: RunRecord) -> StudyConfig | None:
    """Return the configuration with those models and conditions alone that a run has; None if it has others."""
    then = record.config
    models, names = set(then.get("models", ())), {one["name"] for one in then.get("conditions", ())}
    kept = tuple(one for one in config.conditions if one.name in names)
    if not models <= set(config.models_of(record.key.kind)) or len(kept) != len(names):
        return None
    others = tuple(model for model in config.models if model in models or ONCE.get(model, "trained") != record.key.kind)
    scan = config.training_scan and bool(then.get("training_scan", record.key.kind == "iterative"))
    return config.model_copy(update={"models": others, "conditions": kept, "training_scan": scan})
