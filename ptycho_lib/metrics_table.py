"""The tidy table: its columns, its metrics with their names, and how to select rows.

Each row holds one value. `comparison_metrics.csv` of a run and `aggregated_metrics.csv` of a study have the same
columns: the table of a study is that of its runs, concatenated. Definitions: docs/explanation/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

RUN_COLUMNS = ("n_train", "n_groups", "trial", "seed", "model", "condition")
"""Which run and which reconstruction a value belongs to."""

SCORE_COLUMNS = (
    "component",
    "alignment",
    "metric",
    "value",
    "data_range",
    "phase_rad",
    "amplitude_scale",
    "ramp_row_rad_px",
    "ramp_col_rad_px",
    "shift_row_px",
    "shift_col_px",
    "shift_capped",
    "censored",
    "reason",
)
"""What was measured, and how: data range, alignment terms, remarks."""

COLUMNS = (*RUN_COLUMNS, *SCORE_COLUMNS, "run", "leakage", "reference")
"""All columns of the tidy table in order; `run` is the run folder relative to the study, `leakage` what the
test data shared with the training data (empty, unless that was allowed), `reference` what the reconstructions
are compared with (empty if it is a simulated ground truth)."""

COLLAPSE_CONTRAST = 0.05
"""A reconstruction with less than this share of the truth's contrast has collapsed to a constant."""

COMPONENTS = ("amplitude", "phase", "complex")
ALIGNMENTS = ("raw", "aligned")


@dataclass(frozen=True)
class Metric:
    """A metric's name in the table, its label in figures, its unit, and which end of it is good."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"]

    def unit_of(self, component: str) -> str:
        """Return the unit for a component: errors of the phase are in radians."""
        if self.unit != "component":
            return self.unit
        unit = "rad" if component == "phase" else ""
        return f"{unit}²" if unit and self.name == "mse" else unit


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mae", "MAE", "component", "lower"),
        Metric("mse", "MSE", "component", "lower"),
        Metric("psnr", "PSNR", "dB", "higher"),
        Metric("ssim", "SSIM", "", "higher"),
        Metric("ms_ssim", "MS-SSIM", "", "higher"),
        Metric("frc50", "FRC50", "cycles/px", "higher"),
        Metric("frc_half_bit", "FRC half-bit", "cycles/px", "higher"),
        Metric("frc_one_bit", "FRC 1-bit", "cycles/px", "higher"),
        Metric("frc_auc", "FRC area", "", "higher"),
        Metric("frc50_nm", "FRC50 full period", "nm", "lower"),
        Metric("e0", "E0", "", "lower"),
        Metric("contrast", "contrast", "", "higher"),
    )
}


def select(table: pd.DataFrame, *, may_be_empty: bool = False, **values: object) -> pd.DataFrame:
    """Return the rows of a table whose columns have the given values.

    Parameters
    ----------
    table : DataFrame
    may_be_empty : bool
        Whether no row is a valid result.
    **values
        Column names and the value wanted in each.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If no row is left, unless `may_be_empty`; the message names the value and those in the table.
    """
    for column, value in values.items():
        rows = table[table[column] == value]
        if rows.empty and not may_be_empty:
            present = ", ".join(sorted(map(str, table[column].unique()))) or "nothing"
            raise ValueError(f"{column} '{value}' is not in the table; it holds {present}")
        table = rows
    return table
