"""The devices that TensorFlow computes on: one, several GPUs, or the processor, by the same path."""

from __future__ import annotations

import tensorflow as tf


def configure_devices() -> None:
    """Let GPU memory grow with the need, so that runs can share a device."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            return  # the devices are in use already and keep their setting


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
