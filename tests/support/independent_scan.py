"""A small far-field scan, simulated with numpy alone: independent of the library's own simulator."""

import numpy as np
from scipy.ndimage import gaussian_filter


def simulate(n=32, extent=(8, 8), *, seed=1, photons=1e5, fractional=False, margin=3, modes=None):
    """Return counts (k, n, n), positions (k, 2; row, column), probe (n, n) and object (H, W).

    The probe has no symmetry: elliptical, off centre, with coma and curvature.
    """
    rng = np.random.default_rng(seed)
    step = n / 9
    grid = np.stack(np.meshgrid(*(np.arange(number) for number in extent), indexing="ij"), -1).reshape(-1, 2) * step
    grid = grid + rng.uniform(-step / 3, step / 3, grid.shape)
    positions = grid - grid.min(0) + n / 2 + margin
    positions = positions if fractional else np.rint(positions)
    shape = (np.ceil(positions.max(0)) + n / 2 + margin + 1).astype(int)
    fields = [gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2)]
    a, p = ((field - field.min()) / np.ptp(field) for field in fields)
    obj = (0.65 + 0.35 * a) * np.exp(2.4j * (p - 0.5))
    probe = asymmetric_probe(n)
    lit = probe[None] if modes is None else modes
    intensity = sum(predict(obj, positions, mode) ** 2 for mode in lit)
    intensity *= photons / intensity.sum((1, 2)).mean()
    return {
        "counts": rng.poisson(intensity).astype(np.float64),
        "positions": positions,
        "probe": np.asarray(probe if modes is None else modes).astype(np.complex64),
        "obj": obj.astype(np.complex64),
    }


def asymmetric_probe(n):
    y, x = (np.indices((n, n)) - n / 2) / n
    amplitude = np.exp(-(((x - 0.03) / 0.13) ** 2) - ((y + 0.04) / 0.17) ** 2)
    phase = 30 * (x**2 + 1.4 * y**2) + 14 * x * y + 160 * x**3 - 90 * y**2 * x + 9 * y
    return amplitude * np.exp(1j * phase)


def predict(obj, positions, probe):
    """Return amplitudes (k, n, n), bilinear between pixels, DC at n / 2."""
    n = probe.shape[-1]
    patches = []
    for row, column in np.asarray(positions, float):
        i, j = int(np.floor(row - n / 2)), int(np.floor(column - n / 2))
        down, right = row - n / 2 - i, column - n / 2 - j
        patch = (1 - down) * (1 - right) * obj[i : i + n, j : j + n]
        if down:
            patch = patch + down * (1 - right) * obj[i + 1 : i + n + 1, j : j + n]
        if right:
            patch = patch + (1 - down) * right * obj[i : i + n, j + 1 : j + n + 1]
        if down and right:
            patch = patch + down * right * obj[i + 1 : i + n + 1, j + 1 : j + n + 1]
        patches.append(patch)
    return np.abs(np.fft.fftshift(np.fft.fft2(np.array(patches) * probe, norm="ortho"), axes=(1, 2)))


def write_contract(path, scan, **replaced):
    """Write a file of the contract; keys that are replaced by None are left out."""
    arrays = {
        "diffraction": np.sqrt(scan["counts"]).astype(np.float32),
        "ycoords": scan["positions"][:, 0],
        "xcoords": scan["positions"][:, 1],
        "probeGuess": scan["probe"],
        "objectGuess": scan["obj"],
        "photons_per_pattern": float(scan["counts"].sum((1, 2)).mean()),
    } | replaced
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def residual(path):
    """Return R of all patterns of a prepared file, over the measured pixels, by this simulator."""
    with np.load(path) as file:
        data = dict(file)
    modes = data["probeGuess"].reshape(-1, *data["probeGuess"].shape[-2:])
    positions = np.stack([data["ycoords"], data["xcoords"]], 1)
    predicted = np.sqrt(sum(predict(data["objectGuess"], positions, mode) ** 2 for mode in modes))
    measured = data["diffraction"].astype(float)
    kept = data.get("mask", np.ones(measured.shape[1:], bool))
    measured, predicted = measured[:, kept], predicted[:, kept]
    scale = (predicted * measured).sum() / (predicted**2).sum()
    return float(np.abs(scale * predicted - measured).sum() / measured.sum())
