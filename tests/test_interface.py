"""The names of `import ptycho_lib as pl`: loaded when used, documented, and enough for the script of the tutorial."""

import inspect
import re
import subprocess
import sys

import pytest
import yaml

import ptycho_lib as pl
from ptycho_lib.config import EvaluationConfig
from tests.conftest import ROOT

DOCS = ROOT / "docs"


def test_the_import_loads_nothing_but_itself():
    code = "import sys, ptycho_lib; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "matplotlib", "tensorflow", "h5py"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "name", [name for name in pl.__all__ if name not in {"networks", "train_model", "predict_patches"}]
)
def test_every_name_leads_to_a_documented_object(name):
    found = getattr(pl, name)
    assert inspect.getdoc(found)
    page = (DOCS / "reference" / "api" / "index.md").read_text(encoding="utf-8")
    assert f"[`{name}`]" in page


def test_the_stub_lists_what_it_imports():
    stub = (ROOT / "ptycho_lib" / "__init__.pyi").read_text(encoding="utf-8")
    imported = re.findall(r"^from \.[\w.]* import (.+)$", stub, re.MULTILINE)
    assert sorted(name for line in imported for name in line.split(", ")) == pl.__all__ == sorted(pl.__all__)


def test_defaults_of_a_reconstruction_are_those_of_a_study():
    defaults = EvaluationConfig()
    given = inspect.signature(pl.reconstruct).parameters
    assert given["min_illumination"].default == defaults.min_illumination
    assert given["synchronise"].default == defaults.synchronise_phases
    assert given["correct_drift"].default == defaults.correct_phase_drift
    assert inspect.signature(pl.Reconstruction.compare).parameters["max_shift_px"].default == defaults.max_shift_px


def test_the_script_of_the_tutorial_runs(tmp_path):
    """Load, train, reconstruct, compare, as the page prints it."""
    page = (DOCS / "tutorial" / "python.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(script.splitlines()) <= 12
    scan = yaml.safe_load((ROOT / "tests" / "smoke" / "simulation.yaml").read_text())
    scan |= {"name": "lines", "parts": {"train": {"n": 144}, "test": {"n": 49}}}
    (tmp_path / "simulation.yaml").write_text(yaml.safe_dump(scan))
    pl.simulate_study(tmp_path / "simulation.yaml", tmp_path / "data")
    settings = (ROOT / "tests" / "smoke" / "study.yaml").read_text()
    (tmp_path / "study.yaml").write_text(settings)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert 0.3 < float(done.stdout.split()[-1]) <= 1.0
    assert (tmp_path / "pinn_run" / "model.keras").exists()


@pytest.mark.parametrize("name", ["data", "evaluation", "iterative", "physics", "report"])
def test_subpackages_offer_all_their_modules(name):
    folder = ROOT / "ptycho_lib" / name
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    found = getattr(pl, name)
    assert set(found.__all__) == modules - {"__init__"}
    assert all(inspect.ismodule(getattr(found, module)) for module in found.__all__ if module != "ptychi_engine")
