"""From a dataset to batches: one normalisation, one order of samples, memory bounded by the batch.

A sample is a group of g² neighbouring patterns (g = gridsize). Batches are gathered from the dataset's
stack wherever it lies, in memory or on disk, in an order that the seed and the epoch alone decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.sampling import neighbour_groups
from ptycho_lib.io.lazy_stack import blocks, read_patterns
from ptycho_lib.physics.diffraction import far_field
from ptycho_lib.physics.probes import ENOUGH_LIGHT, inside, orthogonal_modes, significant_modes, total_intensity

MOST_HELD_OUT = 32
"""Patterns of a scan that are held out for validation, at most: they only choose the best weights, dozens of times,
and with more of them a training on many patterns would spend most of its time there."""

NEIGHBOURS = 12
"""An overlap group is drawn from this many nearest neighbours of its first pattern."""

UNMEASURED = -1.0
"""Amplitude of a detector pixel that was not measured: no amplitude is negative."""

Indices = NDArray[np.int64]
Inputs = dict[str, NDArray[Any]]


def input_scale(dataset: PtychoDataset) -> float:
    """Return the factor that brings amplitudes to the input scale: mean Σx² = (N/2)².

    Hoidn et al., Sci. Rep. 13, 22789 (2023). It is the only normalisation of patterns in the library; each
    dataset has its own, so that a test at another dose is not out of scale. Where a detector mask leaves
    pixels out, Σx² over the others is compared with the share of the probe's own far field on them.
    """
    seen = True if dataset.mask is None else dataset.mask
    total = sum(float(np.square(block, dtype=np.float64).sum(where=seen)) for _, block in blocks(dataset.diffraction))
    share = 1.0
    if dataset.mask is not None:
        light = total_intensity(far_field(dataset.probe_modes))
        share = float(light[dataset.mask].sum() / light.sum())
    return float(dataset.patch_size / 2 * np.sqrt(share * len(dataset) / total))


def normalised_probe(
    probe: NDArray[np.complexfloating], mask_radius_px: float | None = None, most: int | None = None
) -> NDArray[np.complex64]:
    """Return the modes of a probe that the networks use, on the input scale.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    mask_radius_px : float, optional
        Zero beyond this distance from pixel N/2.
    most : int, optional
        Largest number of modes; without it, the fewest that hold 99 % of the light.

    Returns
    -------
    (k, N, N) complex64 array
        Strongest first; ΣΣ|P|² = (N/2)².
    """
    modes = significant_modes(orthogonal_modes(probe), share=ENOUGH_LIGHT if most is None else 1.0, most=most)
    if mask_radius_px is not None:
        modes = modes * inside(probe.shape[-1], mask_radius_px)
    power = float(np.square(np.abs(modes), dtype=np.float64).sum())
    return np.asarray(modes * (probe.shape[-1] / 2 / np.sqrt(power))).astype(np.complex64)


def probe_in_use(dataset: PtychoDataset, config: NetworkConfig) -> NDArray[np.complex64]:
    """Return the modes of a dataset's probe that a network with these settings uses; see `normalised_probe`."""
    return normalised_probe(dataset.probe_modes, config.probe_mask_radius_px, config.probe_modes)


def photons_per_pixel(dataset: PtychoDataset) -> float | None:
    """Return the photons of a pattern over the number of pixels that its probe illuminates; None if unknown.

    The number is (Σ I)²/Σ I² of the probe's intensity I.
    """
    if dataset.photons_per_pattern is None:
        return None
    light = total_intensity(dataset.probe_modes).astype(np.float64)
    return float(dataset.photons_per_pattern * np.square(light).sum() / np.square(light.sum()))


def central_half(images: NDArray) -> NDArray:
    """Return the central N/2 x N/2 of (..., N, N) images, the region that the networks resolve."""
    quarter = images.shape[-1] // 4
    return images[..., quarter:-quarter, quarter:-quarter]


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a dataset, ready to be batched.

    Parameters
    ----------
    dataset : PtychoDataset
    members : (m, k) int array
        Patterns of each sample.
    scale : float
        Input scale of the amplitudes.
    object_scale : float
        Unit of the object patches handed out as labels.
    guess : (m, k, N, N, 2) float32 array, optional
        First guess of every sample.
    """

    dataset: PtychoDataset
    members: Indices
    scale: float
    object_scale: float = 1.0
    guess: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.members)

    def amplitudes(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the patterns of the chosen samples on the input scale, (b, k, N, N); `UNMEASURED` off the mask."""
        members = self.members[chosen]
        patterns = read_patterns(self.dataset.diffraction, members.ravel()).astype(np.float32, copy=False)
        scaled = patterns * np.float32(self.scale)
        if self.dataset.mask is not None:
            scaled[:, ~self.dataset.mask] = UNMEASURED
        return scaled.reshape(*members.shape, *patterns.shape[1:])

    def positions_px(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the patch centres (row, column) of the chosen samples, (b, k, 2)."""
        return self.dataset.positions_px[self.members[chosen]].astype(np.float32)

    def inputs(self, chosen: Indices) -> Inputs:
        """Return the network input of the chosen samples.

        diffraction (b, k, N, N), positions_px (b, k, 2), weight (b, k) ones, and where it is kept in memory
        guess (b, k, N, N, 2), all float32.
        """
        members = self.members[chosen]
        result = {
            "diffraction": self.amplitudes(chosen),
            "positions_px": self.positions_px(chosen),
            "weight": np.ones(members.shape, np.float32),
        }
        if self.guess is not None:
            result["guess"] = read_patterns(self.guess, chosen)
        return result

    def labels(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the central object patches of the chosen samples, (b, k, N/2, N/2, 2) float32."""
        members = self.members[chosen]
        patches = central_half(self.dataset.object_patches(members.ravel())) / self.object_scale
        parts = np.stack([patches.real, patches.imag], axis=-1).astype(np.float32)
        return parts.reshape(*members.shape, *parts.shape[1:])


@dataclass(frozen=True, eq=False)
class MixedSamples:
    """The samples of several scans; each comes with the probe of its scan.

    Parameters
    ----------
    parts : tuple of Samples
        One a scan, each with the input scale and the object scale of its own.
    source : (m, 2) int array
        Scan and number within it of each sample.
    probes : (s, k, N, N) complex64 array
        Modes in use of each scan's probe; those with fewer than others have dark ones at the end.
    """

    parts: tuple[Samples, ...]
    source: Indices
    probes: NDArray[np.complex64]

    def __len__(self) -> int:
        return len(self.source)

    @property
    def object_scale(self) -> float:
        """Mean unit of the labels: each scan's patches are labels in the unit of their own scan."""
        return float(np.mean([part.object_scale for part in self.parts]))

    def inputs(self, chosen: Indices) -> Inputs:
        """Return the network input of the chosen samples: that of `Samples` and probe (b, k, N, N) complex64."""
        joined = self._gather(chosen, lambda part, numbers: part.inputs(numbers))
        return {**joined, "probe": self.probes[self.source[chosen, 0]]}

    def labels(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the central object patches of the chosen samples, each in the unit of its scan."""
        return self._gather(chosen, lambda part, numbers: {"labels": part.labels(numbers)})["labels"]

    def _gather(self, chosen: Indices, read: Callable[[Samples, Indices], Inputs]) -> Inputs:
        """Read scan by scan, and return in the order asked for."""
        scan, number = self.source[chosen].T
        places = [np.flatnonzero(scan == k) for k in range(len(self.parts))]
        found = [read(part, number[at]) for part, at in zip(self.parts, places, strict=True) if at.size]
        back = np.argsort(np.concatenate(places), kind="stable")
        return {key: np.concatenate([one[key] for one in found])[back] for key in found[0]}


def mixed(parts: Sequence[Samples], source: Indices, config: NetworkConfig) -> MixedSamples:
    """Return the samples of several scans as one set; see `MixedSamples`."""
    modes = [probe_in_use(part.dataset, config) for part in parts]
    most = max(map(len, modes))
    dark = [((0, most - len(one)), (0, 0), (0, 0)) for one in modes]
    probes = np.stack([np.pad(one, width) for one, width in zip(modes, dark, strict=True)])
    return MixedSamples(tuple(parts), source, probes)


def hold_out(count: int, fraction: float, gridsize: int) -> tuple[Indices, Indices]:
    """Split the patterns of a training subset into those of the gradient steps and those of validation.

    Evenly through the nested order, so that both cover the scan; at most `MOST_HELD_OUT`. Too few patterns for two
    sets of groups serve as both.
    """
    group = gridsize**2
    held = max(min(round(fraction * count), MOST_HELD_OUT), group)
    if count - held < group:
        everything = np.arange(count)
        return everything, everything
    validation = np.unique(np.linspace(0, count - 1, held).round().astype(np.int64))
    return np.setdiff1d(np.arange(count), validation), validation


def sample_groups(positions_px: NDArray[np.float64], chosen: Indices, gridsize: int, seed: int) -> Indices:
    """Return the samples, (m, g²) pattern numbers, that the chosen patterns form among themselves."""
    return chosen[neighbour_groups(positions_px[chosen], gridsize, seed)]


def overlap_partners(centres_px: NDArray[np.float64], among_px: NDArray[np.float64], reach_px: float) -> Indices:
    """Return for each centre its nearest samples `among_px`, (m, NEIGHBOURS); -1 beyond `reach_px`.

    A sample is not its own partner.
    """
    count = len(among_px)
    distance, nearest = cKDTree(among_px).query(centres_px, k=list(range(1, NEIGHBOURS + 2)))
    usable = (nearest < count) & (distance > 0) & (distance < reach_px)
    partners = np.where(usable, nearest, -1)
    order = np.argsort(~usable, axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.take_along_axis(partners, order, axis=1)


def epoch_batches(
    samples: int, steps: int, batch_size: int, merged: int, partners: Indices, seed: int, epoch: int
) -> Indices:
    """Return the batches of one epoch, (steps, batch_size) sample numbers.

    Each batch holds groups of `merged` samples: one drawn without replacement until all were drawn, and
    partners of it (itself again where it has too few).
    """
    rng = np.random.default_rng((seed, epoch))
    needed = steps * (batch_size // merged)
    rounds = [rng.permutation(samples) for _ in range(-(-needed // samples))]
    first = np.concatenate(rounds)[:needed]
    groups = np.repeat(first[:, None], merged, axis=1)
    if merged > 1:
        shuffled = rng.permuted(partners[first], axis=1)
        usable_first = np.argsort(shuffled < 0, axis=1, kind="stable")[:, : merged - 1]
        drawn = np.take_along_axis(shuffled, usable_first, axis=1)
        groups[:, 1:] = np.where(drawn >= 0, drawn, groups[:, 1:])
    return groups.reshape(steps, batch_size)
