"""TensorFlow and PyTorch are imported in their subpackages alone, so that everything else starts at once."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ptycho_lib"
HEAVY = ("tensorflow", "keras", "torch", "torchvision", "ptychi")
NEEDS_AN_EXTRA = {"ptycho_lib.study.execution.dask_cluster": "distributed"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


LIGHT = [
    module_name(path)
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"application", "networks"} & set(path.relative_to(PACKAGE).parts) and path.name != "ptychi_engine.py"
]


def imported_by(statement: str) -> set[str]:
    """Return the top-level names in sys.modules of a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


EACH_ALONE = """
import importlib, sys
for name in {names!r}:
    subpackage = name.split(".")[:2]
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[:2] == subpackage]:
        del sys.modules[loaded]
    importlib.import_module(name)
    heavy = set({heavy!r}) & set(sys.modules)
    assert not heavy, f"{{name}} imports {{heavy}}"
"""


def test_each_module_imports_alone_and_without_tensorflow() -> None:
    """No module may need another one of its subpackage to have been imported before it: these are forgotten each time.

    Between subpackages imports point one way, which the contracts in pyproject.toml check.
    """
    names = [name for name in LIGHT if find_spec(NEEDS_AN_EXTRA.get(name, "sys"))]
    assert len(names) > 100
    code = EACH_ALONE.format(names=names, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["ptycho_lib", "ptycho_lib.cli.main", "ptycho_lib.study", "ptycho_lib.report.figures"])
def test_what_is_imported_first_imports_in_a_fresh_interpreter(name: str) -> None:
    modules = imported_by(f"import {name}")
    assert "ptycho_lib" in modules
    assert not modules.intersection(HEAVY)


def test_scan_would_see_tensorflow() -> None:
    """The test above can fail: a module of the networks subpackage does import it."""
    pattern = re.compile(r"^(import|from) (keras|tensorflow)\b", re.MULTILINE)
    heavy = [path for path in sorted((PACKAGE / "networks").glob("*.py")) if pattern.search(path.read_text())]
    assert heavy
    assert {"tensorflow", "keras"} <= imported_by(f"import {module_name(heavy[0])}")


def test_pytorch_stays_in_one_module() -> None:
    pattern = re.compile(r"^\s*(import|from) (torch|torchvision|ptychi)\b", re.MULTILINE)
    found = [path for path in sorted(PACKAGE.rglob("*.py")) if pattern.search(path.read_text())]
    assert found == [PACKAGE / "iterative" / "ptychi_engine.py"]


@pytest.mark.iterative
def test_networks_do_without_pytorch_and_iterations_without_tensorflow() -> None:
    assert not {"torch", "ptychi"} & imported_by("import ptycho_lib.networks.training")
    assert not {"tensorflow", "keras"} & imported_by("import ptycho_lib.iterative.ptychi_engine")


def test_help_imports_nothing_that_is_slow_to_load() -> None:
    """So it answers at once; benchmarks/overhead.py has the seconds."""
    command = [sys.executable, "-m", "ptycho_lib.cli.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    slow = {*HEAVY, "matplotlib", "numpy", "pandas", "papermill", "scipy", "skimage"}
    assert not imported_by("import ptycho_lib.cli.main") & slow
