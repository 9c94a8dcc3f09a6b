"""Files about the repository agree with one another."""

import re
import tomllib

import pytest
import yaml

import ptycho_lib
from ptycho_lib.config import load_config
from ptycho_lib.data.simulation.config import load_simulation
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ptycho_lib.__version__
    assert citation["license"] == PROJECT["license"]
    assert {"message", "title", "authors", "references"} <= set(citation)


def test_the_changelog_has_a_place_for_what_comes():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert ptycho_lib.__version__ in headings


def test_continuous_integration_runs_targets_that_exist_on_every_supported_python():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    lines = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {line.split()[1] for line in lines} <= targets()
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    offered = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert pythons == offered


def test_pages_name_targets_that_exist():
    for name in ("README.md", "CONTRIBUTING.md", *(str(page) for page in (ROOT / "docs").rglob("*.md"))):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets(), name


@pytest.mark.parametrize("hook", ["ruff", "ruff-format", "nbstripout", "mypy"])
def test_hooks_before_a_commit_are_the_tools_of_the_environment(hook):
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = settings["repos"]
    entries = {entry["id"]: entry for entry in repository["hooks"]}
    assert entries[hook]["entry"].startswith(".venv/bin/")
    assert entries[hook]["language"] == "system"


def test_the_settings_of_the_smoke_study_are_valid():
    assert load_config(ROOT / "tests" / "smoke" / "study.yaml").n_train_sizes
    assert set(load_simulation(ROOT / "tests" / "smoke" / "simulation.yaml").parts) == {"train", "test"}
