"""The pages on data keep up with the code: every message, option and key is explained."""

import re

import pytest

from ptycho_lib.data.check.conventions import CONVENTIONS
from ptycho_lib.data.check.findings import CATALOGUE
from ptycho_lib.data.contract import OPTIONAL, REQUIRED
from ptycho_lib.data.options import PrepareOptions
from ptycho_lib.data.simulation import config as simulation_config
from tests.conftest import ROOT

DOCS = ROOT / "docs"
CONTRACT = (DOCS / "reference" / "data_contracts.md").read_text(encoding="utf-8")
CHECK = (DOCS / "reference" / "check.md").read_text(encoding="utf-8")
SIMULATION = (DOCS / "reference" / "simulation.md").read_text(encoding="utf-8")
CONVERSION = (DOCS / "how-to" / "convert_formats.md").read_text(encoding="utf-8")


def finding_codes():
    pairs = (ROOT / "ptycho_lib" / "data" / "check" / "pair.py").read_text(encoding="utf-8")
    in_pairs = set(re.findall(r'Finding\(\s*"([a-z-]+)"', pairs))
    return in_pairs | set(CATALOGUE) | set(CONVENTIONS) | {"unreadable", "contract"}


def test_every_code_of_check_is_explained():
    codes = finding_codes()
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in CHECK} == set()


def test_every_option_of_prepare_is_explained():
    flags = {f"--{name.replace('_', '-')}" for name in PrepareOptions.model_fields}
    # The plain-file keys for x and y are alternatives of --positions-key, named by --help.
    assert {flag for flag in flags if flag not in CONVERSION} <= {"--x-key", "--y-key"}


def test_every_key_of_the_contract_is_explained():
    assert [key for key in (*REQUIRED, *OPTIONAL) if f"`{key}`" not in CONTRACT] == []


@pytest.mark.parametrize(
    "section",
    ["SimulationConfig", "ObjectConfig", "ProbeConfig", "ScanConfig", "DetectorConfig", "PartConfig"],
)
def test_every_setting_of_a_simulation_is_explained(section):
    fields = getattr(simulation_config, section).model_fields
    assert [name for name in fields if f"`{name}`" not in SIMULATION] == []


def test_the_picture_is_there():
    assert "(../images/data_conventions.png)" in CONTRACT
    assert (ROOT / "docs" / "images" / "data_conventions.png").stat().st_size < 400_000
