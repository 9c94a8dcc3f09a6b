"""Copy what the README shows out of the quick-start study: the study figure and the montage of phases.

Run ``python docs/make_readme_figures.py [STUDY_DIR]`` after ``make quickstart``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ptycho_lib.report import figures
from ptycho_lib.report.output.publication import publication_figure
from ptycho_lib.report.results import load_by_size, read_results

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"


def main(study_dir: Path) -> None:
    """Write siemens_star_results.png and siemens_star_montage.png."""
    study = read_results(study_dir)
    publication_figure(study).savefig(IMAGES / "siemens_star_results.png", dpi=150)
    objects = load_by_size(study)
    largest = objects[max(objects)]
    montage = figures.montage_figure(
        largest.truth,
        {size: run.aligned for size, run in objects.items()},
        largest.mask,
        seen=largest.seen,
        shared=largest.shared,
        component="phase",
        pixel_size_m=largest.pixel_size_m,
        truth_label=largest.truth_label,
    )
    montage.savefig(IMAGES / "siemens_star_montage.png", dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "studies" / "siemens_star" / "results")
