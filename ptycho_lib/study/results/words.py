"""Numbers in sentences: counts of patterns, of trials, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable


def count_text(number: float) -> str:
    """Write a number of patterns: whole numbers as they are, interpolated ones to two digits."""
    if number != int(number):
        digits = 1 - math.floor(math.log10(number))
        number = round(number, min(digits, 0))
    return f"{number:,.0f}".replace(",", "\u202f")


def trials_text(count: int) -> str:
    """Write a number of trials; fewer than three are said to give no interval."""
    trials = "one trial" if count == 1 else f"{count} trials"
    return trials if count >= 3 else f"{trials}, no interval"


def interval_words(low: float, high: float, digits: int = 3) -> str:
    """Write a 95 % interval, such as `95 % CI 0.941 to 0.955`; nothing if it is undefined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"95 % CI {signed(low, digits)} to {signed(high, digits)}"


def size_interval(low: float, high: float, low_open: bool, high_open: bool) -> str:
    """Write an interval of training sizes, such as `70–120` or `1 400 to more than 2 048`.

    Parameters
    ----------
    low, high : float
        Ends; the result is empty if one is undefined.
    low_open, high_open : bool
        Whether the interval goes on beyond its end.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    first = f"{count_text(low)} or fewer" if low_open else count_text(low)
    if low == high and low_open != high_open:
        return first if low_open else f"more than {count_text(high)}"
    last = f"more than {count_text(high)}" if high_open else count_text(high)
    return f"{first} to {last}" if low_open or high_open else f"{first}–{last}"


def signed(number: float, digits: int = 3) -> str:
    """Write a number to so many significant digits, zeros included, with a true minus sign."""
    text = f"{number:#.{digits}g}".removesuffix(".") if number else "0"
    return text.replace("-", "\u2212")


def joined(words: Iterable[str]) -> str:
    """Return words as `a, b and c`."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def capitalized(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]
