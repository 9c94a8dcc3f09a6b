"""HTML elements, rendered by Jinja2 with autoescape: nothing that a file says becomes markup.

Arguments named ``html`` (or ``items``, ``rows`` of HTML) are markup already; all others are plain text and are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape as escaped
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("ptycho_lib.report.text", "elements"), autoescape=True, undefined=StrictUndefined
)

LARGEST = 1.5
"""How much larger than printed a picture may be on a wide page."""


def escape(text: object) -> str:
    """Return a text as HTML."""
    return escaped(str(text))


def paragraph(html: str, *, role: str = "") -> str:
    """Return a paragraph.

    Parameters
    ----------
    html : str
        Its content, markup.
    role : str
        Its class, as ``answer``; none by default.

    Returns
    -------
    str
        HTML.
    """
    return _element("paragraph", html, role)


def strong(text: object) -> str:
    """Return a text in bold."""
    return _element("strong", str(text))


def code(text: object) -> str:
    """Return a text in the typeface of code."""
    return _element("code", str(text))


def link(target: str, text: str, *, label: str = "") -> str:
    """Return a link to a relative path; `label` says more than the text to a screen reader."""
    return _element("link", target, text, label)


def bullets(items: Iterable[str]) -> str:
    """Return a list of pieces of HTML; nothing if there are none."""
    entries = list(items)
    return _element("bullets", entries) if entries else ""


def definitions(facts: Mapping[str, object]) -> str:
    """Return a table of names and texts, one pair a row; nothing if there are none."""
    return _element("definitions", {name: str(value) for name, value in facts.items()}) if facts else ""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls sideways where the page is too narrow.

    Parameters
    ----------
    caption, head : str, sequence of str
        Texts below the table and above its columns.
    rows : iterable of sequence of str
        Cells, HTML.

    Returns
    -------
    str
        HTML.
    """
    return _element("table", caption, head, list(rows))


def grouped_table(
    caption: str,
    head: Sequence[Sequence[tuple[str, int, int]]],
    body: Iterable[tuple[Sequence[tuple[str, int]], Sequence[tuple[str, bool]]]],
    *,
    label: str,
) -> str:
    """Return a table whose headings may cover several rows or columns; all cells are texts.

    Parameters
    ----------
    caption : str
    head : sequence of rows
        Each a sequence of (text, rows, columns).
    body : iterable of (headings, cells)
        Headings (text, rows) and cells (text, whether bold) of each row.
    label : str
        Its name for screen readers.

    Returns
    -------
    str
        HTML.
    """
    return _element("grouped_table", caption, head, list(body), label)


def scrolling(html: str, label: str) -> str:
    """Return wide HTML in a region that a keyboard can reach and scroll.

    Parameters
    ----------
    html : str
        Its content, markup.
    label : str
        Its name for screen readers.

    Returns
    -------
    str
        HTML.
    """
    return _element("scrolling", html, label)


def picture(source: str, alt: str, *, width_px: int, note: str = "") -> str:
    """Return an image that scrolls sideways on a narrow page, with a note below.

    Parameters
    ----------
    source : str
        Address of the image, as ``data:image/png;base64,...``.
    alt : str
        What it shows, for readers who do not see it.
    width_px : int
        Its natural width. It fills the page's width, up to `LARGEST` times its natural one.
    note : str
        Text below; none by default.

    Returns
    -------
    str
        HTML.
    """
    return _element("picture", source, alt, width_px, round(LARGEST * width_px), note)


def alert(message: str) -> str:
    """Return a message in the place of something that cannot be shown."""
    return _element("alert", message)


def preformatted(text: str) -> str:
    """Return a text with its line breaks and columns."""
    return _element("preformatted", text)


def finding(mark: str, code: str, message: str, fix: str) -> str:
    """Return one finding of a check, all four parts texts: how serious, its code, what was found, how to fix it."""
    return _element("finding", mark, code, message, fix)


def listed(words: Iterable[object]) -> str:
    """Return words as ``a, b and c``, escaped."""
    return listed_html(map(escape, words))


def listed_html(items: Iterable[str]) -> str:
    """Return pieces of HTML as ``a, b and c``."""
    *first, last = [*items] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _element(name: str, *content: Any) -> str:
    """Render one macro of elements.html.j2."""
    return str(getattr(ENVIRONMENT.get_template("elements.html.j2").module, name)(*content))
