"""What the first guesses that a study keeps save: processor seconds of the predictions of one run.

Run ``python benchmarks/shared_guesses.py``: two networks predict test and training scan of the Siemens star with three
probe modes, as a run does, compiling included: without a cache, as the first run of a study, and as all later ones.
A process for each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.networks.batches import probe_in_use
from ptycho_lib.networks.models import build_baseline, build_pinn
from ptycho_lib.networks.prediction import predict_patches

STAR = Path(__file__).parents[1] / "studies/siemens_star"
RAW, MODES = (STAR / f"siemens_star_velociprobe_n64_{name}.npz" for name in ("raw", "probe_modes"))
CACHES = {"without a cache": "", "first run of a study": "cache", "later runs": "cache"}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ptycho-guesses-") as name:
        folder = Path(name)
        files = prepare(RAW, folder, probe_file=str(MODES))
        for what, cache in CACHES.items():
            command = [sys.executable, __file__, *map(str, files), str(folder / cache) if cache else ""]
            spent = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"{what:<24}{float(spent):8.2f} s", flush=True)


def predict(train: str, test: str, cache: str) -> float:
    """Return the processor seconds of four predictions."""
    scans = [load_dataset(test), load_dataset(train)]
    config = NetworkConfig()
    networks = [build(config, probe_in_use(scans[1], config)) for build in (build_pinn, build_baseline)]
    cached, started = ArrayCache(Path(cache)) if cache else None, time.process_time()
    for scan in scans:
        for network in networks:
            predict_patches(network, scan, cached=cached)
    return time.process_time() - started


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(predict(*sys.argv[1:4]))
    else:
        main()
