"""The probe that a training refined."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from ptycho_lib.networks.models import PtychoPINN, ReconstructionNetwork


def refined_probe(network: ReconstructionNetwork) -> NDArray[np.complex64] | None:
    """Return the refined probe, (N, N) on a scale of its own, or None if the network took it as known."""
    if not isinstance(network, PtychoPINN) or not network.options.trainable_probe:
        return None
    return np.array(keras.ops.convert_to_numpy(network.diffraction_model.probe), np.complex64)
