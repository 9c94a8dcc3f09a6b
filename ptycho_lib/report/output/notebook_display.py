"""Figures and texts in notebooks: every picture carries a description for those who cannot see it."""

from __future__ import annotations

import base64
import html
import io

from IPython.display import HTML, display
from matplotlib.figure import Figure

DPI = 100
"""Pixels an inch of a picture in a notebook; 183 mm become 720 pixels."""


def png_bytes(figure: Figure, *, dpi: int = DPI, metadata: dict[str, str] | None = None) -> bytes:
    """Return the figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return buffer.getvalue()


def image_html(figure: Figure, alt: str, *, dpi: int = DPI) -> str:
    """Return an ``<img>`` element that holds the figure itself.

    Parameters
    ----------
    figure : Figure
    alt : str
        What the picture shows, for readers who do not see it.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in one sentence what the picture shows")
    data = base64.b64encode(png_bytes(figure, dpi=dpi)).decode()
    width = round(figure.get_figwidth() * DPI)
    return (
        '<div class="ptycho-figure" style="overflow-x:auto">'
        f'<img alt="{html.escape(alt, quote=True)}" width="{width}" decoding="sync" '
        f'style="max-width:100%;height:auto;background:white" src="data:image/png;base64,{data}"></div>'
    )


def show(figure: Figure, *, alt: str, dpi: int = DPI, note: str = "") -> None:
    """Display a figure once, as an image with alternative text and a note below, in any notebook."""
    below = f"<p><em>{html.escape(note)}</em></p>" if note else ""
    display(HTML(image_html(figure, alt, dpi=dpi) + below))


def show_html(*parts: str) -> None:
    """Display pieces of HTML (from `narrative`, `tables`) as one output; empty ones are left out."""
    content = "".join(parts)
    if content:
        display(HTML(content))
