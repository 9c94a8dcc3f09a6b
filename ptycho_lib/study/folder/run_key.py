"""Which run of a study: networks of one size and trial, or a model that is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ptycho_lib.model_names import RunKind

TRAIN_AND_COMPARE = "train_and_compare.ipynb"
EVALUATE_UNTRAINED = "evaluate_untrained.ipynb"
ITERATE = "iterate.ipynb"
_TEMPLATES: dict[RunKind, str] = {
    "trained": TRAIN_AND_COMPARE,
    "untrained": EVALUATE_UNTRAINED,
    "iterative": ITERATE,
}


class RunKey(NamedTuple):
    """The name of a run within its study.

    Parameters
    ----------
    kind : {"trained", "untrained", "iterative"}
    n_train : int
        Number of training patterns; 0 where nothing is trained.
    trial : int
        From 1.
    """

    kind: RunKind
    n_train: int = 0
    trial: int = 1

    def __str__(self) -> str:
        return f"n_train {self.n_train}, trial {self.trial}" if self.is_trained else self.kind

    @property
    def is_trained(self) -> bool:
        """Whether the run trains networks; the other kinds depend on no training size."""
        return self.kind == "trained"

    @property
    def template(self) -> str:
        """Name of the notebook that computes the run."""
        return _TEMPLATES[self.kind]

    @property
    def order(self) -> tuple[int, int, str]:
        """Where the run stands among those of its study: by size, then by trial."""
        return (self.n_train, self.trial, self.kind)

    def folder(self, out_dir: Path, record: str) -> Path:
        """Return the folder of the run.

        The first trial lies in `n_train_128/`, the others in `n_train_128/trial_2/` and so on. Earlier versions
        put the first into `n_train_128/trial_1/` where there were several; there it stays.

        Parameters
        ----------
        out_dir : Path
            Study folder.
        record : str
            Name of the file that a complete run has.
        """
        if not self.is_trained:
            return out_dir / self.kind
        size = out_dir / f"n_train_{self.n_train}"
        below = size / f"trial_{self.trial}"
        if self.trial > 1 or (below.is_dir() and not (size / record).is_file()):
            return below
        return size
