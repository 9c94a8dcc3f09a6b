"""Writing and reading small files so that a kill, a full disk or a foreign folder does no harm."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ptycho_lib.errors import InputError, Problem


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content takes the name `path` at the end, so that readers see the old file or the new one.

    The new content reaches the disk before it takes the name; after an exception the old file stays. The folder is
    created. A symbolic link at `path` is replaced, not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text or bytes to `path` by `replacing` it."""
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def note_progress(path: Path, model: str, epoch: int, epochs: int, **losses: float) -> None:
    """Append one JSON line on how far a training or an iteration has come.

    Parameters
    ----------
    path : Path
        Created with its folder if need be.
    model : str
    epoch, epochs : int
        Done, and planned.
    **losses : float
        Such as `loss` and `val_loss`.
    """
    line = {"time": time.time(), "model": model, "epoch": epoch, "epochs": epochs} | losses
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes (hex)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_inside(path: Path, root: Path) -> Path:
    """Return `path` if it lies in `root` once every symbolic link is followed.

    Raises
    ------
    InputError
        If a link, or `..`, leads out: a study folder may come from somebody else, and nothing
        outside it may be written or removed on its behalf.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            Problem(
                str(path),
                "",
                f"a path that leads to {path.resolve()}",
                f"a folder inside {root.resolve()}",
                "Remove the symbolic link; to keep results elsewhere, give that folder as OUT_DIR.",
            )
        )
    return path


def require_writable(folder: Path) -> Path:
    """Create `folder` if need be and return it; prove that files can be written there.

    Raises
    ------
    InputError
        With the operating system's reason.
    """
    probe = folder / f".write-test-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        fix = "Choose a folder that you may write to, on a disk that is not full."
        found = error.strerror or str(error)
        raise InputError(Problem(str(folder), "", found, "a writable folder", fix)) from None
    return folder
