"""What all networks share: from the amplitudes of a sample, by way of the first guess, to its object patches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ptycho_lib.config import NetworkConfig
from ptycho_lib.networks.backbones import BACKBONES
from ptycho_lib.networks.first_guess import FirstGuess
from ptycho_lib.networks.layers import (
    CentreOn,
    fused,
    illumination,
    to_complex,
)
from ptycho_lib.settings_problems import with_names_of_today


class ReconstructionNetwork(keras.Model):
    """What all models share: amplitudes in, object patches out.

    Call it with ``{"diffraction": (b, k, N, N)}``, float32 amplitudes on the input scale
    (`batches.input_scale`), with ``"positions_px"``, (b, k, 2), so that the patterns of a group share one
    first guess, and optionally with that ``"guess"``, (b, k, N, N, 2), computed before. Samples of several
    scans come with the ``"probe"`` of their scan, (b, m, N, N) complex64, and with that guess.
    It returns (b, k, N, N, 2) float32: real and imaginary parts of the patches, in units of `object_scale`
    (the amplitude of the objects that a supervised network learned from; 1 for PtychoPINN).

    Parameters
    ----------
    patch_size : int
        N, pixels; a power of two from 32.
    settings : dict
        `NetworkConfig` as plain values.
    precision : str
        Keras dtype policy of the convolutions.
    probe : (N, N) or (m, N, N) complex array, optional
        Of the training scan, on the input scale (`batches.normalised_probe`). Left out when a saved model is
        loaded. Patterns of another scan come with their own probe, see `central_patches`.
    modes : int
        Number m of probe modes where `probe` is left out.
    """

    def __init__(
        self,
        patch_size: int,
        settings: dict[str, Any],
        precision: str = "float32",
        probe: np.ndarray | None = None,
        modes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size, self.precision = patch_size, precision
        self.settings: dict[str, Any] = with_names_of_today({"network": settings})["network"]
        self.options = NetworkConfig(**self.settings)
        iterations = self.options.first_guess_iterations
        self.first_guess = FirstGuess(
            patch_size,
            probe,
            modes,
            iterations=iterations,
            by_dose=self.options.first_guess_by_dose,
            name="first_guess",
        )
        self.object_scale = self.add_weight(
            shape=(), initializer="ones", trainable=False, name="object_scale", dtype="float32"
        )
        self.corrects_guess = iterations > 0 and self.options.backbone == "compact"
        patches = self.options.gridsize**2
        channels = patches * (2 if self.corrects_guess else 1) + 1
        self.backbone = self._build_backbone(channels, patches)

    def _build_backbone(self, channels: int, patches: int) -> Any:
        """Return the trainable part, from (b, N, N, channels) features to the patches of a sample."""
        build = BACKBONES[self.options.backbone]
        return build(self.patch_size, channels, patches, self.options.width, self.precision)

    def build(self, input_shape: Any = None) -> None:
        """All weights exist since the constructor."""
        self.built = True

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Reconstruct the object patches of each sample."""
        features, start = self.prepare(inputs)
        return self.split(self.backbone(features, training=training)) + start

    def prepare(self, inputs: dict[str, tf.Tensor], probe: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what the backbone sees and what its output is added to.

        Parameters
        ----------
        inputs : dict
            As for a call.
        probe : (m, N, N) complex64, optional
            Of these patterns; by default that of the training scan.

        Returns
        -------
        features : (b, N, N, c) float32
        start : (..., N, N, 2) float32
        """
        given = inputs["guess"] if "guess" in inputs else inputs["diffraction"]
        shape = (tf.shape(given)[0], self.patch_size, self.patch_size, 1)
        light = illumination(inputs.get("probe", self.first_guess.probe) if probe is None else probe)
        light = tf.broadcast_to(tf.reshape(light, (-1, *shape[1:])), shape)
        flat = tf.broadcast_to(tf.constant([1.0, 0.0]), (self.patch_size, self.patch_size, 2))
        if not self.corrects_guess:
            seen = tf.maximum(tf.transpose(inputs["diffraction"], (0, 2, 3, 1)), 0.0)
            features = tf.concat([seen, light], axis=-1)
            # A compact backbone starts at zero, and a dark object has no gradient to leave it.
            return features, flat if self.options.backbone == "compact" else tf.zeros_like(flat)
        if "guess" in inputs:
            guess = inputs["guess"]
        else:
            with_xla = getattr(self, "jit_compile", None) is True
            guess = self.first_guess(
                inputs["diffraction"], inputs.get("positions_px"), fixed_shape=with_xla, probe=probe
            )
        return fused(_build_on)(guess, light, self._centre())

    @property
    def needs_guess(self) -> bool:
        """Whether prediction starts from first guesses; else from the amplitudes."""
        return self.corrects_guess

    @cached_property
    def central_patches(self) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
        """The compiled function from inputs to the resolved part of the object patches.

        It takes `guess` (b, k, N, N, 2) float32 if the network needs it, else `diffraction` (b, k, N, N), and the
        modes (m, N, N) complex64 of the probe that made these patterns. It returns (b, k, N/2, N/2) complex64
        in the units of the object: the central half of what a call returns, without computing the border.
        The trained weights know no probe.
        """
        return tf.function(self._central_patches(), reduce_retracing=True)

    def _central_patches(self) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
        resolved, last = self.backbone, self.backbone.layers[-1]
        if isinstance(last, CentreOn):
            fine, _ = last.input
            resolved = keras.Model(resolved.input, fine)

        def compute(inputs: dict[str, tf.Tensor], probe: tf.Tensor) -> tf.Tensor:
            features, start = self.prepare(inputs, probe)
            found = self.split(resolved(features, training=False))
            return fused(_in_centre)(found, start, tf.convert_to_tensor(self.object_scale))

        return compute

    def split(self, channels: tf.Tensor) -> tf.Tensor:
        """Turn (b, M, M, 2k) channels into (b, k, M, M, 2)."""
        size, k = channels.shape[1], channels.shape[-1] // 2
        return tf.transpose(tf.reshape(channels, (-1, size, size, k, 2)), (0, 3, 1, 2, 4))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the network; probe and scales are weights."""
        return {
            "name": self.name,
            "patch_size": self.patch_size,
            "settings": self.settings,
            "precision": self.precision,
            "modes": self.first_guess.modes,
        }

    def _centre(self) -> tf.Tensor:
        """Return 1 in the resolved central half and 0 around it, (N, N, 1)."""
        quarter = self.patch_size // 4
        inside = np.zeros((self.patch_size, self.patch_size, 1), np.float32)
        inside[quarter:-quarter, quarter:-quarter] = 1
        return tf.constant(inside)


def _build_on(guess: tf.Tensor, illumination: tf.Tensor, centre: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the features of a guess, and the start that it gives: itself in the centre, 1 around it."""
    beyond_empty = guess - [1.0, 0.0]
    return tf.concat([_join(beyond_empty), illumination], axis=-1), [1.0, 0.0] + centre * beyond_empty


def _in_centre(found: tf.Tensor, start: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return the central half of the sum, complex64; what was found may be that half already."""
    quarter = start.shape[-2] // 4
    half = (..., slice(quarter, -quarter), slice(quarter, -quarter), slice(None))
    found = found[half] if found.shape[-2] == start.shape[-2] else found
    return to_complex(scale * (found + start[half]))


def _join(parts: tf.Tensor) -> tf.Tensor:
    """Turn (b, k, N, N, 2) into (b, N, N, 2k) channels."""
    k, size = parts.shape[1:3]
    return tf.reshape(tf.transpose(parts, (0, 2, 3, 1, 4)), (-1, size, size, 2 * k))
