"""What produced a result: code, library versions, machine."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ptycho_lib
from ptycho_lib.resource_usage import available_cores

LIBRARIES = (
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-image",
    "pandas",
    "h5py",
    "papermill",
    "ipykernel",
)
ENGINE = ("ptychi", "torch")
"""What iterative reconstructions depend on besides."""

DETERMINISM = (
    "The same identity, library versions, processor type, usable cores and threads give the same "
    "comparison_metrics.csv, byte for byte. Other threads or cores, another processor or a GPU take sums "
    "in another order, and a training amplifies the difference: with one thread instead of two, metrics of a "
    "short study moved by up to 0.4 % (PtychoPINN) and 5 % (baseline). See the page 'Execution'."
)
THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this library and of those that shape its numbers."""
    found = {"python": platform.python_version(), "ptycho_lib": ptycho_lib.__version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    for name in ENGINE:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_commit() -> str:
    """Return the checkout's commit, with `+changes` if files differ from it; empty outside git."""
    folder = Path(ptycho_lib.__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return ""
    return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--", ".") else commit


def _git(folder: Path, *arguments: str) -> str:
    try:
        finished = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""


def machine() -> dict[str, str]:
    """Return what can move the last digits of a result: host, processor, threads, oneDNN, visible GPUs."""
    named = (*THREAD_VARIABLES, "CUDA_VISIBLE_DEVICES", "TF_ENABLE_ONEDNN_OPTS")
    variables = {name: os.environ.get(name, "") for name in named}
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(available_cores()),
        "interpreter": sys.executable,
    } | {name: value for name, value in variables.items() if value}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
