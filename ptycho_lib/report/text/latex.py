"""Tables as LaTeX for papers: numbers in siunitx columns, the best in bold."""

from __future__ import annotations

import re

import pandas as pd

from ptycho_lib.report.text.tables import Table

LATEX = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "²": r"$^2$", "–": "--", " %": r"\,\%", "−": "$-$"}
PACKAGES = r"""% \usepackage{booktabs,multirow,siunitx}
% \sisetup{separate-uncertainty, table-align-uncertainty, detect-weight, mode=text}
"""


def to_latex(table: Table, label: str = "tab:generalization", note: str = "") -> str:
    r"""Return a table as LaTeX for the packages booktabs, multirow and siunitx.

    Parameters
    ----------
    table : Table
    label : str
        For `\\ref`.
    note : str
        Ends the caption.

    Returns
    -------
    str
        Numbers stand in S columns, aligned at their decimal markers; the first lines name the packages.
    """
    caption = " ".join(filter(None, (table.caption, re.sub(r"([&#_$])", r"\\\1", note))))
    weights = table.best.map(lambda wins: "font-weight: bold;" if wins else "")
    weights = weights.where(table.text.map(_is_number), "")
    styler = (
        table.text.style.format(_latex_cell)
        .format_index(escape="latex", axis=1)
        .format_index(escape="latex", axis=0)
        .apply(lambda _: weights, axis=None)
    )
    columns = "l" * table.text.index.nlevels + "".join(_latex_column(table.text[name]) for name in table.text)
    source = styler.to_latex(
        column_format=columns,
        siunitx=True,
        hrules=True,
        convert_css=True,
        label=label,
        position_float="centering",
        caption=caption,
    )
    for character, command in LATEX.items():
        source = source.replace(character, command)
    return PACKAGES + source


def _is_number(text: str) -> bool:
    return re.fullmatch(r"−?\d+(\.\d+)?( ± \d+(\.\d+)?)?", text) is not None


def _latex_cell(text: str) -> str:
    """Return a number as siunitx reads it, any other text in braces."""
    if _is_number(text):
        return text.replace("−", "-").replace(" ± ", " +- ")
    escaped = re.sub(r"([&%#_])", r"\\\1", text)
    return f"{{{escaped.replace('<', '$<$')}}}"


def _latex_column(cells: pd.Series) -> str:
    """Return the S column that fits the numbers of a column; a left-aligned one if it holds none."""
    numbers = [text.replace("−", "-").split(" ± ") for text in cells if _is_number(text)]
    if not numbers:
        return "l"
    values = [parts[0].partition(".") for parts in numbers]
    whole = max(len(value[0].lstrip("-")) for value in values)
    sign = "-" if any(value[0].startswith("-") for value in values) else ""
    decimals = max(len(value[2]) for value in values)
    margin = max((len(parts[1].replace(".", "").lstrip("0")) for parts in numbers if len(parts) > 1), default=0)
    return f"S[table-format={sign}{whole}.{decimals}" + (f"({margin})" if margin else "") + "]"
