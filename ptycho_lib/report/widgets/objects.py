"""Views of reconstructed objects for JupyterLab: side by side with linked zoom, and along a line."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ptycho_lib.report.figures import comparison_figure, profile_figure
from ptycho_lib.report.figures.objects import ROWS
from ptycho_lib.report.results import Reconstructions
from ptycho_lib.report.style import model_looks
from ptycho_lib.report.widgets.live_view import LiveView, choice, slider

SHOWN = {
    "phase": ("phase",),
    "phase and its error": ("phase", "phase error"),
    "amplitude": ("amplitude",),
    "amplitude and its error": ("amplitude", "amplitude error"),
    "everything": ROWS,
}


def comparison_view(objects: Reconstructions) -> LiveView:
    """Compare reconstructions with the truth: amplitude, phase or error, zoomed alike in all panels."""
    names = ", ".join(look.label for look in model_looks(objects.aligned).values())

    def draw(shown: str, alignment: str, zoom: float, row: float, column: float) -> Figure:
        return comparison_figure(
            objects.truth,
            objects.aligned if alignment == "aligned" else objects.raw,
            objects.mask,
            pixel_size_m=objects.pixel_size_m,
            truth_label=objects.truth_label,
            rows=SHOWN[shown],
            zoom=zoom,
            centre=(row, column),
        )

    def describe(shown: str, alignment: str, zoom: float, row: float, column: float) -> str:
        place = "whole" if zoom == 1 else f"magnified {zoom:g} times about {row:.0%} down, {column:.0%} across"
        return f"{shown.capitalize()} of {objects.truth_label.lower()} and {names} ({alignment}), {place}."

    controls = {
        "shown": choice("show", list(SHOWN)),
        "alignment": choice("alignment", ["aligned", "raw"]),
        "zoom": slider("zoom", 1, 1, 8, 0.5),
        "row": slider("centre, down", 0.5, 0, 1, 0.05),
        "column": slider("centre, across", 0.5, 0, 1, 0.05),
    }
    return LiveView(draw, describe, controls)


def profile_view(objects: Reconstructions) -> LiveView:
    """Follow truth and reconstructions along a line across the compared region."""
    rows, columns = (np.flatnonzero(objects.mask.any(axis=axis)) for axis in (1, 0))
    names = ", ".join(look.label for look in model_looks(objects.aligned).values())

    def draw(component: str, direction: str, place: float) -> Figure:
        if direction == "down":
            column = columns[0] + place * (columns[-1] - columns[0])
            start, end = (rows[0], column), (rows[-1], column)
        else:
            row = rows[0] + place * (rows[-1] - rows[0])
            start, end = (row, columns[0]), (row, columns[-1])
        return profile_figure(
            objects.truth,
            objects.aligned,
            objects.mask,
            start,
            end,
            component=component,
            pixel_size_m=objects.pixel_size_m,
            truth_label=objects.truth_label,
        )

    def describe(component: str, direction: str, place: float) -> str:
        line = f"{direction} the object at {place:.0%} of its {'width' if direction == 'down' else 'height'}"
        return f"{component.capitalize()} of {objects.truth_label.lower()} and {names} along a line {line}."

    controls = {
        "component": choice("component", ["phase", "amplitude"]),
        "direction": choice("line runs", ["down", "across"]),
        "place": slider("place of the line", 0.3, 0, 1, 0.02),
    }
    return LiveView(draw, describe, controls)
