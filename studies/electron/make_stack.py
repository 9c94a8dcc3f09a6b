"""Simulate what a 4D-STEM detector records, and write it as a raw stack: (lines, line, N, N) counts, no positions.

Run ``python studies/electron/make_stack.py FOLDER``; it writes ``FOLDER/train_stack.h5`` and ``FOLDER/test_stack.h5``.
A convergent beam of 80 keV is defocused by 60 nm, so that its disc overlaps from position to position; the scan is a
raster, turned by 12 degrees against the detector; the dose is low, and each electron leaves several counts on
neighbouring pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter, shift

SIZE = 64
"""Pixels of the detector, and of the probe's window."""
VOLTAGE_EV = 80e3
PIXEL_M = 40e-12
CONVERGENCE_RAD = 15e-3
DEFOCUS_M = 60e-9
STEP_M = 0.2e-9
ROTATION_DEG = 12.0
ELECTRONS = 1500.0
"""Mean electrons of a pattern."""
COUNTS = 4.0
"""Counts that one electron leaves, on average ..."""
BLUR_PX = 0.35
"""... and their spread over pixels."""


def wavelength_m(energy_ev: float) -> float:
    """Return the relativistic wavelength of an electron."""
    rest = 510998.95
    return 12.39841984e-7 / np.sqrt(energy_ev * (2 * rest + energy_ev))


def probe(size: int = SIZE) -> np.ndarray:
    """Return the defocused convergent probe (N, N): an aperture with the phase of a defocus, transformed."""
    wave = wavelength_m(VOLTAGE_EV)
    k = np.fft.fftshift(np.fft.fftfreq(size, PIXEL_M))
    square = k[:, None] ** 2 + k[None] ** 2
    edge = 1 / (1 + np.exp((np.sqrt(square) - CONVERGENCE_RAD / wave) * size * PIXEL_M * 4))
    aperture = edge * np.exp(-1j * np.pi * wave * DEFOCUS_M * square)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(aperture), norm="ortho"))


def specimen(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a thin specimen (H, W): columns of atoms in grains of two orientations on an uneven film."""
    rows, columns = np.indices(shape) * PIXEL_M
    grains = gaussian_filter(rng.normal(size=shape), 22) > 0
    phase = np.zeros(shape)
    for grain, angle in ((grains, rng.uniform(0, np.pi)), (~grains, rng.uniform(0, np.pi))):
        lattice = np.ones(shape)
        for turn in (0.0, np.pi / 3, 2 * np.pi / 3):
            direction = rows * np.cos(angle + turn) + columns * np.sin(angle + turn)
            lattice *= np.cos(np.pi * direction / 0.42e-9) ** 2
        phase += grain * lattice
    film = gaussian_filter(rng.normal(size=shape), 6)
    phase = 0.9 * phase + 0.25 * film / film.std()
    return np.exp((1j - 0.08) * phase)


def stack(lines: int, line: int, seed: int) -> dict[str, np.ndarray]:
    """Return counts (lines, line, N, N), probe, object (H, W)."""
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(ROTATION_DEG)
    grid = np.stack(np.meshgrid(np.arange(lines), np.arange(line), indexing="ij"), -1).reshape(-1, 2) * STEP_M / PIXEL_M
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    positions = (grid - grid.mean(axis=0)) @ turn.T
    shape = tuple(int(np.ceil(extent)) + SIZE + 8 for extent in np.ptp(positions, axis=0))
    positions += np.array(shape) / 2
    obj, beam = specimen(shape, rng), probe()
    counts = np.empty((len(positions), SIZE, SIZE), np.uint16)
    for number, centre in enumerate(positions):
        corner = np.floor(centre).astype(int) - SIZE // 2
        patch = obj[corner[0] : corner[0] + SIZE, corner[1] : corner[1] + SIZE]
        moved = between_pixels(beam, centre - np.floor(centre))
        wave = np.fft.fftshift(np.fft.fft2(patch * moved, norm="ortho"))
        electrons = rng.poisson(np.square(np.abs(wave)) * ELECTRONS / np.square(np.abs(beam)).sum())
        counts[number] = detected(electrons, rng)
    counts = counts.reshape(lines, line, SIZE, SIZE)
    return {"data": counts, "probe": beam.astype(np.complex64), "object": obj.astype(np.complex64)}


def between_pixels(beam: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Return the probe moved by a part of a pixel."""
    return shift(beam.real, move, order=5) + 1j * shift(beam.imag, move, order=5)


def detected(electrons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the counts of a detector: each electron leaves an exponential number, blurred over its neighbours."""
    signal = np.zeros(electrons.shape)
    for row, column in np.argwhere(electrons):
        signal[row, column] = rng.exponential(COUNTS, electrons[row, column]).sum()
    return np.rint(gaussian_filter(signal, BLUR_PX, truncate=3.0)).astype(np.uint16)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the stack as a plain HDF5 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        chunks = (1, arrays["data"].shape[1], SIZE, SIZE)
        file.create_dataset("data", data=arrays["data"], chunks=chunks, compression="gzip")
        file["probe"], file["object"] = arrays["probe"], arrays["object"]
    print(f"{path}: {arrays['data'].shape}")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write(folder / "train_stack.h5", stack(24, 24, 1))
    write(folder / "test_stack.h5", stack(16, 16, 2))
