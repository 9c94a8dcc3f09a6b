"""Figures and texts in notebooks: every picture carries a description for those who cannot see it."""

from __future__ import annotations

import base64
import io

from IPython.display import HTML, display
from matplotlib.figure import Figure

from ptycho_lib.report.text.html_elements import picture

DPI = 100
"""Pixels an inch of a picture's natural size; 183 mm become 720 pixels."""

STORED_DPI = 160
"""Pixels an inch that are stored of a picture that stays: it fills a wide page without blur."""


def png_bytes(figure: Figure, *, dpi: int = DPI, metadata: dict[str, str] | None = None) -> bytes:
    """Return a figure as PNG; equal figures give equal bytes.

    Parameters
    ----------
    figure : Figure
    dpi : int
        Pixels an inch.
    metadata : dict of str to str, optional
        Text chunks of the file.

    Returns
    -------
    bytes
        The file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return buffer.getvalue()


def image_html(figure: Figure, alt: str, *, dpi: int = DPI, note: str = "") -> str:
    """Return an ``<img>`` element that holds the figure itself, with a note below.

    Parameters
    ----------
    figure : Figure
    alt : str
        What the picture shows, for readers who do not see it.
    dpi : int
        Pixels an inch that are stored; the figure's size on the page is the same for all values.
    note : str
        Text below the picture; none by default.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in one sentence what the picture shows")
    data = base64.b64encode(png_bytes(figure, dpi=dpi)).decode()
    width = round(figure.get_figwidth() * DPI)
    return picture(f"data:image/png;base64,{data}", alt, width_px=width, note=note)


def show(figure: Figure, *, alt: str, dpi: int = STORED_DPI, note: str = "") -> None:
    """Display a figure once, as an image with alternative text and a note below, in any notebook.

    Parameters
    ----------
    figure, alt, dpi, note
        As for `image_html`.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """
    display(HTML(image_html(figure, alt, dpi=dpi, note=note)))


def show_html(*parts: str) -> None:
    """Display pieces of HTML (from `report.text`) as one output; empty ones are left out."""
    content = "".join(parts)
    if content:
        display(HTML(content))
