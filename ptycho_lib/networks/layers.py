"""The diffraction model as Keras layers: illumination, propagation, and patches merged where they overlap.

Complex arithmetic is complex64 whatever the precision of the convolutions. Each layer is tested against its
numpy counterpart in `ptycho_lib.physics.diffraction`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ptycho_lib.physics.diffraction import as_modes
from ptycho_lib.physics.probes import inside

TINY = 1e-20
"""Keeps the gradient of a square root finite where nothing arrives; far below the light of any pixel."""

serializable = keras.saving.register_keras_serializable(package="ptycho_lib")


def to_complex(channels: tf.Tensor) -> tf.Tensor:
    """Turn (..., 2) real and imaginary parts into (...) complex64."""
    channels = tf.cast(channels, tf.float32)
    return tf.complex(channels[..., 0], channels[..., 1])


def to_channels(field: tf.Tensor) -> tf.Tensor:
    """Turn (...) complex64 into (..., 2) real and imaginary parts."""
    return tf.stack([tf.math.real(field), tf.math.imag(field)], axis=-1)


@cache
def fused(step: Callable[..., Any]) -> Callable[..., Any]:
    """Let XLA make one loop of a step's arithmetic on a processor, which is otherwise bound by memory.

    Not on a GPU: XLA there needs compilers that not every installation has.
    """
    return step if tf.config.list_physical_devices("GPU") else tf.function(step, jit_compile=True)


def illumination(probe: tf.Tensor) -> tf.Tensor:
    """Return Σ_m |P_m|² of (..., m, N, N) modes over its maximum, (..., N, N) float32; no gradient flows through it."""
    intensity = tf.stop_gradient(tf.reduce_sum(tf.square(tf.abs(probe)), axis=-3))
    return intensity / tf.reduce_max(intensity, axis=(-2, -1), keepdims=True)


class ProbeLayer(keras.layers.Layer):
    """A layer that holds the modes of a probe as a weight, so that they are saved with the model.

    Parameters
    ----------
    patch_size : int
        Edge N of patterns and patches, pixels.
    probe : (N, N) or (m, N, N) complex array, optional
        Left out when a saved model is loaded: the weight then comes from the file.
    modes : int
        Number m where `probe` is left out.
    """

    def __init__(self, patch_size: int, probe: np.ndarray | None = None, modes: int = 1, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        fields = np.zeros((modes, patch_size, patch_size), np.complex64) if probe is None else as_modes(probe)
        self.patch_size, self.modes = patch_size, len(fields)
        parts = np.stack([fields.real, fields.imag], axis=-1).astype(np.float32)
        self.probe_parts = self.add_weight(
            shape=parts.shape, initializer=lambda *_, **__: parts, trainable=False, name="probe"
        )

    @property
    def probe(self) -> tf.Tensor:
        """The modes of the probe, (m, N, N) complex64."""
        return to_complex(tf.convert_to_tensor(self.probe_parts))

    def load_own_variables(self, store: Any) -> None:
        """Take the weights of a saved layer; files from before there were modes hold one, (N, N, 2)."""
        for number, variable in enumerate(self.variables):
            variable.assign(np.reshape(store[str(number)], variable.shape))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer; the probe itself is a weight."""
        return {"name": self.name, "patch_size": self.patch_size, "modes": self.modes}


@serializable
class DiffractionModel(ProbeLayer):
    """Predict the measured amplitude of object patches, Â = sqrt(Σ_m |F(O·P_m)|²)·exp(α).

    Modes are mutually incoherent: their intensities add (Thibault & Menzel, Nature 494, 68, 2013). The
    log-scale α starts at zero: with probe and amplitudes on the input scale of `training.input_scale`,
    an object of unit amplitude then has the measured mean intensity.

    Parameters
    ----------
    trainable_scale : bool
        Let the gradient move α.
    trainable_probe : bool
        Let the gradient add a change to the probe, which starts at zero.
    smoothing_px : float
        Standard deviation of the Gaussian that smooths the change.
    mask_radius_px : float, optional
        Every mode, changed or not, is zero beyond this distance from pixel N/2.
    """

    def __init__(
        self,
        *args: Any,
        trainable_scale: bool = True,
        trainable_probe: bool = False,
        smoothing_px: float = 0.0,
        mask_radius_px: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.options: dict[str, Any] = {
            "trainable_scale": trainable_scale,
            "trainable_probe": trainable_probe,
            "smoothing_px": smoothing_px,
            "mask_radius_px": mask_radius_px,
        }
        self.log_scale = self.add_weight(shape=(), initializer="zeros", trainable=trainable_scale, name="log_scale")
        if trainable_probe:
            shape = (self.modes, self.patch_size, self.patch_size, 2)
            self.probe_change = self.add_weight(shape=shape, initializer="zeros", name="probe_change")

    @property
    def probe(self) -> tf.Tensor:
        """The modes in force, (m, N, N) complex64: as given plus their smoothed change, within the mask."""
        probe, radius_px = super().probe, self.options["mask_radius_px"]
        if self.options["trainable_probe"]:
            change = to_complex(tf.convert_to_tensor(self.probe_change))
            smooth = tf.constant(_gaussian(self.patch_size, self.options["smoothing_px"]), tf.complex64)
            probe += tf.matmul(tf.matmul(smooth, change), smooth, transpose_b=True)
        if radius_px is not None:
            probe *= tf.constant(inside(self.patch_size, radius_px), tf.complex64)
        return probe

    def call(self, patches: tf.Tensor, probe: tf.Tensor | None = None) -> tf.Tensor:
        """Return the amplitudes of object patches.

        Parameters
        ----------
        patches : (..., N, N) complex64
        probe : (..., m, N, N) complex64, optional
            Of each patch, instead of the layer's own.

        Returns
        -------
        (..., N, N) float32
        """
        probe = self.probe if probe is None else probe
        wave = tf.signal.fft2d(patches[..., None, :, :] * probe)
        if probe.shape[-3] == 1:
            amplitude = tf.abs(wave)[..., 0, :, :]
        else:
            power = tf.square(tf.math.real(wave)) + tf.square(tf.math.imag(wave))
            amplitude = tf.sqrt(tf.reduce_sum(power, axis=-3) + TINY)
        # DC goes to pixel N/2 after the modulus is taken: half as much to move.
        amplitude = tf.signal.fftshift(amplitude, axes=(-2, -1)) / self.patch_size
        return amplitude * tf.exp(tf.convert_to_tensor(self.log_scale))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), **self.options}


def _gaussian(size: int, sigma_px: float) -> np.ndarray:
    """Return the (N, N) matrix that smooths a line of N pixels; each row sums up to one."""
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    if sigma_px == 0:
        return np.eye(size)
    kernel = np.exp(-0.5 * np.square(distance / sigma_px))
    return kernel / kernel.sum(axis=1, keepdims=True)


def merge_patches(patches: tf.Tensor, offsets_px: tf.Tensor, weights: tf.Tensor, *, reach_px: int) -> tf.Tensor:
    """Make overlapping patches agree: merge them in a common frame and cut them out again.

    The patches of a group are translated to their places by bilinear interpolation (two products with
    banded matrices, exactly differentiable), summed with their weights, divided by the summed weights, and
    re-extracted at each place (Hoidn et al., Sci. Rep. 13, 22789, 2023).

    Parameters
    ----------
    patches : (b, k, N, N) complex64
        k patches in each of b groups.
    offsets_px : (b, k, 2) float32
        Positions (row, column) of the patch centres relative to the centre of the frame.
    weights : (N, N) float32
        Confidence in each pixel of a patch; positive.
    reach_px : int
        Largest absolute offset; sets the size of the frame, N + 2·reach + 2.

    Returns
    -------
    (b, k, N, N) complex64
    """
    return merging(offsets_px, weights, reach_px=reach_px)(patches)


def merging(
    offsets_px: tf.Tensor, weights: tf.Tensor, *, reach_px: int | tf.Tensor
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return `merge_patches` for given places, to be used again and again.

    Parameters
    ----------
    offsets_px, reach_px
        As for `merge_patches`.
    weights : (N, N) or (b, k, N, N) float32
        Zero for a patch that is to be left out.
    """
    size, group = weights.shape[-1], offsets_px.shape[1]
    frame = size + 2 * reach_px + 2
    rows = tf.reshape(_placement(offsets_px[..., 0], size, frame), (-1, group * size, frame))
    columns = _placement(offsets_px[..., 1], size, frame)

    def into_frame(images: tf.Tensor) -> tf.Tensor:
        wide = tf.matmul(images, columns)
        # One product over all rows of all patches also adds the patches up.
        return tf.matmul(rows, tf.reshape(wide, (-1, group * size, frame)), transpose_a=True)

    def out_of_frame(image: tf.Tensor) -> tf.Tensor:
        tall = tf.reshape(tf.matmul(rows, image), (-1, group, size, frame))
        return tf.matmul(tall, columns, transpose_b=True)

    total = into_frame(weights * tf.ones_like(offsets_px[..., :1, None]))

    def merge(patches: tf.Tensor) -> tf.Tensor:
        parts = [tf.math.real(patches), tf.math.imag(patches)]
        return tf.complex(*(out_of_frame(tf.math.divide_no_nan(into_frame(weights * part), total)) for part in parts))

    return merge


def _placement(offsets_px: tf.Tensor, size: int, frame: int | tf.Tensor) -> tf.Tensor:
    """Return (b, k, N, frame) matrices that sample a line of the frame at a patch's pixels."""
    patch = tf.range(size, dtype=tf.float32)[:, None] - size // 2
    place = tf.cast(tf.range(frame) - frame // 2, tf.float32)
    return tf.maximum(0.0, 1.0 - tf.abs(patch + offsets_px[..., None, None] - place))


@serializable
class SpaceToDepth(keras.layers.Layer):
    """Fold 2x2 pixels into channels: (b, H, W, c) to (b, H/2, W/2, 4c)."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Fold."""
        # The same as tf.nn.space_to_depth, which computes on one core.
        _, height, width, channels = images.shape
        pairs = tf.reshape(images, (-1, height // 2, 2, width // 2, 2 * channels))
        return tf.reshape(tf.transpose(pairs, (0, 1, 3, 2, 4)), (-1, height // 2, width // 2, 4 * channels))


@serializable
class DepthToSpace(keras.layers.Layer):
    """Unfold channels into 2x2 pixels: the inverse of `SpaceToDepth`."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Unfold."""
        return tf.nn.depth_to_space(images, 2)


@serializable
class CentreOn(keras.layers.Layer):
    """Put the resolved central half of a patch into its coarse continuation.

    Takes (b, N/2, N/2, c) and (b, N, N, c); returns (b, N, N, c).
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Replace the centre."""
        fine, coarse = inputs
        quarter = fine.shape[1] // 2
        centre = coarse[:, quarter:-quarter, quarter:-quarter]
        border = [[0, 0], [quarter, quarter], [quarter, quarter], [0, 0]]
        return coarse + tf.pad(fine - centre, border)


@serializable
class PolarObject(keras.layers.Layer):
    """Combine amplitudes and phases (rad) of k patches into real and imaginary parts.

    Takes twice (b, N, N, k); returns (b, N, N, 2k).
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Combine; the parts of a patch are neighbours."""
        amplitude, phase = inputs
        parts = tf.stack([amplitude * tf.cos(phase), amplitude * tf.sin(phase)], axis=-1)
        return tf.reshape(parts, (-1, *parts.shape[1:3], parts.shape[3] * 2))
