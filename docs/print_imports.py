"""Print which parts of the library import which, and how many lines each has: `make imports`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import grimp

PACKAGE = Path(__file__).resolve().parents[1] / "ptycho_lib"
ROOMS = ("data", "study", "report")
"""Subpackages whose own parts are shown, too."""


def part(module: str, depth: int) -> str:
    """Return the first parts of a module's name below the package.

    >>> part("ptycho_lib.study.folder.record", 2)
    'study.folder'
    """
    return ".".join(module.split(".")[1 : 1 + depth])


def arrows(graph: grimp.ImportGraph, depth: int, room: str = "") -> dict[str, set[str]]:
    """Return what each part imports, of the package or of one subpackage."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            here, there = part(module, depth), part(other, depth)
            inside = not room or (part(module, 1) == room == part(other, 1))
            if inside and here and there and here != there:
                found[here].add(there)
    return found


def lines(name: str) -> int:
    """Return the lines of Python in a subpackage or module."""
    path = PACKAGE / name
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def main() -> None:
    """Print the graph of the package, then that of each large subpackage."""
    graph = grimp.build_graph("ptycho_lib")
    parts = sorted({part(module, 1) for module in graph.modules} - {""})
    between = arrows(graph, 1)
    for name in parts:
        print(f"{name:22}{lines(name):6} lines -> {', '.join(sorted(between[name])) or 'nothing'}")
    print(f"{'in all':22}{sum(map(lines, parts)):6} lines, {sum(map(len, between.values()))} arrows")
    for room in ROOMS:
        print(f"\nwithin {room}:")
        for name, others in sorted(arrows(graph, 2, room).items()):
            print(f"  {name:22} -> {', '.join(sorted(others))}")


if __name__ == "__main__":
    main()
