"""Widgets for JupyterLab: controls above a picture that follows them.

A view is a function that draws a Figure, and a few controls. The picture is an ordinary output that is replaced in
place; without a kernel (nbconvert, a preview) it shows the initial values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML, DisplayHandle, display
from matplotlib.figure import Figure

from ptycho_lib.report.output.notebook_display import image_html
from ptycho_lib.report.text.html_elements import alert

WIDE = widgets.Layout(width="24rem", max_width="100%")
ROW = {"flex_flow": "row wrap", "align_items": "center"}
CONTROLS_NOTE = "Controls of the picture below: {names}. They work while a kernel runs."


class LiveView:
    """A picture and its controls; the last expression of a cell displays both.

    Parameters
    ----------
    draw : callable
        Takes the values of the controls by name and returns the Figure. The message of a ValueError that it raises
        is displayed instead of the picture.
    describe : callable
        Takes the same values and returns the alternative text.
    controls : mapping of str to Widget
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        describe: Callable[..., str],
        controls: Mapping[str, widgets.Widget],
    ) -> None:
        self.controls = dict(controls)
        self._draw, self._describe = draw, describe
        self._handle: DisplayHandle | None = None
        for control in self.controls.values():
            control.observe(self._follow, names="value")

    @property
    def values(self) -> dict[str, Any]:
        """The current values of the controls."""
        return {name: control.value for name, control in self.controls.items()}

    def picture(self) -> str:
        """Return the picture for the current values as HTML."""
        values = self.values
        try:
            return image_html(self._draw(**values), self._describe(**values))
        except ValueError as error:  # InputError is a ValueError
            return alert(str(error))

    def _follow(self, change: object) -> None:
        del change
        if self._handle is not None:
            self._handle.update(HTML(self.picture()))

    def _ipython_display_(self) -> None:
        show_controls(*self.controls.values())
        self._handle = display(HTML(self.picture()), display_id=True)


def show_controls(*controls: widgets.Widget) -> None:
    """Display widgets in a row that wraps; a reader without a front end gets their names instead."""
    box = widgets.HBox(list(controls), layout=widgets.Layout(**ROW))
    names = ", ".join(control.description for control in controls if control.description)
    bundle = dict(box._repr_mimebundle_())
    bundle["text/plain"] = CONTROLS_NOTE.format(names=names)
    display(bundle, raw=True)


def slider(label: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """Return a slider for a real number, its label written out."""
    return widgets.FloatSlider(value=value, min=low, max=high, step=step, description=label, **_labelled())


def int_slider(label: str, value: int, low: int, high: int) -> widgets.IntSlider:
    """Return a slider for a whole number."""
    return widgets.IntSlider(value=value, min=low, max=high, description=label, **_labelled())


def choice(label: str, options: Any, value: Any = None) -> widgets.Dropdown:
    """Return a drop-down menu; the first option is chosen if none is given."""
    chosen = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, description=label, **chosen, **_labelled())


def switch(label: str, value: bool) -> widgets.Checkbox:
    """Return a switch."""
    return widgets.Checkbox(value=value, description=label, indent=False)


def _labelled() -> dict[str, Any]:
    return {"style": {"description_width": "initial"}, "layout": WIDE}
