"""The two networks and their training. The only subpackage that imports TensorFlow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Send what native code writes to standard error meanwhile nowhere.

    While it loads, TensorFlow tells of GPUs that it does not find, before any of its settings can silence
    it, and every executed notebook would show that. What really fails raises an exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# oneDNN's convolutions, a fifth less processor time in training, are TensorFlow's default on the newest
# processors alone. Once TensorFlow is loaded it is too late, and `provenance.machine` must not say otherwise.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
with _native_messages_hidden():
    import tensorflow  # noqa: F401
