"""Faults of input, told so that a user can mend them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input.

    Parameters
    ----------
    source : str
        The file, folder or option that holds the fault.
    key : str
        The array, field or parameter inside `source`; empty if the whole is at fault.
    found, expected : str
        What stands there, and what should.
    mend : str
        A full sentence that says what to do.
    """

    source: str
    key: str
    found: str
    expected: str
    mend: str

    def __str__(self) -> str:
        place = f"{self.source}: {self.key}" if self.key else self.source
        return f"{place}: found {self.found}; expected {self.expected}. {self.mend}"


class InputError(ValueError):
    """Bad input; carries every fault that was found, not only the first.

    Parameters
    ----------
    faults : Fault or iterable of Fault
        At least one.
    """

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n\n".join(str(fault) for fault in self.faults))
