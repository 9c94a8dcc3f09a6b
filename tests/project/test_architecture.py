"""The house keeps its plan: layout, dependency direction, small modules (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ptycho_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each subpackage may import of the library besides itself; a longer name is a part of its own.
VOCABULARY = {"errors", "config", "metrics_table", "resource_usage", "optional_dependencies"}
BELOW_STUDY = VOCABULARY | {"io", "physics", "data"}
ALLOWED: dict[str, set[str]] = {
    "": set(),  # ptycho_lib/__init__.py
    "errors": set(),
    "optional_dependencies": {"errors"},
    "metrics_table": set(),
    "resource_usage": set(),
    "config": {"errors", "io"},
    "io": {"errors"},
    "physics": {"errors"},
    "data": VOCABULARY | {"io", "physics"},
    "data/readers": BELOW_STUDY,
    "data/prepare": BELOW_STUDY | {"data/readers", "data/check"},
    "data/check": BELOW_STUDY | {"data/readers", "data/prepare"},
    "data/simulation": BELOW_STUDY | {"data/readers"},
    "networks": BELOW_STUDY,
    "evaluation": BELOW_STUDY,
    "iterative": BELOW_STUDY | {"evaluation"},
    "study/folder": BELOW_STUDY | {"evaluation"},
    "study/execution": BELOW_STUDY | {"data/check", "evaluation", "study", "study/folder"},
    "study/results": BELOW_STUDY | {"evaluation", "study/folder"},
    "study": BELOW_STUDY | {"data/check", "evaluation", "study/folder", "study/execution"},
    "report": BELOW_STUDY | {"evaluation", "study", "study/folder", "study/results"},
    "report/figures": BELOW_STUDY | {"evaluation", "report", "study/folder", "study/results"},
    "report/text": BELOW_STUDY
    | {"data/check", "evaluation", "report", "report/figures", "study", "study/folder", "study/results"},
    "report/output": BELOW_STUDY
    | {"report", "report/figures", "report/text", "study/folder", "study/execution", "study/results"},
    "report/widgets": BELOW_STUDY
    | {"data/check", "data/simulation", "evaluation", "report", "report/figures", "report/text"}
    | {"report/output", "study/folder", "study/execution", "study/results"},
}
ALLOWED["cli"] = {part for part in ALLOWED if part not in {"", "networks"}}

TOP_LEVEL = {
    ".ci",
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


def part_of(names: tuple[str, ...]) -> str:
    """Return the part of the library that a dotted or slashed name below `ptycho_lib` belongs to."""
    longest = "/".join(names[:2])
    return longest if longest in ALLOWED else names[0].removesuffix(".py")


def own_part(module: Path) -> str:
    """Return the part that a module belongs to; empty for the package's own `__init__`."""
    names = module.relative_to(PACKAGE).parts
    return "" if names == ("__init__.py",) else part_of(names)


def library_imports(source: str) -> set[str]:
    """Return the parts that a source imports, at whatever depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    split = [tuple(name.split(".")) for name in names]
    parts = {part_of(name[1:]) for name in split if name[0] == "ptycho_lib" and len(name) > 1}
    return parts & set(ALLOWED)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_dependencies_point_one_way(module: Path) -> None:
    own = own_part(module)
    assert own in ALLOWED, f"{own} is new; give it a place in ARCHITECTURE.md and in ALLOWED"
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
        *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken
