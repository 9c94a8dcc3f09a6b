"""Every plot of the library, behind one door.

Each function takes arrays or tables and returns a matplotlib Figure; none reads a file, keeps a state or
displays anything. `report.html.show` puts a figure into a notebook with its alternative text.
"""

from ptycho_lib.report.check_figure import check_figure
from ptycho_lib.report.curve_figures import frc_figure, history_figure, profile_figure
from ptycho_lib.report.dataset_figures import dataset_figure, pattern_figure
from ptycho_lib.report.iteration_figures import start_figure
from ptycho_lib.report.object_figures import comparison_figure, montage_figure, uncertainty_figure
from ptycho_lib.report.scan_figures import coverage_figure, overlap_figure
from ptycho_lib.report.spending_figures import time_figure
from ptycho_lib.report.study_figures import condition_figure, study_figure
from ptycho_lib.report.sweep_figures import sweep_figure

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
