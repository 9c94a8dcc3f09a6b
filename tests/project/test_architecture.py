"""The house keeps its plan: layout, dependency direction, small modules (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ptycho_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))

TOP_LEVEL = {
    ".ci",
    ".devcontainer",
    ".gitignore",
    ".github",
    ".pre-commit-config.yaml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "benchmarks",
    "docs",
    "environment.yml",
    "mkdocs.yml",
    "notebooks",
    "ptycho_lib",
    "pyproject.toml",
    "requirements.lock",
    "studies",
    "templates",
    "tests",
}


def tracked() -> list[Path]:
    """Files in the repository, and those about to be added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).exists()]


def test_imports_keep_their_contracts() -> None:
    """The contracts in pyproject.toml: layers, no circles, TensorFlow and PyTorch in one subpackage each."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_modules_are_small_and_say_what_they_are(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "split it: one idea a module"
    assert module.stem not in {"utils", "util", "helpers", "misc", "common"}, "name it after its idea"
    assert ast.get_docstring(ast.parse(text)), "begin with a docstring that says what it is"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_nothing_is_read_from_globals_that_change(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]


def test_top_level_holds_only_what_the_plan_names() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert names <= TOP_LEVEL, f"unplanned: {sorted(names - TOP_LEVEL)}"
    assert names >= {"LICENSE", "Makefile", "README.md", "ptycho_lib", "pyproject.toml", "tests"}


def test_no_package_index_is_hard_coded() -> None:
    """Installations follow the user's own pip or conda settings: mirrors and closed networks must work."""
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "deb" + "ian.org"]
    pattern = re.compile("|".join(map(re.escape, hosts)) + "|--" + "(extra-)?index-url", re.IGNORECASE)
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary data
        if path.name != "Makefile" and pattern.search(text):
            found.append(str(path.relative_to(ROOT)))
    assert not found


def test_large_files_are_not_tracked() -> None:
    """Measured data of a study may take 8 MB."""
    limits = {".npz": 8_000_000}
    large = [
        str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > limits.get(path.suffix, 5_000_000)
    ]
    assert not large, "a repository is cloned by everyone; put large data elsewhere"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken
