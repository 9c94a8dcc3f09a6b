"""Backbones: from the features of a sample to its object patches. Both models use the same one.

A backbone maps (b, N, N, c) float32 features to (b, N, N, 2k) float32: real and imaginary parts of the k
patches of a sample, resolved in the central N/2 x N/2 and continued coarsely to the border, where only the
probe's tails reach. `backbone.corrects_guess` says whether its output is added to the first guess.
"""

from __future__ import annotations

from math import log2
from typing import Any

import keras
import numpy as np
from keras import layers

from ptycho_lib.networks.layers import CentreOn, DepthToSpace, PolarObject, SpaceToDepth


def compact(patch_size: int, channels: int, patches: int, width: int, precision: str) -> keras.Model:
    """Build the default backbone: a U-Net on 2x2-folded pixels whose finest level is the central half.

    The first layer folds 2x2 pixels into channels, so that no convolution runs at full resolution; levels
    halve down to 8x8 pixels; a head at N/4 continues the object to the border. The last layers start at
    zero: an untrained network returns its first guess.

    Parameters
    ----------
    patch_size : int
        N, a power of two from 32.
    channels : int
        Number c of feature channels.
    patches : int
        Number k of patches in a sample.
    width : int
        Channels of the finest level; twice as many at the second, four times at all deeper ones.
    precision : str
        Keras dtype policy of the convolutions.
    """
    conv = _Convolutions("gelu", precision)
    depth = int(log2(patch_size)) - 4
    filters = [width * min(2**level, 4) for level in range(depth + 1)]
    features = keras.Input((patch_size, patch_size, channels), name="features")
    x = SpaceToDepth(dtype=precision, name="fold")(features)
    skips = []
    for count in filters[:-1]:
        x = conv.twice(x, count)
        skips.append(x)
        x = layers.MaxPooling2D(dtype=precision)(x)
    x = conv.twice(x, filters[-1])
    for level in range(depth - 1, 0, -1):
        x = conv.upsample(conv(x, filters[level]))
        x = conv(layers.Concatenate(dtype=precision)([x, skips[level]]), filters[level])

    coarse = conv.output(x, 2 * patches, name="coarse", start="zeros")
    coarse = layers.UpSampling2D(4, interpolation="bilinear", dtype="float32")(coarse)
    x = layers.Cropping2D(patch_size // 16, dtype=precision)(x)
    x = conv.upsample(conv(x, width))
    x = layers.Concatenate(dtype=precision)([x, layers.Cropping2D(patch_size // 8, dtype=precision)(skips[0])])
    fine = conv.output(conv.twice(x, width), 8 * patches, name="fine", start="zeros")
    fine = DepthToSpace(dtype="float32", name="unfold")(fine)
    return keras.Model(features, CentreOn(dtype="float32")((fine, coarse)), name="compact")


def published(patch_size: int, channels: int, patches: int, width: int, precision: str) -> keras.Model:
    """Build the encoder-decoder of Hoidn et al., Sci. Rep. 13, 22789 (2023), from its description.

    Blocks of two convolutions and a pooling lead to 8x8 pixels; one decoder makes the amplitude (sigmoid),
    one the phase (π·tanh), each with a branch of four channels that continues it to the border. With
    `width` 2 (their `n_filters_scale`) it has the 2.3 million parameters of the paper at N = 64.

    Parameters
    ----------
    patch_size, channels, patches, precision
        As for `compact`.
    width : int
        Multiplies the channels 32, 64, 128, ... of the encoder.
    """
    conv = _Convolutions("relu", precision)
    filters = [width * 32 * 2**level for level in range(int(log2(patch_size)) - 3)]
    features = keras.Input((patch_size, patch_size, channels), name="features")
    code = features
    for count in filters:
        code = layers.MaxPooling2D(dtype=precision)(conv.twice(code, count))

    def decode(name: str) -> Any:
        x = code
        for count in reversed(filters[:-1]):
            x = layers.UpSampling2D(dtype=precision)(conv.twice(x, count))
        inner, outer = x[..., :-4], x[..., -4:]
        outer = layers.UpSampling2D(dtype=precision)(conv.twice(outer, width * 32))
        fine = conv.output(inner, patches, name=f"{name}_inner")
        coarse = conv.output(outer, patches, name=f"{name}_outer")
        return fine, layers.Activation("silu", dtype="float32")(coarse)

    fine, coarse = decode("amplitude")
    amplitude = CentreOn(dtype="float32")((layers.Activation("sigmoid", dtype="float32")(fine), coarse))
    fine, coarse = decode("phase")
    fine = layers.Rescaling(np.pi, dtype="float32")(layers.Activation("tanh", dtype="float32")(fine))
    phase = CentreOn(dtype="float32")((fine, coarse))
    return keras.Model(features, PolarObject(dtype="float32")((amplitude, phase)), name="published")


class _Convolutions:
    """3x3 convolutions of one precision and activation."""

    def __init__(self, activation: str, precision: str) -> None:
        self.settings = {"kernel_size": 3, "padding": "same", "dtype": precision, "activation": activation}
        self.precision = precision

    def __call__(self, x: Any, filters: int) -> Any:
        return layers.Conv2D(filters, **self.settings)(x)

    def twice(self, x: Any, filters: int) -> Any:
        return self(self(x, filters), filters)

    def upsample(self, x: Any) -> Any:
        # In float32 also under bfloat16: XLA has no gradient of the interpolation in bfloat16.
        return layers.UpSampling2D(interpolation="bilinear", dtype="float32")(x)

    def output(self, x: Any, filters: int, *, name: str, start: str = "glorot_uniform") -> Any:
        """Convolve without activation, in float32: what leaves the network feeds the diffraction model."""
        return layers.Conv2D(filters, 3, padding="same", dtype="float32", kernel_initializer=start, name=name)(x)


BACKBONES = {"compact": compact, "published": published}
"""Constructors by their name in the configuration."""
