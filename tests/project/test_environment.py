"""pyproject.toml is the only list of dependencies: imports, lock, conda and documentation agree with it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ptycho_lib import optional_dependencies

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Dependencies that are started rather than imported, and the file that shows it.
STARTED = {"ipykernel": "templates/train_and_compare.ipynb", "jupyterlab": "Makefile"}
# What `all` names, and what else the library can import.
INSTALLED = ("networks", "study", "lab")
ON_REQUEST = ("cluster", "iterative", "mlflow")
# Imported under a name that a dependency of ours provides and re-exports as its own public interface.
PART_OF = {"keras": "tensorflow", "mlflow": "mlflow-skinny"}


def requirements(entries: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(entry) for entry in entries]
    return {canonicalize_name(entry.name): entry for entry in parsed}


def declared(*extras: str) -> set[str]:
    """Return the names that the core and some extras declare."""
    return set(requirements([*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]))


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def code_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def third_party_imports(sources: list[Path]) -> set[str]:
    """Return the distributions that sources import, at whatever depth of the code."""
    names = set()
    for source in sources:
        for node in ast.walk(ast.parse(code_of(source))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    names -= sys.stdlib_module_names | {"ptycho_lib"}
    known = packages_distributions()
    return {canonicalize_name(PART_OF.get(name) or known.get(name, [name])[0]) for name in names}


def library_sources() -> list[Path]:
    folders = [
        (ROOT / "ptycho_lib", "*.py"),
        (ROOT / "templates", "*.ipynb"),
        (ROOT / "notebooks", "*.ipynb"),
    ]
    return [path for folder, pattern in folders for path in sorted(folder.rglob(pattern))]


def test_every_import_is_declared() -> None:
    undeclared = third_party_imports(library_sources()) - declared(*INSTALLED, *ON_REQUEST)
    assert not undeclared


def test_every_dependency_is_used() -> None:
    unused = declared(*INSTALLED) - third_party_imports(library_sources()) - set(STARTED)
    assert not unused


def test_extras_name_the_modules_that_messages_look_for() -> None:
    """`optional_dependencies.EXTRAS` is what a message says is missing; the extra must install it."""
    known = packages_distributions()
    for extra, modules in optional_dependencies.EXTRAS.items():
        for module in modules:
            if module in known:  # iterative and cluster need not be installed here
                assert canonicalize_name(known[module][0]) in requirements(EXTRAS[extra])


def test_all_is_what_a_study_needs() -> None:
    assert EXTRAS["all"] == [f"ptycho-lib[{','.join(INSTALLED)}]"]


WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {absent!r} else self.finder.find_spec(name, path, target)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""


def in_the_core(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where no extra can be imported."""
    absent = {name for names in optional_dependencies.EXTRAS.values() for name in names}
    source = WITHOUT.format(absent=absent) + code
    return subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_core_reads_checks_measures_and_draws_without_extras(tmp_path: Path) -> None:
    star = ROOT / "studies" / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"
    code = f"""
from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.evaluation.comparison import compare_objects, comparison_mask
from ptycho_lib.report.figures import dataset_figure
from ptycho_lib.cli.main import main

train, test = map(load_dataset, prepare({str(star)!r}, {str(tmp_path)!r}))
mask = abs(test.obj) > 0
table = compare_objects(test.obj, test.obj, mask, max_shift_px=1.0)
assert table.query("metric == 'ssim' and component == 'phase'")["value"].min() > 0.999
dataset_figure(test).savefig({str(tmp_path / "figure.pdf")!r})
"""
    done = in_the_core(code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.pdf").stat().st_size > 10_000


def test_a_command_that_needs_an_extra_says_which() -> None:
    code = "from ptycho_lib.cli.main import main; main(['run', 'a.npz', 'b.npz', 'out'])"
    done = in_the_core(code)
    assert done.returncode == 2, done.stderr
    assert "pip install 'ptycho-lib[study]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_started_dependencies_are_started() -> None:
    assert "jupyter lab" in (ROOT / STARTED["jupyterlab"]).read_text(encoding="utf-8")
    kernel = json.loads((ROOT / STARTED["ipykernel"]).read_text(encoding="utf-8"))["metadata"]["kernelspec"]
    assert kernel["name"] == "python3"


@pytest.mark.parametrize("group", ["dependencies", *EXTRAS])
def test_lock_holds_a_version_that_the_declaration_allows(group: str) -> None:
    declared = requirements(PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group])
    pins = locked()
    for name, requirement in declared.items():
        if name != PROJECT["name"] and not requirement.marker:
            assert name in pins, f"{name} is not locked; run `make lock`"
            assert pins[name] in requirement.specifier, f"{name} {pins[name]} is locked; run `make lock`"


def test_lower_bounds_have_no_caps() -> None:
    """`make test-lowest` runs a study with the bounds themselves; a cap would keep users from their other packages."""
    entries = [PROJECT["dependencies"], *(EXTRAS[extra] for extra in INSTALLED)]
    for name, requirement in requirements([entry for group in entries for entry in group]).items():
        (bound,) = requirement.specifier
        assert bound.operator == ">=", f"{name}: an upper cap needs a reason"


def test_lock_pins_exact_versions_and_names_no_source() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert len(entries) > 100
    assert all(re.fullmatch(r"[a-z0-9._-]+==[^\s@;]+", entry) for entry in entries)


def test_conda_environment_is_the_same_environment() -> None:
    """Python comes from conda, everything else from the lock and pyproject.toml; nothing is listed twice."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert {entry.split("=")[0] for entry in conda} == {"python", "pip"}
    python = next(entry.split("=")[1] for entry in conda if entry.startswith("python="))
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert Version(python) in allowed
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^EXTRAS := (\S+)$", makefile, re.MULTILINE)
    assert extras
    assert pip == {"pip": ["-c requirements.lock", f"-e .[{extras.group(1)}]"]}
    assert "-c requirements.lock -e '.[$(EXTRAS)]'" in makefile


def test_version_has_one_source() -> None:
    import ptycho_lib

    assert "version" in PROJECT["dynamic"]
    assert Version(ptycho_lib.__version__)


def test_configuration_page_is_in_step() -> None:
    command = [sys.executable, "docs/make_configuration.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_lists_its_targets() -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, env=clean, timeout=60, check=True)
    for target in ("setup", "quickstart", "test", "check", "lab", "clean"):
        assert re.search(rf"^  {target} ", done.stdout, re.MULTILINE)


def test_an_old_python_is_refused_with_the_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "-C", str(ROOT), "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean, timeout=60)
    assert done.returncode != 0
    assert "Python 3.8.1" in done.stdout
    assert "make PYTHON=" in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
def test_wheel_carries_the_templates(tmp_path: Path) -> None:
    """An installed package, without a checkout beside it, finds its templates."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("ptycho_lib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "ptycho_lib/_templates/train_and_compare.ipynb" in names
    assert "ptycho_lib/_templates/summarize_study.ipynb" in names
    assert "ptycho_lib/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "templates/"))]
    code = (
        "from ptycho_lib.study.folder.templates import template_path; print(template_path('train_and_compare.ipynb'))"
    )
    clean = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "site" / "ptycho_lib" / "_templates" / "train_and_compare.ipynb")
