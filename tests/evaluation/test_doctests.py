"""The examples in the docstrings of evaluation, physics and sampling hold."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    *sorted((ROOT / "ptycho_lib" / "evaluation").glob("[a-z]*.py")),
    *sorted((ROOT / "ptycho_lib" / "physics").glob("[a-z]*.py")),
    ROOT / "ptycho_lib" / "data" / "sampling.py",
]
WITH_EXAMPLES = {"metrics", "alignment", "frc", "ssim", "comparison", "uncertainty"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_examples_of_a_module_hold(file):
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    with np.printoptions():
        outcome = doctest.testmod(module)
    assert outcome.failed == 0
    if file.parent.name == "evaluation" and file.stem in WITH_EXAMPLES:
        assert outcome.attempted > 0
