"""Text of a comparison of studies: what differs, what it did, and what is not paired."""

from __future__ import annotations

from ptycho_lib.metrics_table import METRICS
from ptycho_lib.model_names import NOMINAL, model_label
from ptycho_lib.report.text.html_elements import bullets, escape, paragraph, table
from ptycho_lib.report.text.tables import numbers_text
from ptycho_lib.study.results.comparison_of_studies import StudyComparison

METRICS_SHOWN = (("phase", "ssim"), ("phase", "mae"), ("phase", "frc50"), ("amplitude", "ssim"))


def comparison_answer(comparison: StudyComparison, *, metric: str = "ssim", component: str = "phase") -> str:
    """Return the sentences of a comparison."""
    said = comparison.sentences(metric=metric, component=component)
    if not said:
        said = ["The studies have no training size and model in common."]
    return bullets(escape(sentence) for sentence in said)


def comparison_differences(comparison: StudyComparison) -> str:
    """Return the table of what is not the same in all studies."""
    rows = comparison.differences
    if rows.empty:
        return paragraph("Settings, data, code, software and machine are the same.")
    caption = "What is not the same in all studies; fingerprints are cut to twelve characters."
    return table(caption, list(rows.columns), [[escape(cell) for cell in row] for row in rows.itertuples(index=False)])


def comparison_values(comparison: StudyComparison) -> str:
    """Return the means of the studies side by side, one row a component, metric, size and model."""
    labels = [study.label for study in comparison.studies]
    values = comparison.values[
        (comparison.values["condition"] == NOMINAL) & (comparison.values["alignment"] == "aligned")
    ]
    cells = []
    for component, metric in METRICS_SHOWN:
        own = values[(values["component"] == component) & (values["metric"] == metric)]
        for (size, model), rows in own.groupby(["n_train", "model"]):
            means = rows.set_index("study")["mean"].reindex(labels)
            half = (rows.set_index("study")["high"] - rows.set_index("study")["mean"]).reindex(labels)
            texts = numbers_text(metric, list(means), list(half))
            head = [component, METRICS[metric].label, str(size) if size else "–", model_label(model)]
            cells.append([escape(text) for text in (*head, *texts)])
    caption = "Means of the trials on the unchanged test set, aligned; ± half of the 95 % interval, from three trials."
    return table(caption, ["component", "metric", "patterns", "model", *labels], cells)
