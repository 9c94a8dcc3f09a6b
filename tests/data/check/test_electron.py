"""Electron data: the stack of studies/electron, small, from counts to a file of the contract."""

import importlib.util

import numpy as np
import pytest

from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.data.prepare.pipeline import prepare
from tests.conftest import ROOT
from tests.support.independent_scan import simulate, write_contract

OPTIONS = {"diffraction_key": "data", "probe_key": "probe", "object_key": "object"}
OPTIONS |= {"scan_step": 0.2, "position_unit": "nm", "pixel_size_m": 40e-12}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("make_stack", ROOT / "studies" / "electron" / "make_stack.py")
    make_stack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_stack)
    path = tmp_path_factory.mktemp("electron") / "stack.h5"
    make_stack.write(path, make_stack.stack(9, 9, 1))
    return path


def test_several_counts_for_an_electron_are_named_and_allowed_for(stack, tmp_path):
    """Variance over mean is 6 to 8: twice the mean of four counts, less what the blur takes."""
    found, note = check_file(stack, rotate_scan=12.0, **OPTIONS).findings
    assert note.code == "needs-prepare"
    assert found.code == "spread-counts"
    assert 5 < found.options["counts_per_photon"] < 9
    (path,) = prepare(stack, tmp_path, split="none", rotate_scan=12.0, **found.options, **OPTIONS)
    assert load_dataset(path).photons_per_pattern == pytest.approx(5900 / found.options["counts_per_photon"], rel=0.1)
    assert check_file(path).findings == ()


def test_photons_are_no_spread_counts_whatever_lies_under_them(tmp_path):
    scan = simulate()
    assert check_file(write_contract(tmp_path / "good.npz", scan)).findings == ()
    under = scan["counts"] + np.random.default_rng(2).poisson(2.0, scan["counts"].shape)
    codes = [one.code for one in check_file(write_contract(tmp_path / "under.npz", scan | {"counts": under})).findings]
    assert "spread-counts" not in codes
