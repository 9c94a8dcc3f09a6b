"""The devices that TensorFlow computes on: one, several GPUs, or the processor, by the same path."""

from __future__ import annotations

import ctypes

import tensorflow as tf

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Options of glibc's mallopt(3)."""


def configure_devices() -> None:
    """Let GPU memory grow as needed, so that runs can share a device; keep freed memory for reuse."""
    keep_freed_memory()
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            return  # the devices are in use already and keep their setting


def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks instead of returning them; return whether it does.

    Every gradient step frees and allocates the same tensors. glibc maps and unmaps each of them, and the
    kernel clears its pages anew: up to a third of a training's processor time on a CPU. Other C libraries
    have no such option and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20}
    taken = [mallopt(option, value) for option, value in settings.items()]
    return all(taken)


def distribution() -> tf.distribute.Strategy:
    """Return how a batch is spread: over all GPUs where there are several, else over the one device."""
    several = len(tf.config.list_physical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def device_name() -> str:
    """Return the device in use and the number of threads, for the record of a run."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if gpus:
        return " + ".join(str(details.get("device_name", "GPU")) for details in gpus)
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return f"CPU, {threads or 'all'} threads"
