"""`report.pdf`: the report as an A4 document, printed by an installed Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ptycho_lib.errors import InputError, Problem

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
TIMEOUT_S = 120


def write_pdf(report: str | Path) -> Path:
    """Print `report.html` to a PDF beside it.

    Parameters
    ----------
    report : path
        The HTML file that `html_report.write_report` wrote.

    Raises
    ------
    InputError
        If the report is missing, there is no Chromium, or it prints nothing.
    """
    source = Path(report).resolve()
    if not source.is_file():
        fix = "Run `ptycho-study report` first."
        raise InputError(Problem(str(source), "", "no such file", "a report", fix))
    target = source.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="ptycho-print-") as folder:
        printed = Path(folder) / target.name
        command = [_browser(source), "--headless", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}", source.as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium's sandbox refuses to run as root
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        except subprocess.TimeoutExpired:
            said = [f"no answer within {TIMEOUT_S} s"]
        if not printed.is_file():
            fix = "Open report.html in a browser and print it from there."
            raise InputError(Problem(str(source), "PDF", said[0], "a printed page", fix))
        shutil.move(printed, target)
    return target


def _browser(source: Path) -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    fix = "Install Chromium (Debian: apt-get install chromium), or print report.html from any browser."
    raise InputError(Problem(str(source), "PDF", "no Chromium on this machine", f"one of {', '.join(BROWSERS)}", fix))
