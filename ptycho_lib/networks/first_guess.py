"""What diffraction patterns say about the object before any network: phase retrieval with the known probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ptycho_lib.networks.layers import ProbeLayer, fused, merging, serializable, to_channels

FINE_ITERATIONS = 3
"""Iterations of a first guess at full resolution, where those before it can do with half."""

FINE_TOGETHER = 10
"""The same for the patterns of a group, in addition to the others: together they gain more from each."""

Schedule = tuple[int, int]
"""Iterations at half the resolution, and at the full one."""

FEWEST_ITERATIONS = 2
"""Of a first guess, whatever the dose."""

FULL_DOSE = 400.0
"""Photons of an illuminated pixel from which on a first guess makes all its iterations; see `iterations_at`."""

INNER_LIGHT = 0.99
"""Least share of a probe's far field in the inner half of the detector for iterations at half resolution."""


def iterations_at(iterations: int, photons_px: float | None) -> int:
    """Return how many iterations a first guess makes at a dose: fewer where further ones would fit the noise.

    Stopping early regularises: the difference map finds the coarse, strong parts of the object first and
    what only noise asks for last. The number is proportional to the signal-to-noise ratio of a pixel, that is to the
    square root of its photons, up to `FULL_DOSE`; measured in docs/methods/networks.md.

    Parameters
    ----------
    iterations : int
        At a high dose; zero stays zero.
    photons_px : float or None
        Photons of a pattern over the pixels that its probe illuminates; None if unknown, which counts as high.
    """
    if photons_px is None or iterations <= FEWEST_ITERATIONS:
        return iterations
    bearable = round(iterations * (photons_px / FULL_DOSE) ** 0.5)
    return min(iterations, max(FEWEST_ITERATIONS, bearable))


@serializable
class FirstGuess(ProbeLayer):
    """Estimate each sample's object from its patterns alone, by phase retrieval with the known probe.

    Difference map with β = 1 (Elser, J. Opt. Soc. Am. A 20, 40, 2003; for ptychography Thibault et al.,
    Science 321, 379, 2008) between the waves that have the measured modulus and those that an object under
    the probe can make, which is found by the regularised division of rPIE (Maiden, Johnson & Li,
    Optica 4, 736, 2017). With incoherent modes P_m each has its wave ψ_m; together they have the measured
    modulus, ψ_m times x/sqrt(Σ|F ψ_m|²) in the far field (Thibault & Menzel, Nature 494, 68, 2013), and they
    share one object, (Σ P_m* ψ_m + ε O)/(Σ|P_m|² + ε). The patterns of a group share one object where they
    overlap. It starts from |O| = 1.

    Where the probe's own far field lies in the inner half of the detector, all iterations but the last
    `FINE_ITERATIONS` see that half alone, that is the object at half the resolution: a quarter of the work,
    and what converges slowly is the coarse part. Groups make all of them so, and `FINE_TOGETHER` more. Where
    it reaches beyond, the outer half scatters light into the inner, and half the resolution explains nothing.

    Parameters
    ----------
    iterations : int
        Zero returns the starting object.
    damping : float
        Regularisation of the division, relative to the largest probe intensity.
    by_dose : bool
        Make fewer iterations where the dose is low (`iterations_at`).
    photons_px : float, optional
        Dose of the training scan, for calls without a schedule.
    """

    def __init__(
        self,
        *args: Any,
        iterations: int = 20,
        damping: float = 0.2,
        by_dose: bool = True,
        photons_px: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.iterations = iterations
        self.damping = damping
        self.by_dose, self.photons_px = by_dose, photons_px

    def call(
        self,
        amplitude: tf.Tensor,
        positions_px: tf.Tensor | None = None,
        fixed_shape: bool = False,
        probe: tf.Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> tf.Tensor:
        """Return the guess of each pattern.

        Parameters
        ----------
        amplitude : (..., N, N) float32
            For groups (b, k, N, N). Negative where a detector pixel was not measured: any modulus will do.
        positions_px : (b, k, 2) float32, optional
            Patch centres (row, column). Without them each pattern is taken by itself.
        fixed_shape : bool
            Make the frame of a group as large as it can be, whatever the positions: for XLA.
        probe : (m, N, N) complex64, optional
            Modes of the probe that made these patterns, instead of the layer's own.
        schedule : (int, int), optional
            Of that probe, from `schedule`.

        Returns
        -------
        (..., N, N, 2) float32
            Real and imaginary parts.
        """
        if positions_px is not None and positions_px.shape[1] == 1:
            positions_px = None
        # DC of the measurement goes to pixel 0 once, instead of every wave there and back.
        measured = tf.signal.ifftshift(amplitude, axes=(-2, -1)) * self.patch_size
        probe = self.probe if probe is None else probe
        coarse, fine = schedule or self.schedule(together=positions_px is not None, photons_px=self.photons_px)
        obj = tf.ones_like(measured, tf.complex64)
        if coarse:
            inner = _low_frequencies(measured)
            blurred = tf.signal.ifft2d(_low_frequencies(tf.signal.fft2d(probe)))
            places = None if positions_px is None else positions_px / 2
            empty = tf.ones_like(inner, tf.complex64)
            obj = _twice_as_fine(self._retrieve(empty, inner, blurred, places, fixed_shape, coarse))
        obj = self._retrieve(obj, measured, probe, positions_px, fixed_shape, fine)
        return fused(to_channels)(obj)

    def schedule(self, *, together: bool, probe: Any = None, photons_px: float | None = None) -> Schedule:
        """Return how many iterations are made at half the resolution and then at the full one.

        Parameters
        ----------
        together : bool
            For the patterns of a group.
        probe : (m, N, N) complex array, optional
            Instead of the layer's own.
        photons_px : float, optional
            Dose of the patterns, see `iterations_at`.

        Returns
        -------
        (int, int)
        """
        iterations = iterations_at(self.iterations, photons_px if self.by_dose else None)
        with tf.init_scope():  # the graph to come depends on the probe, which is in the weight by now
            light = tf.square(tf.abs(tf.signal.fft2d(self.probe if probe is None else probe)))
            inner = float(tf.reduce_sum(_low_frequencies(light)) / tf.reduce_sum(light))
        if inner < INNER_LIGHT:
            return 0, iterations
        if together:
            return iterations, min(iterations, FINE_TOGETHER)
        fine = min(iterations, FINE_ITERATIONS)
        return iterations - fine, fine

    def _retrieve(
        self,
        obj: tf.Tensor,
        measured: tf.Tensor,
        probe: tf.Tensor,
        positions_px: tf.Tensor | None,
        fixed_shape: bool,
        iterations: int,
    ) -> tf.Tensor:
        """Return the object after some iterations of the difference map from this one."""
        intensity = tf.reduce_sum(tf.square(tf.abs(probe)), axis=-3)
        damped = intensity + self.damping * tf.reduce_max(intensity)
        divide = tf.math.conj(probe) / tf.cast(damped, tf.complex64)
        keep = tf.cast(1.0 - intensity / damped, tf.complex64)
        agree = None if positions_px is None else _agreement(positions_px, damped, fixed_shape)
        guess, wave = obj, probe * obj[..., None, :, :]
        for _ in range(iterations):
            fit = tf.signal.ifft2d(fused(_explain)(tf.signal.fft2d(wave), measured))
            if agree is None:
                obj, wave = fused(_alone)(obj, fit, wave, divide, keep, probe)
                guess = obj
            else:  # agreeing costs more than all the rest: once an iteration is as good as twice
                guess, reflected = fused(_together)(obj, fit, wave, divide, keep)
                obj = agree(reflected)
                wave = fused(_advance)(wave, fit, probe, obj)
        return guess if agree is None else agree(guess)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        settings = {"iterations": self.iterations, "damping": self.damping}
        return super().get_config() | settings | {"by_dose": self.by_dose, "photons_px": self.photons_px}


def _explain(far: tf.Tensor, measured: tf.Tensor) -> tf.Tensor:
    """Give the far fields (..., m, N, N) of the modes the measured modulus, together, where there is one."""
    power = tf.reduce_sum(tf.square(tf.math.real(far)) + tf.square(tf.math.imag(far)), axis=-3)
    factor = tf.where(measured < 0, 1.0, measured * tf.math.rsqrt(power + 1e-24))
    return far * tf.cast(factor[..., None, :, :], tf.complex64)


def _alone(
    obj: tf.Tensor, fit: tf.Tensor, wave: tf.Tensor, divide: tf.Tensor, keep: tf.Tensor, probe: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the next object and wave of patterns that are taken by themselves."""
    obj = _behind(fit, divide) + keep * obj
    return obj, _advance(wave, fit, probe, _behind(2 * fit - wave, divide) + keep * obj)


def _together(
    obj: tf.Tensor, fit: tf.Tensor, wave: tf.Tensor, divide: tf.Tensor, keep: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the objects behind the wave that fits and behind its reflection, before patches agree."""
    return _behind(fit, divide) + keep * obj, _behind(2 * fit - wave, divide) + keep * obj


def _behind(wave: tf.Tensor, divide: tf.Tensor) -> tf.Tensor:
    """Return the object part of the waves (..., m, N, N) of all modes, (..., N, N)."""
    return tf.reduce_sum(divide * wave, axis=-3)


def _advance(wave: tf.Tensor, fit: tf.Tensor, probe: tf.Tensor, reflected: tf.Tensor) -> tf.Tensor:
    """Return the next wave of the difference map."""
    return wave + probe * reflected[..., None, :, :] - fit


def _low_frequencies(spectrum: tf.Tensor) -> tf.Tensor:
    """Return the inner half of (..., N, N) spectra whose DC is pixel 0: (..., N/2, N/2)."""
    for axis in (-2, -1):
        low, _, _, high = tf.split(spectrum, 4, axis=axis)
        spectrum = tf.concat([low, high], axis=axis)
    return spectrum


def _twice_as_fine(obj: tf.Tensor) -> tf.Tensor:
    """Interpolate (..., n, n) objects to (..., 2n, 2n) by zeros beyond their frequencies.

    What surrounds them is taken as empty space.
    """
    spectrum = tf.signal.fft2d(obj - 1)
    for axis in (-2, -1):
        low, high = tf.split(spectrum, 2, axis=axis)
        spectrum = tf.concat([low, tf.zeros_like(spectrum), high], axis=axis)
    return 1 + 4 * tf.signal.ifft2d(spectrum)


def _agreement(positions_px: tf.Tensor, weights: tf.Tensor, fixed_shape: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return what makes the patches of a group one object; those too far to overlap stay apart."""
    size = weights.shape[-1]
    offsets = positions_px - positions_px[:, :1]
    near = tf.reduce_all(tf.abs(offsets) < size, axis=-1)
    offsets = tf.where(near[..., None], offsets, 0.0)
    # A frame no larger than needed; moved by whole pixels, so that nothing is interpolated once more.
    ends = tf.reduce_min(offsets, axis=1, keepdims=True), tf.reduce_max(offsets, axis=1, keepdims=True)
    offsets -= tf.round((ends[0] + ends[1]) / 2)
    reach = size if fixed_shape else tf.cast(tf.math.ceil(tf.reduce_max(tf.abs(offsets))), tf.int32)
    counted = weights * tf.cast(near, tf.float32)[..., None, None]
    merge = merging(offsets, counted, reach_px=reach)
    return lambda patches: tf.where(near[..., None, None], merge(patches), patches)
