"""The two networks: PtychoPINN and the supervised baseline, on one backbone.

A sample is a group of g² neighbouring patterns (g = gridsize). Both networks turn its amplitudes into object
patches; they differ in the loss alone. PtychoPINN sends its patches through the diffraction model and
compares with the measurement; the baseline compares them with patches of a known object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho_lib.config import LossTerm, NetworkConfig, TrainingConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.networks.backbones import BACKBONES
from ptycho_lib.networks.batches import normalised_probe
from ptycho_lib.networks.first_guess import FirstGuess
from ptycho_lib.networks.layers import (
    CentreOn,
    DiffractionModel,
    fused,
    merge_patches,
    serializable,
    to_complex,
)

FLOOR = 1e-6
"""Least intensity, on the input scale (mean 1/4 per pixel), that a logarithm sees."""


class ReconstructionNetwork(keras.Model):
    """What both models share: amplitudes in, object patches out.

    Call it with ``{"diffraction": (b, k, N, N)}``, float32 amplitudes on the input scale
    (`samples.input_scale`), with ``"positions_px"``, (b, k, 2), so that the patterns of a group share one
    first guess, and optionally with that ``"guess"``, (b, k, N, N, 2), computed before.
    It returns (b, k, N, N, 2) float32: real and imaginary parts of the patches, in units of `object_scale`
    (the amplitude of the objects a supervised network learned from; 1 for PtychoPINN).

    Parameters
    ----------
    patch_size : int
        N, pixels; a power of two from 32.
    settings : dict
        `NetworkConfig` as plain values.
    precision : str
        Keras dtype policy of the convolutions.
    probe : (N, N) complex array, optional
        On the input scale, see `samples.normalised_probe`. Left out when a saved model is loaded.
    """

    def __init__(
        self,
        patch_size: int,
        settings: dict[str, Any],
        precision: str = "float32",
        probe: np.ndarray | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size, self.settings, self.precision = patch_size, dict(settings), precision
        self.options = NetworkConfig(**settings)
        self.first_guess = FirstGuess(patch_size, probe, iterations=self.options.first_guess, name="first_guess")
        self.object_scale = self.add_weight(
            shape=(), initializer="ones", trainable=False, name="object_scale", dtype="float32"
        )
        self.corrects_guess = self.options.first_guess > 0 and self.options.backbone == "compact"
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

    def prepare(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what the backbone sees, (b, N, N, c), and what its output is added to, (..., N, N, 2)."""
        amplitude = inputs["diffraction"]
        shape = (tf.shape(amplitude)[0], self.patch_size, self.patch_size, 1)
        illumination = tf.broadcast_to(self.first_guess.illumination()[None, ..., None], shape)
        flat = tf.broadcast_to(tf.constant([1.0, 0.0]), (self.patch_size, self.patch_size, 2))
        if not self.corrects_guess:
            features = tf.concat([tf.transpose(amplitude, (0, 2, 3, 1)), illumination], axis=-1)
            # A compact backbone starts at zero, and a dark object has no gradient to leave it.
            return features, flat if self.options.backbone == "compact" else tf.zeros_like(flat)
        if "guess" in inputs:
            guess = inputs["guess"]
        else:
            with_xla = getattr(self, "jit_compile", None) is True
            guess = self.first_guess(amplitude, inputs.get("positions_px"), fixed_shape=with_xla)
        return fused(_build_on)(guess, illumination, self._centre())

    @cached_property
    def central_patches(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The compiled function from amplitudes and positions to the resolved part of the object patches.

        It takes (b, k, N, N) float32 on the input scale with (b, k, 2) float32 positions (row, column), and
        returns (b, k, N/2, N/2) complex64 in the units of the object: the central half of what `call`
        returns, without computing the border.
        """
        resolved, last = self.backbone, self.backbone.layers[-1]
        if isinstance(last, CentreOn):
            fine, _ = last.input
            resolved = keras.Model(resolved.input, fine)

        def compute(amplitude: tf.Tensor, positions_px: tf.Tensor) -> tf.Tensor:
            features, start = self.prepare({"diffraction": amplitude, "positions_px": positions_px})
            found = self.split(resolved(features, training=False))
            return fused(_in_centre)(found, start, tf.convert_to_tensor(self.object_scale))

        return tf.function(compute, reduce_retracing=True)

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


@serializable
class PtychoPINN(ReconstructionNetwork):
    """Learns from the measurement alone: its patches must reproduce the patterns (self-supervised).

    The patches of each group, and at gridsize 1 those of `overlap` neighbouring samples, are merged where
    they overlap before the diffraction model sees them (Hoidn et al., Sci. Rep. 13, 22789, 2023).
    """

    def __init__(
        self,
        patch_size: int,
        settings: dict[str, Any],
        precision: str = "float32",
        probe: np.ndarray | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(patch_size, settings, precision, probe, **kwargs)
        self.diffraction_model = DiffractionModel(
            patch_size,
            probe,
            trainable_scale=self.options.trainable_scale,
            trainable_probe=self.options.trainable_probe,
            smoothing_px=self.options.probe_smoothing_px,
            mask_radius_px=self.options.probe_mask_radius_px,
            name="diffraction_model",
        )
        self.loss_weights: dict[LossTerm, float] = {"poisson": 1.0}
        self.overlap, self.reach_px = 1, 0

    def prepare_loss(self, training: TrainingConfig, *, counts_known: bool, overlap: int, reach_px: int) -> None:
        """Choose the loss before `compile`: `overlap` samples are merged, at most `reach_px` apart."""
        automatic: LossTerm = "poisson" if counts_known else "amplitude_mae"
        self.loss_weights = training.pinn_loss or {automatic: 1.0}
        self.overlap, self.reach_px = overlap, reach_px

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the mean loss of the predicted amplitudes, weighted by ``x["weight"]``, (b, k)."""
        predicted = self.predict_amplitude(y_pred, x["positions_px"])
        measured = self._grouped(x["diffraction"])
        weight = self._grouped(x["weight"])
        error = sum(share * LOSS_TERMS[term](measured, predicted) for term, share in self.loss_weights.items())
        return _mean(error, weight)

    def predict_amplitude(self, patches: tf.Tensor, positions_px: tf.Tensor) -> tf.Tensor:
        """Return the amplitudes of merged patches.

        Parameters
        ----------
        patches : (b, k, N, N, 2) float32
        positions_px : (b, k, 2) float32

        Returns
        -------
        (b / overlap, overlap·k, N, N) float32
        """
        obj = self._grouped(to_complex(patches))
        if obj.shape[1] > 1:
            positions = self._grouped(positions_px)
            offsets = positions - positions[:, :1]
            weights = self.diffraction_model.illumination() + 1e-3
            obj = merge_patches(obj, offsets, weights, reach_px=self.reach_px)
        return self.diffraction_model(obj)

    def _grouped(self, samples: tf.Tensor) -> tf.Tensor:
        """Put `overlap` consecutive samples into one group."""
        k = samples.shape[1] * self.overlap
        return tf.reshape(samples, (-1, k, *samples.shape[2:]))


@serializable
class SupervisedBaseline(ReconstructionNetwork):
    """Learns from a known object: PtychoNN's paradigm (Cherukara et al., APL 117, 044103, 2020).

    Mean absolute error of amplitude and phase (rad) in the resolved central half; no diffraction model.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the mean loss against the object patches ``y``, (b, k, N/2, N/2, 2), weighted likewise."""
        quarter = self.patch_size // 4
        predicted = to_complex(y_pred[:, :, quarter:-quarter, quarter:-quarter])
        truth = to_complex(y)
        amplitude = tf.abs(tf.abs(predicted) - tf.abs(truth))
        turned = predicted * tf.math.conj(truth)
        phase = tf.abs(tf.atan2(tf.math.imag(turned), tf.math.real(turned)))
        return _mean(amplitude + phase, x["weight"])


@serializable
class UntrainedGuess(ReconstructionNetwork):
    """The control of every study: the first guess alone, without a backbone and without any training.

    It returns the first guess of each pattern or group; with `first_guess` 0 a flat object, |O| = 1.
    """

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Return the first guess of each sample, (b, k, N, N, 2)."""
        return self.first_guess(inputs["diffraction"], inputs.get("positions_px"))

    @cached_property
    def central_patches(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The compiled function from amplitudes and positions to the central half of the first guess."""

        def compute(amplitude: tf.Tensor, positions_px: tf.Tensor) -> tf.Tensor:
            guess = self({"diffraction": amplitude, "positions_px": positions_px})
            quarter = self.patch_size // 4
            return to_complex(guess[..., quarter:-quarter, quarter:-quarter, :])

        return tf.function(compute, reduce_retracing=True)

    def _build_backbone(self, channels: int, patches: int) -> Any:
        """There is nothing to train."""


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


def build_pinn(config: NetworkConfig, probe: np.ndarray, *, precision: str = "float32") -> PtychoPINN:
    """Build PtychoPINN for (N, N) patterns of this probe.

    Parameters
    ----------
    config : NetworkConfig
    probe : (N, N) complex array
        On the input scale, see `samples.normalised_probe`.
    precision : {"float32", "mixed_bfloat16"}

    Raises
    ------
    ValueError
        If N is not a power of two from 32.
    """
    return PtychoPINN(_checked(probe), config.model_dump(), precision, probe, name="pinn")


def build_baseline(config: NetworkConfig, probe: np.ndarray, *, precision: str = "float32") -> SupervisedBaseline:
    """Build the supervised baseline; it uses the probe for its first guess alone. See `build_pinn`."""
    return SupervisedBaseline(_checked(probe), config.model_dump(), precision, probe, name="baseline")


def build_untrained(config: NetworkConfig, dataset: PtychoDataset) -> UntrainedGuess:
    """Build the control that needs no training: the first guess alone.

    Parameters
    ----------
    config : NetworkConfig
        Of the study: the control makes the same first guess as its networks.
    dataset : PtychoDataset
        The patterns to reconstruct; gives the probe.

    Returns
    -------
    UntrainedGuess
        `predict_patches` takes it as any other network.

    Raises
    ------
    ValueError
        If N is not a power of two from 32.
    """
    probe = normalised_probe(dataset.probe, config.probe_mask_radius_px)
    return UntrainedGuess(_checked(probe), config.model_dump(), "float32", probe, name="untrained")


def load_model(path: str | Path) -> ReconstructionNetwork:
    """Load a network that was saved as `.keras`, in safe mode: nothing in the file is executed."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _mean(error: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return this device's share of the weighted mean error of a batch; Keras adds up the shares.

    Parameters
    ----------
    error : (b, k, M, M) float32
    weight : (b, k) float32
    """
    total = tf.reduce_sum(weight)
    device = tf.distribute.get_replica_context()
    if device is not None and device.num_replicas_in_sync > 1:
        total = device.all_reduce(tf.distribute.ReduceOp.SUM, total)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * tf.reduce_mean(error, axis=(-2, -1))), total)


def _checked(probe: np.ndarray) -> int:
    size = probe.shape[-1]
    if probe.shape != (size, size) or size < 32 or size & (size - 1):
        raise ValueError(f"probe must be (N, N) with N a power of two from 32, not {probe.shape}")
    return size


def refined_probe(network: ReconstructionNetwork) -> NDArray[np.complex64] | None:
    """Return the refined probe, (N, N) on a scale of its own, or None if the network took it as known."""
    if not isinstance(network, PtychoPINN) or not network.options.trainable_probe:
        return None
    return np.array(keras.ops.convert_to_numpy(network.diffraction_model.probe), np.complex64)
