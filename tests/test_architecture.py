"""The house keeps its plan: layout, dependency direction, small modules (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ptycho_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each wing may import of the library besides itself. `errors`, `tidy` and `usage` are vocabulary:
# they import nothing.
ALLOWED: dict[str, set[str]] = {
    "": set(),  # ptycho_lib/__init__.py
    "errors": set(),
    "extras": {"errors"},
    "tidy": set(),
    "usage": set(),
    "settings_file": {"errors"},
    "config": {"errors", "settings_file"},
    "physics": {"errors"},
    "data": {"errors", "settings_file", "config", "physics"},
    "networks": {"errors", "usage", "config", "physics", "data"},
    "iterative": {"errors", "extras", "usage", "config", "physics", "data", "evaluation"},
    "evaluation": {"errors", "tidy", "usage", "physics", "data"},
    "study": {"errors", "extras", "tidy", "usage", "settings_file", "config", "data"},
    "report": {"errors", "tidy", "config", "physics", "data", "evaluation", "study"},
    "cli_data": {"errors", "extras", "config", "physics", "data", "iterative", "report"},
    "cli_study": {"errors", "config", "study", "cli_results"},
    "cli_results": {"errors", "evaluation", "study", "report"},
    "cli": {"errors", "cli_data", "cli_study", "cli_results"},
}

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "docs",
    "environment.yml",
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


def wing(module: Path) -> str:
    """Return the wing that a module belongs to; empty for the package's own `__init__`."""
    first = module.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def library_imports(source: str) -> set[str]:
    """Return the wings that a source imports, at whatever depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "ptycho_lib" and len(part) > 1 and part[1] in ALLOWED}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_dependencies_point_one_way(module: Path) -> None:
    own = wing(module)
    assert own in ALLOWED, f"{own} is a new wing; give it a place in ARCHITECTURE.md and in ALLOWED"
    extra = library_imports(module.read_text(encoding="utf-8")) - ALLOWED[own] - {own}
    assert not extra, f"{own or 'ptycho_lib'} must not import {sorted(extra)}"


def test_import_scan_sees_every_form() -> None:
    source = (
        "import ptycho_lib.physics.scan\n"
        "from ptycho_lib import report\n"
        "def later():\n    from ptycho_lib.networks.models import build\n"
    )
    assert library_imports(source) == {"physics", "report", "networks"}


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
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 5_000_000]
    assert not large, "a repository is cloned by everyone; put large data elsewhere"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        *sorted(p.name for p in (ROOT / "docs").glob("*.md")),
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page if (ROOT / page).exists() else ROOT / "docs" / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken
