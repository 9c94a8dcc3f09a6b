"""An IPython profile of its own for each execution, so that a user's own profile has no say in results.

Start-up files in `~/.ipython` would run in every kernel, and kernels that share one history database
block each other on network file systems. Besides, TensorFlow's C++ messages, which are no part of a
report, go to the log instead of into the cells.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

CONFIG = """\
c = get_config()
c.HistoryManager.enabled = False
c.IPKernelApp.capture_fd_output = False
"""


def create_profile() -> Path:
    """Create a directory for the variable IPYTHONDIR and return it."""
    directory = Path(tempfile.mkdtemp(prefix="ptycho-ipython-"))
    profile = directory / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
    return directory


def remove_profile(directory: Path) -> None:
    """Remove what `create_profile` made, and what the kernel added."""
    shutil.rmtree(directory, ignore_errors=True)
