"""The networks: PtychoPINN and the supervised baseline on one backbone, and the untrained control.

A sample is a group of g² neighbouring patterns (g = gridsize). Both networks turn its amplitudes into object
patches, by the same backbone from the same first guess. PtychoPINN sends its patches through the diffraction
model and compares with the measurement; the baseline compares them with patches of a known object. The control
of both is the first guess alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho_lib.config import LossTerm, NetworkConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.networks.batches import UNMEASURED, probe_in_use
from ptycho_lib.networks.layers import (
    DiffractionModel,
    illumination,
    merge_patches,
    serializable,
    to_complex,
)
from ptycho_lib.networks.losses import LOSS_TERMS, mean_error
from ptycho_lib.networks.network import ReconstructionNetwork


@serializable
class PtychoPINN(ReconstructionNetwork):
    """Learns from the measurement alone: its patches must reproduce the patterns (self-supervised).

    The patches of each group, and at gridsize 1 those of neighbouring samples, are merged where they overlap
    before the diffraction model sees them (Hoidn et al., Sci. Rep. 13, 22789, 2023).

    Parameters
    ----------
    loss : dict, optional
        Weights of the terms of `LOSS_TERMS`.
    merged_patches : int
        Consecutive samples of a batch whose patches are merged.
    reach_px : int
        Largest distance within such a group, along either axis.
    """

    def __init__(
        self,
        patch_size: int,
        settings: dict[str, Any],
        precision: str = "float32",
        probe: np.ndarray | None = None,
        modes: int = 1,
        *,
        loss: dict[LossTerm, float] | None = None,
        merged_patches: int = 1,
        reach_px: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(patch_size, settings, precision, probe, modes, **kwargs)
        self.diffraction_model = DiffractionModel(
            patch_size,
            probe,
            modes,
            trainable_scale=self.options.trainable_scale,
            trainable_probe=self.options.trainable_probe,
            smoothing_px=self.options.probe_smoothing_px,
            mask_radius_px=self.options.probe_mask_radius_px,
            name="diffraction_model",
        )
        self.loss_weights: dict[LossTerm, float] = loss or {"poisson": 1.0}
        self.merged_patches, self.reach_px = merged_patches, reach_px

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the network, its loss included."""
        loss = {"loss": dict(self.loss_weights), "merged_patches": self.merged_patches, "reach_px": self.reach_px}
        return super().get_config() | loss

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the mean loss of the predicted amplitudes, weighted by ``x["weight"]``, (b, k).

        Detector pixels that were not measured do not count. One that is not a number does, and makes the loss so.
        """
        # Of a validation's merged samples only the first, held out, has a weight: the others are not diffracted.
        counted = slice(None) if training else slice(x["weight"].shape[1])
        predicted = self.predict_amplitude(y_pred, x["positions_px"], x.get("probe"), counted)
        measured, weight = self._grouped(x["diffraction"])[:, counted], self._grouped(x["weight"])[:, counted]
        error = sum(share * LOSS_TERMS[term](measured, predicted) for term, share in self.loss_weights.items())
        return mean_error(error, weight, tf.not_equal(measured, UNMEASURED))

    def predict_amplitude(
        self,
        patches: tf.Tensor,
        positions_px: tf.Tensor,
        probe: tf.Tensor | None = None,
        counted: slice = slice(None),
    ) -> tf.Tensor:
        """Return the amplitudes of merged patches.

        Parameters
        ----------
        patches : (b, k, N, N, 2) float32
        positions_px : (b, k, 2) float32
        probe : (b, m, N, N) complex64, optional
            Of each sample, where they are of several scans; the samples of a group are of one.
        counted : slice
            Which patches of a group are diffracted, after all were merged.

        Returns
        -------
        (b / merged_patches, merged_patches·k, N, N) float32
        """
        obj = self._grouped(to_complex(patches))
        if probe is not None:
            probe = probe[:: self.merged_patches, None]
        if obj.shape[1] > 1:
            positions = self._grouped(positions_px)
            offsets = positions - positions[:, :1]
            weights = illumination(self.diffraction_model.probe if probe is None else probe) + 1e-3
            obj = merge_patches(obj, offsets, weights, reach_px=self.reach_px)
        return self.diffraction_model(obj[:, counted], probe=probe)

    def _grouped(self, samples: tf.Tensor) -> tf.Tensor:
        """Put `merged_patches` consecutive samples into one group."""
        k = samples.shape[1] * self.merged_patches
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
        return mean_error(amplitude + phase, x["weight"])


@serializable
class UntrainedGuess(ReconstructionNetwork):
    """The control of every study: the first guess alone, without a backbone and without any training.

    It returns the first guess of each pattern or group; without iterations a flat object, |O| = 1.
    """

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Return the first guess of each sample, (b, k, N, N, 2)."""
        return self.first_guess(inputs["diffraction"], inputs.get("positions_px"))

    @property
    def needs_guess(self) -> bool:
        """Whether there is one: without iterations the control is a flat object."""
        return self.options.first_guess_iterations > 0

    def _central_patches(self) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
        quarter = self.patch_size // 4

        def compute(inputs: dict[str, tf.Tensor], probe: tf.Tensor) -> tf.Tensor:
            if "guess" not in inputs:
                return tf.ones_like(inputs["diffraction"], tf.complex64)[..., quarter:-quarter, quarter:-quarter]
            return to_complex(inputs["guess"][..., quarter:-quarter, quarter:-quarter, :])

        return compute

    def _build_backbone(self, channels: int, patches: int) -> Any:
        """There is nothing to train."""


def build_pinn(
    config: NetworkConfig,
    probe: np.ndarray,
    *,
    precision: str = "float32",
    loss: dict[LossTerm, float] | None = None,
    merged_patches: int = 1,
    reach_px: int = 0,
) -> PtychoPINN:
    """Build PtychoPINN for (N, N) patterns of this probe.

    Parameters
    ----------
    config : NetworkConfig
    probe : (N, N) or (m, N, N) complex array
        On the input scale, see `batches.normalised_probe`.
    precision : {"float32", "mixed_bfloat16"}
    loss, merged_patches, reach_px
        As for `PtychoPINN`.

    Returns
    -------
    PtychoPINN

    Raises
    ------
    ValueError
        If N is not a power of two from 32.
    """
    return PtychoPINN(
        _checked(probe),
        config.model_dump(),
        precision,
        probe,
        loss=loss,
        merged_patches=merged_patches,
        reach_px=reach_px,
        name="pinn",
    )


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
    probe = probe_in_use(dataset, config)
    return UntrainedGuess(_checked(probe), config.model_dump(), "float32", probe, name="untrained")


def load_model(path: str | Path) -> ReconstructionNetwork:
    """Load a network that was saved as `.keras`, in safe mode: nothing in the file is executed."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _checked(probe: np.ndarray) -> int:
    size = probe.shape[-1]
    if probe.shape[-2:] != (size, size) or probe.ndim not in (2, 3) or size < 32 or size & (size - 1):
        shapes = "(N, N) or (m, N, N) with N a power of two from 32"
        raise ValueError(f"probe must be {shapes}, not {probe.shape}")
    return size


def refined_probe(network: ReconstructionNetwork) -> NDArray[np.complex64] | None:
    """Return the refined probe of the training scan, on a scale of its own.

    Parameters
    ----------
    network : ReconstructionNetwork

    Returns
    -------
    (N, N) or (m, N, N) complex64 array, or None
        One mode, or its modes; None if the network took the probe as known.
    """
    if not isinstance(network, PtychoPINN) or not network.options.trainable_probe:
        return None
    modes = np.array(keras.ops.convert_to_numpy(network.diffraction_model.probe), np.complex64)
    return modes[0] if len(modes) == 1 else modes
