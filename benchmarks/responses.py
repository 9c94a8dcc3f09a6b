"""How long single steps take on one core, beside what is expected of them.

Run ``python benchmarks/responses.py`` on an idle machine. Each step is repeated five times in this process, and
the least processor time counts. ``benchmarks/overhead.py`` times the commands and a study of a thousand runs,
``benchmarks/simulation.py`` the simulation, ``benchmarks/networks.py`` the networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np

from ptycho_lib.data.readers import open_dataset
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.evaluation.comparison import compare_objects
from ptycho_lib.evaluation.stitching import stitch
from ptycho_lib.physics.diffraction import extract_patches
from ptycho_lib.report.figures import dataset_figure

STAR = Path(__file__).parents[1] / "studies/siemens_star/siemens_star_velociprobe_n64_raw.npz"


def steps() -> dict[str, tuple[Callable[[], object], float]]:
    """Return each step and the seconds that are expected of it."""
    rng = np.random.default_rng(0)
    star = open_dataset(STAR)
    obj = np.asarray(star.obj)
    positions = rng.uniform(32, min(obj.shape) - 32, (1000, 2))
    patches = extract_patches(obj, positions, 32) * np.exp(1j * rng.uniform(-3, 3, (1000, 1, 1)))
    many = rng.uniform(0, 1000, (100_000, 2))
    inside = np.ones(obj.shape, bool)
    return {
        "stitch 1000 patches of 32 x 32": (lambda: stitch(patches.astype(np.complex64), positions, obj.shape), 0.5),
        f"compare objects of {obj.shape[0]} x {obj.shape[1]}": (
            lambda: compare_objects(obj, obj + 0.01, inside, max_shift_px=2.0),
            1.0,
        ),
        "order 100 000 positions": (lambda: subset_order(many, "representative", 0), 15.0),
        "draw a picture of a dataset": (lambda: dataset_figure(star).savefig(BytesIO(), format="png"), 1.0),
    }


def main() -> None:
    """Print a row a step."""
    print(f"{'step':40}{'seconds':>9}{'expected':>10}")
    for name, (step, expected) in steps().items():
        taken = []
        for _ in range(5):
            begun = time.process_time()
            step()
            taken.append(time.process_time() - begun)
        print(f"{name:40}{min(taken):9.3f}{expected:10.1f}{'' if min(taken) <= expected else '  slower than expected'}")


if __name__ == "__main__":
    main()
