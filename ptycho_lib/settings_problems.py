"""What is wrong with settings: pydantic's findings as problems, and names of an older version.

An old name is refused in a configuration and understood in the results of an older version.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ptycho_lib.errors import Problem

RENAMED = {
    "arms": "models",
    "network.first_guess": "network.first_guess_iterations",
    "training.overlap": "training.merged_patches",
    "training.epochs": "training.steps",
    "training.min_steps": "training.steps",
    "evaluation.level_phase": "evaluation.correct_phase_drift",
    "iterative.epochs": "iterative.updates",
}
"""Settings of older versions and what replaces them. An old name in a configuration is refused."""

_REPLACED = {
    "training.epochs": "Give training.steps, the gradient steps of a training; every size gets as many.",
    "training.min_steps": "Give training.steps, the gradient steps of a training; every size gets as many.",
}


def validation_problems(
    error: ValidationError,
    source: str,
    section: type[BaseModel],
    fix: str = "The page 'Configuration' lists all names and limits.",
) -> Iterator[Problem]:
    """Yield one problem for each unknown or renamed setting and each value out of its limits.

    Parameters
    ----------
    error : ValidationError
    source : str
        Where the settings came from.
    section : type
        The model that they should fulfil.
    fix : str
        A full sentence: where names and limits are explained.

    Yields
    ------
    Problem
    """
    details = error.errors()
    for detail in details:
        if detail["type"] == "too_short" and any(other["loc"][:-1] == detail["loc"] for other in details):
            continue  # short because its items were refused
        place = [str(part) for part in detail["loc"] if part != "[key]"]
        key = ".".join(place)
        if key in RENAMED and detail["type"] == "extra_forbidden":
            new = RENAMED[key]
            instead = _REPLACED.get(key, f"Write {new} instead.")
            yield Problem(source, key, "a setting of an older version", new, instead)
        elif detail["type"] == "extra_forbidden":
            known = sorted(_fields(section, place[:-1]))
            hint = _hint(place, known) or f"Remove it. {fix}"
            yield Problem(source, key, "an unknown setting", f"one of {', '.join(known)}", hint)
        else:
            found = repr(detail["input"])[:200] if place else "settings that contradict each other"
            expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            yield Problem(source, key, found, expected, fix)


def _hint(place: list[str], known: list[str]) -> str:
    """Return which known setting is nearest to an unknown one, by its name or by that of an older version."""
    section = "".join(f"{part}." for part in place[:-1])
    old = {name.removeprefix(section): name for name in RENAMED if name.rpartition(".")[0] == section.rstrip(".")}
    near = difflib.get_close_matches(place[-1], [*known, *old], n=1)
    if not near:
        return ""
    if near[0] in known:
        return f"Did you mean '{near[0]}'?"
    name = old[near[0]]
    return f"Did you mean '{RENAMED[name].rpartition('.')[2]}'? {_REPLACED.get(name, '')}".rstrip()


def with_names_of_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an older version's study under today's names, so that its results can be read.

    Parameters
    ----------
    settings : mapping
        The `config` of an old `study.yaml` or `run.json`, sections as mappings.

    Returns
    -------
    dict
        A copy. What has no counterpart (epochs) is left out; a least number
        of steps counts as the number of steps.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()}
    for old, new in RENAMED.items():
        *place, name = old.split(".")
        section = result[place[0]] if place and isinstance(result.get(place[0]), dict) else result
        if name not in section or (place and section is result):
            continue
        value = section.pop(name)
        if old not in ("training.epochs", "iterative.epochs") and (value or old != "training.min_steps"):
            section.setdefault(new.split(".")[-1], value)
    return result


def _fields(section: type[BaseModel], place: list[str]) -> set[str]:
    """Return the names known at a place such as ['training'] or ['conditions', '0']."""
    for part in place:
        field = section.model_fields.get(part)
        section = (_model_in(field.annotation) if field else None) or section
    return set(section.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation is, or holds, such as that of tuple[Model, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def with_same_modes(settings: Any) -> Any:
    """Return a study's settings in which iterating uses as many probe modes as the networks, unless it has a number."""
    if not isinstance(settings, Mapping):
        return settings
    network, iterative = (settings.get(key) or {} for key in ("network", "iterative"))
    most = network.get("probe_modes") if isinstance(network, Mapping) else None
    if not isinstance(iterative, Mapping) or not isinstance(most, int) or most < 1:
        return settings
    return {**settings, "iterative": {"probe_modes": most, **iterative}}
