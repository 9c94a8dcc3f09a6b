"""How far a run has come, read from the files that it writes while it works."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ptycho_lib.study.folder.locks import EXECUTION

PROGRESS = f"{EXECUTION}/progress.jsonl"
"""JSON lines of the training: time (s since the epoch), model, epoch, epochs, loss, val_loss."""

LOG = f"{EXECUTION}/papermill.log"
"""What papermill and the kernel print."""

FAILURE = f"{EXECUTION}/failure.json"

USAGE = f"{EXECUTION}/usage.json"
"""Seconds, peak memory and disk of a complete run; `plan` predicts from it."""

TAIL_BYTES = 65536
_CELL = re.compile(rb"(Executing|Ending) Cell (\d+)-")


@dataclass(frozen=True)
class Epoch:
    """The last line of the training's progress file."""

    time: float
    model: str
    epoch: int
    epochs: int
    loss: float
    val_loss: float


def last_epoch(folder: Path) -> Epoch | None:
    """Return the last epoch that a run reported, or None."""
    lines = reversed(_tail(folder / PROGRESS).splitlines())
    return next((epoch for epoch in map(_parse, lines) if epoch is not None), None)


def all_epochs(folder: Path) -> list[Epoch]:
    """Return every epoch that a run reported, in order."""
    try:
        lines = (folder / PROGRESS).read_bytes().splitlines()
    except OSError:
        return []
    return [epoch for epoch in map(_parse, lines) if epoch is not None]


def current_cell(folder: Path) -> int | None:
    """Return the number (from 1, all kinds of cells counted) of the cell in execution, or the last one."""
    marks = _CELL.findall(_tail(folder / LOG))
    return int(marks[-1][1]) if marks else None


def _parse(line: bytes) -> Epoch | None:
    """Read one line; None if it is still being written, or the kill of its writer cut it."""
    try:
        fields = json.loads(line)
        return Epoch(
            time=float(fields["time"]),
            model=str(fields["model"]),
            epoch=int(fields["epoch"]),
            epochs=int(fields["epochs"]),
            loss=float(fields["loss"]),
            val_loss=float(fields.get("val_loss", "nan")),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            return stream.read()
    except OSError:
        return b""
