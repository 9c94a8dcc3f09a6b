"""What the two networks minimise: terms of PtychoPINN's loss, and the weighted mean of a batch."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ptycho_lib.config import LossTerm, TrainingConfig

FLOOR = 1e-6
"""Least intensity, on the input scale (mean 1/4 per pixel), that a logarithm sees."""


def poisson_deviance(measured: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Return λ − n·log λ less its minimum, with n = measured² and λ = predicted².

    Poisson negative log-likelihood (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004, 2012) on the input
    scale: photon counts multiply it by a constant, which changes no minimum.
    """
    counts, rate = tf.square(measured) + FLOOR, tf.square(predicted) + FLOOR
    return rate - counts + counts * tf.math.log(counts / rate)


def amplitude_error(measured: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Return abs(measured − predicted), for amplitudes whose counts are unknown."""
    return tf.abs(measured - predicted)


LOSS_TERMS: dict[LossTerm, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "poisson": poisson_deviance,
    "amplitude_mae": amplitude_error,
}
"""Terms of PtychoPINN's loss by their name in the configuration, error of each detector pixel."""


def loss_weights(training: TrainingConfig, *, counts_known: bool) -> dict[LossTerm, float]:
    """Return the terms of PtychoPINN's loss: as configured, else by what is known of the counts."""
    automatic: LossTerm = "poisson" if counts_known else "amplitude_mae"
    return dict(training.pinn_loss) or {automatic: 1.0}


def mean_error(error: tf.Tensor, weight: tf.Tensor, seen: tf.Tensor | None = None) -> tf.Tensor:
    """Return this device's share of the weighted mean error of a batch; Keras adds up the shares.

    Parameters
    ----------
    error : (b, k, M, M) float32
    weight : (b, k) float32
    seen : (b, k, M, M) bool, optional
        Pixels that count; all by default.
    """
    total = tf.reduce_sum(weight)
    device = tf.distribute.get_replica_context()
    if device is not None and device.num_replicas_in_sync > 1:
        total = device.all_reduce(tf.distribute.ReduceOp.SUM, total)
    counted = tf.ones_like(error) if seen is None else tf.cast(seen, error.dtype)
    pixels = tf.reduce_sum(counted, axis=(-2, -1))
    mean = tf.math.divide_no_nan(tf.reduce_sum(counted * error, axis=(-2, -1)), pixels)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * mean), total)
