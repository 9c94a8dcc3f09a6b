"""Complex fields for tests of the networks: probes, objects, noise."""

import numpy as np

from ptycho_lib.physics import probes


def curved_probe(size):
    """Return an asymmetric probe that fills the central half."""
    probe = probes.defocus(probes.disc(size, size * 0.45, smoothing_px=1.5), 3.0)
    y, x = np.indices((size, size)) / size
    return (probe * (1 + 0.8 * x + 0.3 * y)).astype(np.complex64)


def flat_probe(size):
    """Return a symmetric probe without phase."""
    return probes.disc(size, size // 2, smoothing_px=1.0).astype(np.complex64)


def smooth_object(size):
    """Return an asymmetric transmission without steps."""
    y, x = np.indices((size, size)) / size
    return ((0.8 - 0.3 * x * y) * np.exp(1j * np.sin(4 * x + 2 * y))).astype(np.complex64)


def complex_noise(seed, *shape):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def channels(field):
    return np.stack([field.real, field.imag], axis=-1)


def relative_error(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()
