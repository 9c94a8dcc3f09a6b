"""A value that a study is asked to reach, such as `phase ssim 0.9`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.metrics_table import COMPONENTS, METRICS

TARGET = "target.txt"
"""File of a study folder that keeps the target: tables, report and verification then agree on it."""


class Target(NamedTuple):
    """A value of a metric that is to be reached.

    Parameters
    ----------
    component, metric : str
    value : float
        In the metric's unit.
    """

    component: str
    metric: str
    value: float

    def __str__(self) -> str:
        return f"{self.component} {self.metric} {self.value:g}"


def parse_target(text: str, source: str = "--target") -> Target:
    """Read a target from a text.

    Parameters
    ----------
    text : str
        Component, metric and value, such as ``phase ssim 0.9``.
    source : str
        Where it was given, for the message.

    Raises
    ------
    InputError
        If the text is not of that form, names no component or metric, or the value is not a finite number.
    """
    words = text.lower().split()
    try:
        component, metric, number = words
        value = float(number)
    except ValueError:
        fix = 'Give component, metric and value in quotes: --target "phase ssim 0.9".'
        raise InputError(Problem(source, "", repr(text), "a component, a metric and a number", fix)) from None
    problems = [
        Problem(source, what, repr(found), f"one of {', '.join(known)}", "Choose one of these.")
        for what, found, known in (("component", component, COMPONENTS), ("metric", metric, METRICS))
        if found not in known
    ]
    if not math.isfinite(value):
        problems.append(Problem(source, "value", number, "a finite number", "Give the value to be reached."))
    if problems:
        raise InputError(problems)
    return Target(component, metric, value)


def read_target(out_dir: Path) -> Target | None:
    """Return the target of a study folder; None if none was set.

    Raises
    ------
    InputError
        If the file holds none.
    """
    path = out_dir / TARGET
    return parse_target(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None


def write_target(out_dir: Path, target: Target) -> None:
    """Keep a target in a study folder, atomically; it replaces an earlier one."""
    write_atomically(out_dir / TARGET, f"{target}\n")
