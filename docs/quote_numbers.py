"""Numbers in prose that come from tables: check them, or write them anew.

Usage: python docs/quote_numbers.py [--check]

A quoted number is followed by a comment that names its table (relative to the page), the rows and the column:

    phase SSIM 0.924<!-- = outcome/study_summary.csv n_train=256 model=pinn component=phase metric=ssim -->

or stand in a table that is made of them:

    <!-- = table outcome/study_summary.csv n_train=1024 metric=ssim rows=condition columns=model,component -->
    <!-- end -->

For a number exactly one row must match. Where the table has these columns, `alignment=aligned` and `condition=nominal`
are understood, and the column is `mean` unless `column=` names another. The digits that are quoted decide the rounding;
a percent sign behind the number multiplies by 100.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"<!-- = table (?P<source>[^>]+?) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)
QUOTE = re.compile(r"(?P<number>[-−]?\d[\d ]*(?:\.\d+)?)(?P<percent> ?%)?(?P<bold>\**)<!-- = (?P<source>[^>]+?) -->")
LABELS = {
    "pinn": "PtychoPINN",
    "pinn+iterative": "PtychoPINN, then iterative",
    "baseline+iterative": "baseline, then iterative",
}
UNDERSTOOD = {"alignment": "aligned", "condition": "nominal"}
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FROM_A_TABLE = re.compile(r"(?<![\w.])0\.\d{3,}(?!\d)")
"""Metrics are quoted to three digits or more; what looks like one must say where it comes from."""


def pages() -> list[Path]:
    """Return the pages whose numbers must name their tables."""
    return [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted(ROOT.glob("studies/*/README.md"))]


def rows_of(page: Path, source: str, *free: str) -> tuple[pd.DataFrame, str]:
    """Return the rows of a table that a comment names, and the column.

    Parameters
    ----------
    page : Path
        The page that quotes them.
    source : str
        Table, then `column=value` for each condition on the rows, as in the comment.
    *free : str
        Columns on which no condition is understood.

    Returns
    -------
    (DataFrame, str)

    Raises
    ------
    ValueError
        If the table or a column is missing.
    """
    name, *conditions = source.split()
    path = page.parent / name
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    table = pd.read_csv(path)
    wanted = dict(condition.split("=", 1) for condition in conditions)
    column = wanted.pop("column", "mean")
    wanted = {key: value for key, value in UNDERSTOOD.items() if key in table and key not in free} | wanted
    missing = [key for key in (column, *wanted, *free) if key not in table]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}")
    for key, value in wanted.items():
        table = table[table[key].map(lambda found, value=value: _equal(found, value))]
    return table, column


def value_of(page: Path, source: str) -> float:
    """Return the value that a comment names; ValueError if not exactly one row matches."""
    table, column = rows_of(page, source)
    if len(table) != 1:
        raise ValueError(f"{len(table)} rows match {source}, expected one")
    return float(table[column].iloc[0])


def markdown_table(page: Path, source: str) -> str:
    """Return the table that a comment describes by `rows=` and `columns=`; ValueError if it is not one value a cell."""
    *words, rows, columns = source.split()
    row, heads = rows.removeprefix("rows="), columns.removeprefix("columns=").split(",")
    table, column = rows_of(page, " ".join(words), row, *heads)
    if table.duplicated([row, *heads]).any() or table.empty:
        raise ValueError(f"{source} describes {len(table)} values, not one a cell")
    orders = {key: list(dict.fromkeys(table[key])) for key in (row, *heads)}
    cells = table.set_index([row, *heads])[column].unstack(heads).reindex(orders[row])
    names = [name if isinstance(name, tuple) else (name,) for name in cells.columns]
    order = sorted(range(len(names)), key=lambda i: [orders[key].index(names[i][j]) for j, key in enumerate(heads)])
    titles = [", ".join(LABELS.get(str(part), str(part)) for part in names[i]) for i in order]
    lines = [f"| {row.replace('_', ' ')} | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for label, values in zip(cells.index, cells.to_numpy(), strict=True):
        shown = ["" if pd.isna(values[i]) else f"{values[i]:.3f}" for i in order]
        lines.append(f"| {LABELS.get(str(label), label)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _equal(found: object, value: str) -> bool:
    try:
        return float(str(found)) == float(value)
    except ValueError:
        return str(found) == value


def rounded(value: float, like: str, *, percent: bool = False) -> str:
    """Return a value with the digits of a quoted number.

    >>> rounded(0.92351, "0.9"), rounded(0.125, "10", percent=True), rounded(-0.5, "−0.1")
    ('0.9', '12', '−0.5')
    """
    digits = len(like.partition(".")[2])
    text = f"{value * (100 if percent else 1):.{digits}f}"
    return text.replace("-", "−") if "−" in like or text.startswith("-") else text


def requoted(page: Path) -> tuple[str, list[str]]:
    """Return a page with all quoted numbers as in their tables, and what had to be changed or could not be found."""
    text, problems = page.read_text(encoding="utf-8"), []

    def replace(match: re.Match[str]) -> str:
        try:
            value = value_of(page, match["source"])
        except ValueError as error:
            problems.append(f"{page.relative_to(ROOT)}: {match['number']}: {error}")
            return match[0]
        now = rounded(value, match["number"], percent=bool(match["percent"]))
        if now != match["number"].replace("-", "−"):
            problems.append(f"{page.relative_to(ROOT)}: {match['number']} is quoted, {now} stands in {match['source']}")
        return now + match[0][len(match["number"]) :]

    def replace_table(match: re.Match[str]) -> str:
        try:
            now = f"\n{markdown_table(page, match['source'])}\n\n"
        except ValueError as error:
            problems.append(f"{page.relative_to(ROOT)}: {error}")
            return match[0]
        if now != match["body"]:
            problems.append(f"{page.relative_to(ROOT)}: the table of {match['source']} is out of step")
        return match[0].replace(f"-->\n{match['body']}<!-- end", f"-->\n{now}<!-- end")

    return TABLE.sub(replace_table, QUOTE.sub(replace, text)), problems


def unsourced(page: Path) -> Iterator[str]:
    """Yield the numbers of a page that look like metrics and name no table."""
    text = TABLE.sub("", QUOTE.sub("", CODE.sub("", page.read_text(encoding="utf-8"))))
    for match in FROM_A_TABLE.finditer(COMMENT.sub("", text)):
        yield f"{page.relative_to(ROOT)}: {match[0]} names no table"


def main(arguments: list[str]) -> int:
    """Check or write the pages; return the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    problems = [problem for page in pages() for problem in unsourced(page)]
    for page in pages():
        text, changed = requoted(page)
        problems += changed
        if not arguments:
            page.write_text(text, encoding="utf-8")
    print("\n".join(problems) or "Every quoted number equals its table.")
    return int(bool(problems) and bool(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
