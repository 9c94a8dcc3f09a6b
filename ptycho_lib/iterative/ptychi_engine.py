"""Pty-chi, driven with arrays in this library's conventions; needs the extra `iterative`.

Where the conventions differ:

- A position here is the object pixel under the patch's pixel N/2. Pty-chi's is the middle of the patch,
  (N - 1)/2, relative to an origin that the options specify: the origin (-1/2, -1/2) makes them equal.
- Pty-chi keeps the object on its grid and shifts the probe by the fraction of a pixel.
- Its far field has no unitary norm: probes are divided by N.
- Its ePIE and rPIE add up the updates of a batch, which diverges where many patterns of a batch overlap; here
  they take a step that the overlap allows.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ptychi import api
from ptychi.api.task import PtychographyTask
from ptychi.utils import orthogonalize_initial_probe

from ptycho_lib.config import IterativeConfig
from ptycho_lib.physics.probes import total_intensity
from ptycho_lib.physics.scan import illumination
from ptycho_lib.resource_usage import Meter, Usage

OPTIONS = {
    "lsqml": api.LSQMLOptions,
    "epie": api.EPIEOptions,
    "rpie": api.RPIEOptions,
    "dm": api.DMOptions,
}
MARGIN_PX = 8
"""Added around the object, so that corrected positions stay inside; removed again."""

ORIGIN = MARGIN_PX - 0.5
"""Of Pty-chi's positions, in pixels of the object with its margin."""

PIE_ALPHA = {"epie": 1.0, "rpie": 0.1}
"""Table 1 of Maiden et al., Optica 4, 736 (2017)."""

SECOND_MODES = 0.2
"""Largest share of the light with which a further probe mode starts; all of them together get at most half.

From 2 % a mode that holds 30 % was at 15 % after 450 updates, from 25 % at 26 %, at less than half the loss.
"""


class Engine:
    """A reconstruction in progress.

    Parameters
    ----------
    counts : (n, N, N) float32
        Measured intensities, photons, DC at pixel N/2.
    positions_px : (n, 2) float64
        Patch centres, (row, column), object pixels.
    probe : (m, N, N) complex64
        Incoherent modes on the scale of the counts: Σ|P|² is the mean number of photons behind an object of
        modulus 1.
    obj : (H, W) complex64
        The starting guess.
    settings : IterativeConfig
    seed : int
        Of the order of the patterns.
    mask : (N, N) bool, optional
        Detector pixels that were measured; the others constrain nothing.
    """

    def __init__(
        self,
        counts: NDArray[np.float32],
        positions_px: NDArray[np.float64],
        probe: NDArray[np.complex64],
        obj: NDArray[np.complex64],
        settings: IterativeConfig,
        seed: int,
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        self._size, self._meter = counts.shape[-1], Meter()
        step = pie_step(probe, positions_px, (obj.shape[0], obj.shape[1]), settings)
        with _contained():
            self._task = PtychographyTask(
                _options(settings, seed, len(counts), step),
                diffraction_data=counts,
                object_data=np.pad(obj, MARGIN_PX, mode="edge")[None],
                probe_data=_modes(probe / self._size, settings),
                valid_pixel_mask=np.ones(counts.shape[1:], bool) if mask is None else mask,
                probe_position_y_px=positions_px[:, 0].astype(np.float32),
                probe_position_x_px=positions_px[:, 1].astype(np.float32),
            )
        # Pty-chi's seed leaves the generator of the batches alone.
        self._task.reconstructor.dataloader.generator.manual_seed(seed)

    def epoch(self) -> float:
        """Pass over all patterns once; return Pty-chi's loss."""
        with _contained():
            self._task.run(1)
        return float(self._task.reconstructor.loss_tracker.table["loss"].iloc[-1])

    @property
    def obj(self) -> NDArray[np.complex64]:
        """The object, (H, W)."""
        inside = slice(MARGIN_PX, -MARGIN_PX)
        return self._array("object")[0, inside, inside].astype(np.complex64)

    @property
    def probe(self) -> NDArray[np.complex64]:
        """The probe's incoherent modes, (modes, N, N), scaled as the one given."""
        return (self._array("probe")[0] * self._size).astype(np.complex64)

    @property
    def positions_px(self) -> NDArray[np.float64]:
        """The positions, (n, 2), corrected if that was asked for."""
        return self._array("probe_positions").astype(np.float64)

    @property
    def usage(self) -> Usage:
        """Time and memory since the engine was made, in its process."""
        return self._meter.read()

    @property
    def device(self) -> str:
        """The device in use, or the number of threads, for the record of a run."""
        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
        return f"CPU, {torch.get_num_threads()} threads"

    def _array(self, name: Any) -> NDArray[Any]:
        return np.array(self._task.get_data_to_cpu(name, as_numpy=True))


def warm_up() -> None:
    """Reconstruct next to nothing: what a process sets up once is not time of its first reconstruction."""
    size = 16
    counts, probe = np.ones((4, size, size), np.float32), np.ones((size, size), np.complex64)
    positions = size / 2 + np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])
    obj = np.ones((size + 6, size + 6), np.complex64)
    Engine(counts, positions, probe[None], obj, IterativeConfig(batch_size=2), seed=0).epoch()


def pie_step(
    probe: NDArray[np.complexfloating],
    positions_px: NDArray[np.float64],
    shape: tuple[int, int],
    settings: IterativeConfig,
) -> float:
    """Return the step of ePIE's and rPIE's object update: 1 over the sum of weights expected at a pixel.

    A pattern moves a pixel by the share w = I / ((1 - α)I + α max I) of the way to its own optimum, I being
    the summed intensity of the modes; a batch of b of the n patterns by Σw·b/n, which must not exceed 1 (2 is
    the limit of stability).
    """
    alpha = PIE_ALPHA.get(settings.algorithm, 1.0)
    intensity = total_intensity(probe)
    weight = intensity / ((1 - alpha) * intensity + alpha * intensity.max())
    share = min(1.0, settings.batch_size / len(positions_px))
    return min(1.0, 1.0 / float(share * illumination(np.sqrt(weight), positions_px, shape).max()))


def _options(settings: IterativeConfig, seed: int, count: int, step: float) -> Any:
    options = OPTIONS[settings.algorithm]()
    reconstructor = options.reconstructor_options
    reconstructor.num_epochs = settings.epochs(count)
    reconstructor.random_seed = seed
    reconstructor.allow_nondeterministic_algorithms = False
    reconstructor.default_device = api.Devices.GPU if torch.cuda.is_available() else api.Devices.CPU
    if settings.algorithm == "dm":
        reconstructor.chunk_length = settings.batch_size  # all patterns at once; this bounds the memory
        reconstructor.displayed_loss_function = None
    else:
        reconstructor.batch_size = min(settings.batch_size, count)
    if settings.algorithm == "lsqml":
        reconstructor.rescale_probe_intensity_in_first_epoch = False  # it has its scale already
    obj = options.object_options
    obj.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    obj.position_origin_coords = [ORIGIN, ORIGIN]
    if settings.algorithm in PIE_ALPHA:
        obj.alpha = options.probe_options.alpha = PIE_ALPHA[settings.algorithm]
        obj.step_size = step
    # A known probe fixes the object's modulus, too.
    obj.remove_object_probe_ambiguity.enabled = settings.refine_probe
    options.probe_options.optimizable = settings.refine_probe
    options.probe_position_options.optimizable = settings.correct_positions
    return options


def _modes(probe: NDArray[np.complexfloating], settings: IterativeConfig) -> torch.Tensor:
    """Return the starting modes, (1, number, N, N): the probe's, and weak Hermite-Gaussians where more are wanted."""
    given = torch.from_numpy(probe.astype(np.complex64))[None]
    missing = (settings.probe_modes or 1) - len(probe)
    if missing <= 0 or not settings.refine_probe:
        return given
    number = len(probe) + missing
    seeds = torch.zeros((1, number, *probe.shape[1:]), dtype=torch.complex64)
    seeds[0, 0] = given[0, 0]
    seeds = orthogonalize_initial_probe(seeds, secondary_mode_energy=min(SECOND_MODES, 0.5 / number))
    return seeds if len(probe) == 1 else torch.cat([given, seeds[:, len(probe) :]], dim=1)


@contextmanager
def _contained() -> Iterator[None]:
    """Compute reproducibly, and give Python and numpy their global random states back: Pty-chi seeds them."""
    kept, numpy_kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    deterministic = torch.are_deterministic_algorithms_enabled()
    # Without it sums over overlapping patches are taken in the order in which threads happen to come.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        random.setstate(kept)
        np.random.set_state(numpy_kept)  # noqa: NPY002
