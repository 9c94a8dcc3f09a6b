"""Pictures in notebooks: shown once, described, harmless."""

from __future__ import annotations

import base64
import io

import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image

from ptycho_lib.report.output import notebook_display as html


def figure() -> Figure:
    made = Figure(figsize=(2, 1))
    made.subplots().plot([0, 1])
    return made


def test_image_has_its_text_and_its_pixels() -> None:
    image = BeautifulSoup(html.image_html(figure(), 'a "line" <rising>', dpi=50), "html.parser").img
    assert image["alt"] == 'a "line" <rising>'
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (100, 50)


@pytest.mark.parametrize("alt", ["", "  "])
def test_a_picture_without_description_is_refused(alt: str) -> None:
    with pytest.raises(ValueError, match="alt is empty"):
        html.image_html(figure(), alt)


def test_show_displays_one_html_output(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(html, "display", shown.append)
    html.show(figure(), alt="a rising line")
    assert len(shown) == 1
    assert 'alt="a rising line"' in shown[0].data


def test_metadata_travels_in_the_png() -> None:
    data = html.png_bytes(figure(), metadata={"Study fingerprint": "abc"})
    assert Image.open(io.BytesIO(data)).text["Study fingerprint"] == "abc"
