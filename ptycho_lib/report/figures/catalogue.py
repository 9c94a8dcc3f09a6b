"""Every plot of the library, behind one door.

Each function takes arrays or tables and returns a matplotlib Figure; none reads a file, keeps a state or
displays anything. `report.html.show` puts a figure into a notebook with its alternative text.
"""

from ptycho_lib.report.figures.check import check_figure
from ptycho_lib.report.figures.condition_series import sweep_figure
from ptycho_lib.report.figures.cost import time_figure
from ptycho_lib.report.figures.curves import frc_figure, history_figure, profile_figure
from ptycho_lib.report.figures.dataset import dataset_figure, pattern_figure
from ptycho_lib.report.figures.iterations import start_figure
from ptycho_lib.report.figures.objects import comparison_figure, montage_figure, uncertainty_figure
from ptycho_lib.report.figures.scan import coverage_figure, overlap_figure
from ptycho_lib.report.figures.study import condition_figure, study_figure

__all__ = [
    "check_figure",
    "comparison_figure",
    "condition_figure",
    "coverage_figure",
    "dataset_figure",
    "frc_figure",
    "history_figure",
    "montage_figure",
    "overlap_figure",
    "pattern_figure",
    "profile_figure",
    "start_figure",
    "study_figure",
    "sweep_figure",
    "time_figure",
    "uncertainty_figure",
]
