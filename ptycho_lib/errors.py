"""Problems of input, worded so that a user can fix them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Parameters
    ----------
    source : str
        The file, folder or option that holds the problem.
    key : str
        The array, field or parameter inside `source`; empty if the whole is at problem.
    found, expected : str
        What stands there, and what should.
    fix : str
        A full sentence that says what to do.
    """

    source: str
    key: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.source}: {self.key}" if self.key else self.source
        return f"{place}: found {self.found}; expected {self.expected}. {self.fix}"


class InputError(ValueError):
    """Bad input; carries every problem that was found, not only the first.

    Parameters
    ----------
    problems : Problem or iterable of Problem
        At least one.
    """

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n\n".join(str(problem) for problem in self.problems))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and JupyterLab show in the place of a traceback: the problems, a paragraph each."""
        number = len(self.problems)
        head = f"InputError: {number} problem{'s' * (number != 1)} of the input"
        return [head, *(f"\n{problem}" for problem in self.problems)]
