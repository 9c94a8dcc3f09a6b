"""Figures: pure functions from arrays and tables to matplotlib figures.

Each takes arrays or tables and returns a `matplotlib.figure.Figure`; none reads a file, keeps a state or displays
anything. `report.output.notebook_display.show` puts a figure into a notebook with its alternative text. The public
functions, listed in `__init__.pyi`, are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
