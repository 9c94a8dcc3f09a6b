"""`load_study(path)`: a finished study in Python, as tidy tables, sentences and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ptycho_lib.config import NOMINAL
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.report.figures.study import study_figure
from ptycho_lib.report.output.paper_figures import PaperOptions, option_problems
from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.report.style import SETTINGS, scale_fonts, style_sheet
from ptycho_lib.report.text.html_elements import bullets, escape


@dataclass(frozen=True, eq=False, repr=False)
class LoadedStudy(StudyResults):
    """A study folder with its tables as plain data frames, and figures of chosen values.

    `StudyResults` holds the runs, the settings and the truth.
    """

    def __repr__(self) -> str:
        return f"Study '{self.config.name}': {len(self.complete)} of {len(self.runs)} runs complete\n" + "\n".join(
            self.answer()
        )

    def _repr_html_(self) -> str:
        head = f"Study '{self.config.name}': {len(self.complete)} of {len(self.runs)} runs complete"
        return escape(head) + bullets(map(escape, self.answer()))

    @property
    def summary(self) -> pd.DataFrame:
        """Means, intervals and gains over the control (`study_summary.csv`)."""
        return self.tables.summary

    @property
    def outcomes(self) -> pd.DataFrame:
        """How each model of each planned run ended (`run_outcomes.csv`)."""
        return self.tables.outcomes

    @property
    def differences(self) -> pd.DataFrame:
        """PtychoPINN − baseline, paired by trial (`paired_differences.csv`)."""
        return self.tables.differences

    @property
    def matched_sizes(self) -> pd.DataFrame:
        """With how many patterns one network matches the other (`matched_sizes.csv`)."""
        return self.tables.matched_sizes

    @property
    def gaps(self) -> pd.DataFrame:
        """Training scan against test scan (`generalization_gap.csv`)."""
        return self.tables.gaps

    @property
    def costs(self) -> pd.DataFrame:
        """Time and memory of every reconstruction (`aggregated_costs.csv`)."""
        return self.tables.costs

    def values(
        self,
        component: str = "phase",
        metric: str = "ssim",
        *,
        condition: str = NOMINAL,
        alignment: str = "aligned",
    ) -> pd.DataFrame:
        """Return one metric of every run: a row a training size and trial, a column a model.

        Parameters
        ----------
        component, metric, condition, alignment : str

        Returns
        -------
        DataFrame
            Indexed by n_train (0 where nothing is trained) and trial.

        Raises
        ------
        InputError
            If the study has no such value; the problem lists those it has.
        """
        chosen = {"condition": condition, "component": component, "alignment": alignment, "metric": metric}
        rows = self.table
        for column, wanted in chosen.items():
            known = sorted(rows[column].unique())
            if wanted not in known:
                fix = "Choose one of these."
                raise InputError(Problem(str(self.folder), column, f"'{wanted}'", ", ".join(known), fix))
            rows = rows[rows[column] == wanted]
        return rows.pivot_table("value", ["n_train", "trial"], "model", dropna=False)

    def figure(
        self,
        component: str = "phase",
        metric: str | Sequence[str] = "ssim",
        *,
        models: Sequence[str] = (),
        width: str = "single",
        font_size_pt: float = 8.0,
        style: str | Path | None = None,
    ) -> Figure:
        """Draw chosen metrics against the number of training patterns.

        Parameters
        ----------
        component : str
            ``amplitude`` or ``phase``.
        metric : str or sequence of str
            One panel each.
        models : sequence of str
            All by default.
        width, font_size_pt, style
            See `paper_figures.PaperOptions`.

        Returns
        -------
        Figure
            `figure.savefig("name.pdf")` writes it.

        Raises
        ------
        InputError
            With all problems of the choice; each lists what the study has.
        """
        metrics = (metric,) if isinstance(metric, str) else tuple(metric)
        options = PaperOptions(
            width=width,
            font_size_pt=font_size_pt,
            metrics=metrics,
            components=(component,),
            models=tuple(models),
            style=None if style is None else Path(style),
        )
        if problems := list(option_problems(self.table, options)):
            raise InputError(problems)
        table = self.table[self.table["model"].isin(models)] if models else self.table
        both = {"pinn", "baseline"} <= set(table["model"])
        with style_sheet(options.style):
            figure = study_figure(
                table,
                self.summary,
                self.matched_sizes if both else None,
                metrics=metrics,
                components=(component,),
                width=options.width_inches,
            )
            scale_fonts(figure, font_size_pt / SETTINGS["font.size"])
        return figure


def load_study(study_dir: str | Path) -> LoadedStudy:
    """Read a study folder; runs that are missing, failed or stale are named, not an obstacle. Nothing is written.

    Parameters
    ----------
    study_dir : path

    Returns
    -------
    LoadedStudy

    Raises
    ------
    InputError
        If the folder is not a study, or no run is complete.
    """
    results = read_results(study_dir)
    return LoadedStudy(**{field.name: getattr(results, field.name) for field in fields(results)})
