"""Make the files of measured data that `studies/` ships, small enough to ship.

``python studies/make_measured.py star tike-0.26.0.tar.gz`` takes the Siemens star at its full detector from the source
distribution of tike (`pip download tike==0.26.0 --no-deps --no-binary :all:`), or from the file
``siemens-star-small.npz.bz2`` in its ``tests/data``.
``python studies/make_measured.py nanoprobe SOURCE.npz`` codes the counts of the CNM nanoprobe.
``python studies/make_measured.py reference KEPT.npz TARGET.npz`` shortens what
`prepare --reference iterative-apart` keeps.

Files are compressed by bzip2, which `numpy.load` reads; the same input gives the same bytes.
"""

from __future__ import annotations

import bz2
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

STUDIES = Path(__file__).parent
STAR = STUDIES / "siemens_star_n128" / "siemens_star_n128_raw.npz"
NANOPROBE = STUDIES / "cnm_nanoprobe" / "cnm_nanoprobe_raw.npz"
PROBES = STUDIES / "siemens_star" / "velociprobe_probes.npz"
IN_TIKE = "tests/data/siemens-star-small.npz.bz2"
STEP = 0.5
"""Step of the square roots of the nanoprobe's counts: the standard deviation that photon noise gives them."""
DIGITS = 12
"""Binary digits that real and imaginary parts of reconstructed objects keep."""
MARGIN_PX = 6


def main(what: str, source: Path, target: Path | None = None) -> None:
    """Make one of the files."""
    if what == "star":
        write(target or STAR, star(source))
    elif what == "nanoprobe":
        write(target or NANOPROBE, nanoprobe(source))
    elif what == "reference" and target is not None:
        with np.load(source, allow_pickle=False) as kept:
            write(target, {key: shortened(kept[key]) for key in kept.files})
    else:
        sys.exit(__doc__)


def star(source: Path) -> dict[str, np.ndarray]:
    """Return the star's counts with DC in the middle, positions in object pixels, and the refined single-mode probe."""
    if source.name.endswith(".tar.gz"):
        with tarfile.open(source) as archive:
            name = next(name for name in archive.getnames() if name.endswith(IN_TIKE))
            packed = archive.extractfile(name).read()
    else:
        packed = source.read_bytes()
    with np.load(io.BytesIO(bz2.decompress(packed)), allow_pickle=False) as file:
        counts, scan = file["data"][0], file["scan"][0].astype(float)
    positions = scan - scan.min(axis=0) + counts.shape[-1] / 2 + MARGIN_PX
    return {
        "diff3d": np.fft.fftshift(counts, axes=(1, 2)).astype(np.uint16),
        "xcoords": positions[:, 1],
        "ycoords": positions[:, 0],
        "probeGuess": np.load(PROBES)["probe_n128"],
    }


def nanoprobe(source: Path) -> dict[str, np.ndarray]:
    """Return all patterns with coded counts, positions and the single-mode probe; not the object."""
    with np.load(source, allow_pickle=False) as file:
        arrays = {key: file[key] for key in ("diff3d", "xcoords", "ycoords", "probeGuess")}
    counts = arrays["diff3d"]
    arrays["diff3d"] = coded(counts)
    change = np.sqrt(arrays["diff3d"].astype(float)) - np.sqrt(counts.astype(float))
    print(f"standard deviation of the change of the square roots: {change.std():.3f}; of photon noise: 0.5")
    return arrays


def coded(counts: np.ndarray) -> np.ndarray:
    """Return counts whose square roots were rounded to multiples of `STEP`."""
    return np.rint(np.square(np.rint(np.sqrt(counts.astype(float)) / STEP) * STEP)).astype(counts.dtype)


def shortened(array: np.ndarray) -> np.ndarray:
    """Return complex numbers with fewer digits, relative to the largest modulus; other arrays as they are."""
    if array.dtype.kind != "c":
        return array
    unit = 2.0 ** (np.ceil(np.log2(np.abs(array).max())) - DIGITS)
    return (np.rint(array / unit) * unit).astype(np.complex64)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz compressed by bzip2, without dates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for key, array in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_BZIP2
            with archive.open(info, "w") as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", *map(Path, sys.argv[2:4]))
