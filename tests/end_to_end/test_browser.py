"""A real browser: the report without a network, and the notebooks in JupyterLab.

Run by `make test-browser`. Screenshots go to tests/screenshots, to be looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.networks.batches import normalised_probe
from ptycho_lib.networks.models import build_pinn
from ptycho_lib.report.output.html_report import write_report
from ptycho_lib.report.output.pdf import write_pdf
from ptycho_lib.study.execution.summary import execute_summary
from tests.conftest import simulate_small
from tests.support import report_examples as examples

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "tests" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOKEN = "for-this-test-only"
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert path, f"none of {', '.join(BROWSERS)} is installed; `make browser` does it"
    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Watched:
    """A page, and what it complains about."""

    def __init__(self, browser, *, offline: bool, width: int = 1280, height: int = 900) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, offline=offline)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url[:200]))
        self.page.on("request", lambda request: self.requests.append(request.url[:200]))

    def _console(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def picture(self, name: str, *, full: bool = True) -> None:
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conditions = [{"name": "low_dose", "photons_factor": 0.1}]
    folder = tmp_path_factory.mktemp("report")
    study = examples.FinishedStudy(folder, trials=3, conditions=conditions).finish(collapse=(4, 2), skip=(8, 3))
    assert execute_summary(study).succeeded
    return write_report(study)


class TestReport:
    """`report.html`, opened from disk by a co-author without a network."""

    @pytest.mark.parametrize("width", [390, 1280, 1920])
    def test_opens_without_network_request_or_complaint(self, browser, report: Path, width: int) -> None:
        watched = Watched(browser, offline=True, width=width)
        watched.page.goto(report.as_uri())
        watched.picture(f"report_{width}")
        assert watched.complaints == []
        assert [url for url in watched.requests if not url.startswith(("file:", "data:"))] == []
        images = watched.page.locator("img")
        assert images.count() == 6  # metrics, learning curves, phase, amplitude, conditions, quality against time
        for image in images.all():
            assert image.get_attribute("alt")
            assert image.evaluate("image => image.naturalWidth") > 300
        overflow = watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, "the page scrolls sideways"
        assert "8 of 9 runs are complete" in watched.page.inner_text("main")

    @pytest.mark.parametrize("width", [390, 1280])
    def test_axe_finds_no_serious_violation(self, browser, report: Path, width: int) -> None:
        from axe_playwright_python.sync_playwright import Axe

        watched = Watched(browser, offline=True, width=width)
        watched.page.goto(report.as_uri())
        watched.page.click("#code summary")
        found = Axe().run(watched.page).response["violations"]
        serious = [(violation["id"], violation["help"]) for violation in found if violation["impact"] in SERIOUS]
        assert serious == []

    def test_one_click_shows_the_code(self, browser, report: Path) -> None:
        watched = Watched(browser, offline=True)
        watched.page.goto(report.as_uri())
        code = watched.page.get_by_text("read_results(study_dir)")
        assert not code.is_visible()
        watched.page.click("#code summary")
        assert code.is_visible()

    def test_links_reach_the_executed_notebooks(self, browser, report: Path) -> None:
        watched = Watched(browser, offline=True)
        watched.page.goto(report.as_uri())
        links = [link.get_attribute("href") for link in watched.page.locator("a").all()]
        assert len(links) >= 8
        assert all((report.parent / link).is_file() for link in links)

    def test_prints_on_a4(self, browser, report: Path) -> None:
        a4 = round((210 - 2 * 14) / 25.4 * 96)  # what the page margins leave, in CSS pixels
        watched = Watched(browser, offline=True, width=a4)
        watched.page.emulate_media(media="print")
        watched.page.goto(report.as_uri())
        watched.picture("report_a4")
        assert watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        printed = watched.page.pdf(format="A4", prefer_css_page_size=True)
        (SCREENSHOTS / "report_a4.pdf").write_bytes(printed)
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8


@pytest.fixture(scope="module")
def scan_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a new scan, reconstructed by a network that was never trained."""
    folder = tmp_path_factory.mktemp("scan")
    scan = simulate_small(40, seed=5)
    network = NetworkConfig(width=2, first_guess_iterations=5)
    build_pinn(network, normalised_probe(scan.probe)).save(folder / "model.keras")
    path = save_dataset(scan, folder / "scan.npz")
    command = [sys.executable, "-m", "ptycho_lib.cli.main", "reconstruct", folder / "model.keras", path, folder / "out"]
    subprocess.run([*map(str, command), "--threads", "1"], check=True, capture_output=True, timeout=600)
    return folder / "out" / "report.html"


class TestScanReport:
    """`report.html` of a new scan."""

    @pytest.mark.parametrize("width", [390, 1280])
    def test_opens_without_network_request_or_complaint(self, browser, scan_report: Path, width: int) -> None:
        watched = Watched(browser, offline=True, width=width)
        watched.page.goto(scan_report.as_uri())
        watched.picture(f"scan_report_{width}")
        assert watched.complaints == []
        assert [url for url in watched.requests if not url.startswith(("file:", "data:"))] == []
        images = watched.page.locator("img").all()
        assert len(images) == 2
        assert all(image.get_attribute("alt") for image in images)
        assert watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert "of the measured amplitude unexplained" in watched.page.inner_text("main")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on loopback with copies of the notebooks and the shipped data; yields its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    star = folder / "studies" / "siemens_star"
    star.mkdir(parents=True)
    for path in (ROOT / "studies" / "siemens_star").glob("*.npz"):
        shutil.copy(path, star)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    command += [
        "--LabApp.extension_manager=readonly",
    ]
    quiet = folder / "config/lab/user-settings/@jupyterlab/apputils-extension"
    quiet.mkdir(parents=True)
    settings = {"fetchNews": "false", "checkForUpdates": False}
    (quiet / "notification.jupyterlab-settings").write_text(json.dumps(settings), encoding="utf-8")
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / "config"), "OMP_NUM_THREADS": "1"}
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_server(f"{address}/api/status?token={TOKEN}", server, folder / "lab.log")
            yield address
        finally:
            server.terminate()
            server.wait(20)


def wait_for_server(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not answer\n{log.read_text()}")


def open_notebook(watched: Watched, lab: str, name: str) -> None:
    watched.page.goto(f"{lab}/lab/tree/notebooks/{name}?token={TOKEN}&reset")
    watched.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    watched.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)


def run_all(watched: Watched) -> None:
    watched.page.click('.lm-MenuBar-itemLabel:text-is("Run")')
    watched.page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')


def image_of(watched: Watched, cell_source: str):
    """Return the picture in the output of the code cell that holds some source."""
    cell = watched.page.locator(".jp-CodeCell").filter(has_text=cell_source)
    return cell.locator(".jp-OutputArea-output img")


@pytest.mark.parametrize(("width", "theme"), [(1280, "Light"), (1920, "Dark")])
def test_a_slider_changes_the_picture(browser, lab: str, width: int, theme: str) -> None:
    watched = Watched(browser, offline=False, width=width, height=1000)
    open_notebook(watched, lab, "01_explore_a_dataset.ipynb")
    if theme == "Dark":
        watched.page.click('.lm-MenuBar-itemLabel:text-is("Settings")')
        watched.page.hover('.lm-Menu-itemLabel:text-is("Theme")')
        watched.page.click('.lm-Menu-itemLabel:text-is("JupyterLab Dark")')
    run_all(watched)
    image = image_of(watched, "pattern_view")
    image.wait_for(timeout=120_000)
    image_of(watched, "simulation_view").wait_for(timeout=60_000)
    image.scroll_into_view_if_needed()
    watched.picture(f"lab_01_{width}_{theme.lower()}", full=False)
    before = image.get_attribute("src")
    assert "Diffraction pattern 257 " in image.get_attribute("alt")
    cell = watched.page.locator(".jp-CodeCell").filter(has_text="pattern_view")
    handle = cell.locator(".noUi-handle").first
    handle.focus()
    for _ in range(5):
        handle.press("ArrowRight")
    moved = cell.locator(".jp-OutputArea-output img[alt^='Diffraction pattern 262 ']")
    moved.wait_for(timeout=120_000)
    assert image.count() == 1, "the picture is replaced, not shown again"
    assert image.get_attribute("src") != before
    box = image.bounding_box()
    assert box["width"] > 500
    assert watched.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    watched.picture(f"lab_01_{width}_{theme.lower()}_moved", full=False)


def test_the_stop_button_ends_a_training(browser, lab: str) -> None:
    """While the kernel is busy training, of 50 epochs per network."""
    notebook = "02_train_one_size.ipynb"
    watched = Watched(browser, offline=False, height=1000)
    open_notebook(watched, lab, notebook)
    for old, new in (
        ("steps = 300", "steps = 2000"),
        ("n_train = 64", "n_train = 16"),
    ):
        assert old in (ROOT / "notebooks" / notebook).read_text(encoding="utf-8")
        replace_in_first_code_cell(watched, old, new)
    run_all(watched)
    picture = image_of(watched, "LiveTraining").first
    picture.wait_for(timeout=180_000)
    watched.picture("lab_02_training", full=False)
    button = watched.page.get_by_role("button", name="Stop and keep the best")
    button.click()
    second = "() => [...document.querySelectorAll('img')].some(i => i.alt.includes('baseline after epoch'))"
    watched.page.wait_for_function(second, timeout=240_000)
    button.click()
    image_of(watched, "comparison_view").wait_for(timeout=240_000)
    epochs = [int(number) for number in re.findall(r"after epoch (\d+)", picture.get_attribute("alt"))]
    assert len(epochs) == 2
    assert max(epochs) < 50, "the button did not end both trainings"
    watched.picture("lab_02_compared", full=False)


def replace_in_first_code_cell(watched: Watched, old: str, new: str) -> None:
    editor = watched.page.locator(".jp-CodeCell .cm-content").first
    line = editor.locator(".cm-line").filter(has_text=old)
    line.click()
    watched.page.keyboard.press("Home")
    watched.page.keyboard.press("Shift+End")
    watched.page.keyboard.type(new)


def test_report_becomes_a_pdf(report: Path) -> None:
    printed = write_pdf(report)
    assert printed == report.with_suffix(".pdf")
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8
