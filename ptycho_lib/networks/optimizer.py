"""Adam in one operation a weight: a small network's step is otherwise mostly the starting of operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ptycho_lib.networks.layers import serializable


@serializable
class OneKernelAdam(keras.optimizers.Adam):
    """Keras' Adam (Kingma & Ba, arXiv:1412.6980) by TensorFlow's own kernel, gradients clipped by their global norm.

    The kernel makes the same update as the twenty operations a weight that Keras writes it in.

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
    max_norm : float
        Gradients whose global norm is larger are scaled to it.
    **kwargs
        Of `keras.optimizers.Adam`, without `amsgrad` and `weight_decay`.
    """

    def __init__(self, learning_rate: Any = 0.001, max_norm: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.max_norm = max_norm

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Clip the gradients and take one step."""
        clipped, _ = tf.clip_by_global_norm(list(grads), self.max_norm)
        super().apply(clipped, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one weight and its two moments."""
        if self._distribution_strategy.num_replicas_in_sync > 1:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the optimizer."""
        return {**super().get_config(), "max_norm": self.max_norm}
