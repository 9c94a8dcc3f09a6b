"""The two networks and their training. The only subpackage that imports TensorFlow."""

import os
import sys

# oneDNN's convolutions, a fifth less processor time in training, are TensorFlow's default on the newest
# processors alone. Once TensorFlow is loaded it is too late, and `provenance.machine` must not say otherwise.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def load_tensorflow() -> None:
    """Import TensorFlow without what its native code writes to standard error.

    While it loads, TensorFlow reports GPUs that it does not find, before any of its settings can silence it, and
    every executed notebook would show that. What really fails raises an exception. Notebooks call this first;
    without the call TensorFlow is imported all the same, with its messages.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401, PLC0415
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
