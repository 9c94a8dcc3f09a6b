"""HTML in small pieces: texts are escaped here, so that nothing that a file says becomes markup.

Functions that take `html` expect markup; those that take `text` escape it.
"""

from __future__ import annotations

import html as _html
from collections.abc import Iterable, Mapping, Sequence


def escape(text: object) -> str:
    """Return a text as HTML."""
    return _html.escape(str(text))


def paragraph(html: str, *, role: str = "") -> str:
    """Return a paragraph; `role` is its class."""
    return f'<p class="{escape(role)}">{html}</p>' if role else f"<p>{html}</p>"


def bullets(items: Iterable[str]) -> str:
    """Return a list of pieces of HTML; nothing if there are none."""
    entries = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{entries}</ul>" if entries else ""


def definitions(facts: Mapping[str, object]) -> str:
    """Return names and texts, one pair a line."""
    style = "text-align:left;vertical-align:top"
    pairs = "".join(
        f'<tr><th scope="row" style="{style}">{escape(name)}</th>'
        f'<td style="{style};overflow-wrap:anywhere;white-space:normal">{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table class="facts">{pairs}</table>' if pairs else ""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of pieces of HTML that scrolls sideways where the page is too narrow."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return scrolling(
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>",
        caption,
    )


def scrolling(html: str, label: str) -> str:
    """Return wide HTML in a region of its own, which keyboards can reach and scroll."""
    return (
        f'<div class="ptycho-table" role="region" aria-label="{escape(label)}" tabindex="0" '
        f'style="overflow-x:auto">{html}</div>'
    )


def listed(words: Iterable[object]) -> str:
    """Return words as ``a, b and c``, escaped."""
    *first, last = [*map(str, words)] or [""]
    return escape(f"{', '.join(first)} and {last}" if first else last)
