"""The code that computes a run's numbers, as a fingerprint.

It covers the listed modules and the computing cells of the template, by their content. Comments, docstrings
and layout do not count, nor do readers, figures and commands: a corrected sentence or a new figure leaves
three days of runs valid.
"""

from __future__ import annotations

import hashlib
import io
import os
import tokenize
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import ptycho_lib
from ptycho_lib.model_names import RunKind
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.folder.templates import TEMPLATE_VARIABLE, computing_cells, template_path

_COMMON = (
    *("physics/diffraction.py", "physics/probes.py", "physics/scan.py", "evaluation/*.py"),
    *("data/conditions.py", "data/reprojection.py", "data/sampling.py", "data/thinning.py"),
    *("study/reconstruct.py", "study/selection.py"),
)
_CONTROL = ("backbones", "batches", "first_guess", "guesses", "layers", "losses", "models", "network", "prediction")
MODULES: dict[str, tuple[str, ...]] = {
    "trained": (*_COMMON, "networks/*.py"),
    "hybrid": (*_COMMON, "networks/*.py", "iterative/*.py"),
    "untrained": (*_COMMON, *(f"networks/{name}.py" for name in _CONTROL)),
    "iterative": (*_COMMON, "iterative/*.py"),
}
"""The modules that compute the numbers of each kind of run; `hybrid` is a trained run with iterative models."""

_NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_MARKS = {tokenize.NEWLINE: "\n", tokenize.INDENT: "\x01", tokenize.DEDENT: "\x02"}


def code_key(kind: RunKind, models: Iterable[str]) -> str:
    """Return the key of `MODULES` for a run of this kind that computes these models."""
    return "hybrid" if kind == "trained" and any("+" in model for model in models) else kind


def code_fingerprints(template: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 (hex) of the code behind each kind of run, keyed as `MODULES`.

    Parameters
    ----------
    template : Path, optional
        Notebook of the runs that train networks; by default the one that the present kernel executes.

    Raises
    ------
    OSError, ValueError, KeyError
        If the template cannot be read.
    """
    package = Path(ptycho_lib.__file__).resolve().parent
    named = {key: sorted({path for one in globs for path in package.glob(one)}) for key, globs in MODULES.items()}
    digests = {path: _digest(statements(path.read_text(encoding="utf-8"))) for path in set().union(*named.values())}
    found = {}
    for key, modules in named.items():
        total = hashlib.sha256()
        for path in modules:
            total.update(f"{path.relative_to(package).as_posix()} {digests[path]}\n".encode())
        total.update("\n".join(map(statements, computing_cells(_template(key, template)))).encode())
        found[key] = total.hexdigest()
    return found


def executing_template() -> Path | None:
    """Return the template that the present kernel executes, or None if it is the shipped one."""
    name = os.environ.get(TEMPLATE_VARIABLE)
    return Path(name) if name else None


@lru_cache(maxsize=512)  # a process that begins many runs reads the same modules for each
def statements(source: str) -> str:
    """Return Python source without comments, docstrings and layout; the same for all versions of Python.

    Text that is not plain Python, such as a cell with a magic command, is returned as it is.
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        return " ".join(_significant(tokens, source.splitlines(keepends=True)))
    except (tokenize.TokenError, SyntaxError):
        return source


def _template(key: str, template: Path | None) -> Path:
    if key in ("trained", "hybrid"):
        return template or executing_template() or template_path(RunKey("trained").template)
    return template_path(RunKey(key).template)  # type: ignore[arg-type]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _significant(tokens: list[tokenize.TokenInfo], lines: list[str]) -> Iterator[str]:
    """Yield the texts of the tokens that count; a string that is a statement of its own is a docstring."""
    begins = True  # of a statement
    position = 0
    while position < len(tokens):
        token = tokens[position]
        end = _end_of_string(tokens, position)
        text = _between(lines, token.start, tokens[end].end) if end > position else token.string
        position = end + 1
        if token.type in _NOT_CODE:
            continue
        if begins and token.type == tokenize.STRING:
            after = position
            while tokens[after].type in _NOT_CODE - {tokenize.ENDMARKER}:
                after += 1
            if tokens[after].type in (tokenize.NEWLINE, tokenize.ENDMARKER):
                position = after + 1
                continue
        yield _MARKS.get(token.type, text)
        begins = token.type in _MARKS


def _end_of_string(tokens: list[tokenize.TokenInfo], start: int) -> int:
    """Return the index of the last token of an f-string, which Python 3.12 divides and 3.11 does not."""
    opening, closing = (getattr(tokenize, name, -1) for name in ("FSTRING_START", "FSTRING_END"))
    depth, position = 0, start
    while True:
        depth += (tokens[position].type == opening) - (tokens[position].type == closing)
        if depth == 0:
            return position
        position += 1


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two positions (line from 1, column from 0)."""
    chosen = lines[start[0] - 1 : end[0]]
    chosen[-1] = chosen[-1][: end[1]]
    chosen[0] = chosen[0][start[1] :]
    return "".join(chosen)
