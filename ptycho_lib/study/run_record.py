"""The record of a run that ends: what it computed, on what, and for how long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ptycho_lib.study.folder import provenance
from ptycho_lib.study.folder.record import ModelOutcome, RunRecord
from ptycho_lib.study.run_folder import output_digests

if TYPE_CHECKING:
    from ptycho_lib.study.reconstruct import RunReconstructions
    from ptycho_lib.study.run_session import OpenRun


class TrainedOutcome(Protocol):
    """What `finish_run` records of a model's training; `networks.training.TrainedModel` has it."""

    @property
    def seconds(self) -> float:
        """Wall time of the training; 0 without one."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Largest memory of the process meanwhile."""

    @property
    def collapsed(self) -> bool:
        """Whether it diverged or ended in a constant object."""

    @property
    def reason(self) -> str:
        """Why it counts as collapsed."""


def record_of(
    run: OpenRun,
    trained: Mapping[str, TrainedOutcome],
    reconstructions: RunReconstructions | None,
    n_groups: int,
    device: str,
) -> RunRecord:
    """Return the record of a run that ends now; the files that it names are those in its folder.

    Parameters
    ----------
    run, trained, reconstructions, n_groups, device
        As for `run_session.finish_run`.
    """
    finished = time.time()
    return RunRecord(
        fingerprint=run.identity.fingerprint(),
        identity=run.identity,
        n_groups=n_groups,
        seed=run.config.seed,
        seeds=run.seeds,
        config=run.config.result_settings(run.key.kind),
        train_data=str(run.train_data[0]) if run.train_data else "",
        further_train_data=tuple(map(str, run.train_data[1:])),
        test_data=str(run.test_data),
        leakage=run.leakage,
        reference=run.test.reference,
        models={
            model: ModelOutcome(
                seconds=round(outcome.seconds, 3),
                peak_memory_bytes=outcome.peak_memory_bytes,
                collapsed=outcome.collapsed,
                reason=outcome.reason,
            )
            for model, outcome in trained.items()
        }
        | (reconstructions.outcomes if reconstructions else {}),
        reconstructions=reconstructions.costs() if reconstructions else {},
        conditions=reconstructions.facts if reconstructions else {},
        started=_utc(run.started),
        finished=_utc(finished),
        seconds=round(finished - run.started, 3),
        device=device,
        machine=provenance.machine(),
        versions=provenance.library_versions(),
        commit=provenance.git_commit(),
        determinism=provenance.DETERMINISM,
        outputs=output_digests(run.output_dir),
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
