"""Without a browser or a report, printing says what to do; with them see test_browser.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptycho_lib.errors import InputError
from ptycho_lib.report.output.pdf import write_pdf


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ptycho-study report"):
        write_pdf(tmp_path / "report.html")


def test_a_missing_browser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("<p>x</p>", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install chromium"):
        write_pdf(tmp_path / "report.html")


def test_a_browser_that_prints_nothing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("<p>x</p>", encoding="utf-8")
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho 'no display' >&2\nexit 3\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(InputError, match="no display"):
        write_pdf(tmp_path / "report.html")
    assert not (tmp_path / "report.pdf").exists()
