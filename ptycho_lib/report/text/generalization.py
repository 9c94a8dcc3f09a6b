"""The generalization gap in words: the same metric on the training scan and on the test scan."""

from __future__ import annotations

import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.model_names import TRAIN
from ptycho_lib.report.style import metric_title, model_looks


def has_training_scan(table: pd.DataFrame) -> bool:
    """Whether a tidy table holds values of trained networks on their training scan."""
    return TRAIN in set(table.loc[table["n_train"] > 0, "condition"])


def generalization_alt(table: pd.DataFrame, *, metric: str = "ssim", component: str = "phase") -> str:
    """Return the caption and alternative text of the generalization figure: its message in numbers.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`, with the conditions ``nominal`` and ``train``.
    metric, component : str
        The value that is quoted.

    Returns
    -------
    str
        Plain text: means of the trials at the largest training size, by model.

    Raises
    ------
    ValueError
        If the table holds no such value on both scans.
    """
    rows = select(table, metric=metric, component=component, alignment="aligned")
    rows = rows[rows["n_train"] > 0]
    size = int(rows["n_train"].max())
    means = {
        name: select(rows, condition=name, n_train=size).groupby("model")["value"].mean() for name in (TRAIN, NOMINAL)
    }
    pairs = [
        f"{look.label} {means[TRAIN][model]:.3g} on the training scan, {means[NOMINAL][model]:.3g} on the test scan"
        for model, look in model_looks(means[TRAIN].index).items()
    ]
    title = metric_title(metric, component).rstrip(" ↑↓")
    return (
        f"Metrics on the training scan (open points) and on the test scan (full points) against the number of training "
        f"patterns. Mean {title} of the {component} with {size} patterns: {'; '.join(pairs)}."
    )
