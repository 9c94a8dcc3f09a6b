"""Pieces of HTML: escaped, complete, empty where there is nothing to say."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.text import html_elements as markup

NASTY = '<img src=x onerror="alert(1)">'


def test_texts_never_become_markup() -> None:
    html = markup.definitions({NASTY: NASTY}) + markup.table(NASTY, [NASTY], [[markup.escape(NASTY)]])
    soup = BeautifulSoup(html, "html.parser")
    assert soup.find("img") is None
    assert soup.get_text().count(NASTY) == 5


def test_wide_tables_can_be_reached_and_scrolled_by_keyboard() -> None:
    region = BeautifulSoup(markup.table("Runs", ["a"], [["1"]]), "html.parser").div
    assert region["tabindex"] == "0"
    assert region["aria-label"] == "Runs"
    assert "overflow-x:auto" in region["style"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        ([1, "<"], "1 and &lt;"),
    ],
)
def test_lists_read_as_english(words: list[object], text: str) -> None:
    assert markup.listed(words) == text


def test_nothing_to_say_is_nothing() -> None:
    assert markup.bullets([]) == ""
    assert markup.definitions({}) == ""
