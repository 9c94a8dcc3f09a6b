"""What an execution runs in: its share of the machine, its environment, a profile of IPython."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ptycho_lib.study.folder.provenance import THREAD_VARIABLES
from ptycho_lib.study.folder.templates import TEMPLATE_VARIABLE

KERNEL_CONFIG = """\
c = get_config()
c.HistoryManager.enabled = False
c.IPKernelApp.capture_fd_output = False
"""
"""Start-up files in `~/.ipython` would run in every kernel, and kernels that share one history database block
each other on network file systems. TensorFlow's C++ messages go to the log instead of into the cells."""


@dataclass(frozen=True)
class Resources:
    """What one job may use."""

    threads: int
    """Size of the thread pools. It decides in which order sums are taken, so it is part of a result."""
    gpu: str = ""
    """A device for CUDA_VISIBLE_DEVICES; empty leaves the variable as it is."""


def environment(resources: Resources, template: Path) -> dict[str, str]:
    """Return what an execution adds to the environment: this interpreter's kernel, its share of threads.

    Parameters
    ----------
    resources : Resources
    template : Path
        The notebook that is executed.
    """
    threads = str(resources.threads)
    kernels = str(Path(sys.prefix) / "share" / "jupyter")
    fixed = {
        "JUPYTER_PATH": os.pathsep.join(filter(None, (kernels, os.environ.get("JUPYTER_PATH")))),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **dict.fromkeys(THREAD_VARIABLES, threads),
        TEMPLATE_VARIABLE: str(template),
    }
    return fixed | ({"CUDA_VISIBLE_DEVICES": resources.gpu} if resources.gpu else {})


def create_profile() -> Path:
    """Create a directory for the variable IPYTHONDIR and return it."""
    directory = Path(tempfile.mkdtemp(prefix="ptycho-ipython-"))
    profile = directory / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(KERNEL_CONFIG, encoding="utf-8")
    return directory


def remove_profile(directory: Path) -> None:
    """Remove what `create_profile` made, and what the kernel added."""
    shutil.rmtree(directory, ignore_errors=True)
