"""Figures of iterative reconstructions: what a starting guess is worth."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ptycho_lib.report.figures.axes import seconds_axis
from ptycho_lib.report.style import letter, model_looks, new_figure, styled


@styled
def starting_guess_figure(
    curves: Mapping[str, Mapping[str, pd.DataFrame]], *, quality: str = "phase SSIM ↑", against: str = "seconds"
) -> Figure:
    """Show quality against time or updates of the reconstruction, one panel a test set, one line a starting guess.

    Dotted: the quality at the end from a flat object; points: where each line reaches it first.

    Parameters
    ----------
    curves : mapping of str to mapping of str to DataFrame
        ``curves[test set][model]``: columns ``updates``, ``seconds``, ``quality``. Model ``iterative`` starts
        from a flat object. Update 0 is the starting guess itself, after the seconds that a network and the
        set-up took; training does not count.
    quality : str
        Label of the vertical axis.
    against : {'seconds', 'updates'}
        Horizontal axis.

    Returns
    -------
    Figure
    """
    figure = new_figure(2.7, width=3.4 * len(curves))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, (name, by_model) in zip(panels, curves.items(), strict=True):
        goal = float(by_model["iterative"]["quality"].iloc[-1])
        ax.axhline(goal, color="#777777", linestyle=":", linewidth=0.8)
        for model, look in model_looks(by_model).items():
            curve = by_model[model]
            ax.plot(curve[against], curve["quality"], look.line, color=look.colour, label=look.label)
            reached = curve[curve["quality"] >= goal].head(1)
            ax.plot(reached[against], reached["quality"], look.marker, color=look.colour, markersize=5)
        low = min(float(np.nanmin(curve["quality"])) for curve in by_model.values())
        if against == "seconds":
            seconds_axis(ax, pd.concat([curve["seconds"] for curve in by_model.values()]))
        else:
            ax.set_xscale("symlog", linthresh=10)
        label = {"seconds": "seconds of reconstruction", "updates": "updates of the object"}[against]
        ax.set(title=fill(name, 42), xlabel=label, ylim=(min(low, goal) - 0.03, None))
    panels[0].set_ylabel(quality)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), int(figure.get_figwidth() / 1.7)))
    letter(panels, left_pt=14)
    return figure
