"""A new scan of 100 000 patterns, reconstructed by a network within 3 GB.

Run ``python benchmarks/large_reconstruction.py [FOLDER [PATTERNS]]``: it simulates the scan (1.7 GB of disk) and
prints the peak of resident memory after each step. The network is small and not trained: memory and time are those of
any network of its width.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from large_scan import SIZE, reporter, simulated

from ptycho_lib.application.network import load_model
from ptycho_lib.config import NetworkConfig
from ptycho_lib.networks.batches import normalised_probe
from ptycho_lib.networks.models import build_pinn
from ptycho_lib.physics import probes

PATTERNS = 100_000


def main(folder: Path, patterns: int = PATTERNS) -> None:
    report = reporter()
    path = simulated(folder / "large_0.npz", patterns, 0)
    report(f"simulated ({path.stat().st_size / 1e9:.2f} GB)")
    probe = probes.defocus(probes.disc(SIZE, 30, smoothing_px=2), 6.0)
    build_pinn(NetworkConfig(width=4, first_guess_iterations=5), normalised_probe(probe)).save(folder / "model.keras")
    network = load_model(folder / "model.keras")
    report("network loaded")
    scan = network.open_scan(path)
    report("scan opened, every value checked")
    begin = time.process_time()
    result = network.reconstruct(scan)
    report(f"reconstructed: {result.usage.peak_memory_bytes / 1e9:.2f} GB, {time.process_time() - begin:.0f} s of CPU")
    result.save(folder / "reconstruction.npz", overwrite=True)
    report(f"saved; residual {result.total_residual:.3f}, flat object {result.flat_residual:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
