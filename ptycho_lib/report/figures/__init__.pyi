from .check import check_figure
from .conditions import condition_figure, condition_series_figure
from .cost import time_figure
from .curves import frc_figure, history_figure, profile_figure, reliability_figure, starting_guess_figure
from .dataset import coverage_figure, dataset_figure, overlap_figure, pattern_figure
from .generalization import generalization_figure
from .learning_curve import learning_curve_figure
from .new_scan import new_scan_figure
from .objects import comparison_figure, montage_figure, uncertainty_figure
from .study import study_figure
from .study_comparison import study_comparison_figure

__all__ = [
    "check_figure",
    "comparison_figure",
    "condition_figure",
    "condition_series_figure",
    "coverage_figure",
    "dataset_figure",
    "frc_figure",
    "generalization_figure",
    "history_figure",
    "learning_curve_figure",
    "montage_figure",
    "new_scan_figure",
    "overlap_figure",
    "pattern_figure",
    "profile_figure",
    "reliability_figure",
    "starting_guess_figure",
    "study_comparison_figure",
    "study_figure",
    "time_figure",
    "uncertainty_figure",
]
