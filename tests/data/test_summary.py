"""What `print(dataset)` and a notebook show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bs4 import BeautifulSoup

from ptycho_lib.data.dataset import PtychoDataset
from tests.support import report_examples as examples


def partly_coherent() -> PtychoDataset:
    dataset = examples.dataset()
    modes = np.stack([dataset.probe, 0.5 * dataset.probe]).astype(np.complex64)
    return replace(dataset, probe=modes, source="<scan>.npz", history=("simulated: star",))


def test_text_says_what_the_dataset_holds() -> None:
    lines = repr(partly_coherent()).splitlines()
    assert lines[0] == "PtychoDataset"
    assert "  patterns: 25 of 16×16 px" in lines
    assert "  probe: 2 modes: 80%, 20%" in lines
    assert "  photons per pattern: 1e+05" in lines
    assert "  object pixel: 58 nm" in lines
    assert "  compared with: simulated ground truth" in lines


def test_html_holds_the_same_facts_escaped() -> None:
    soup = BeautifulSoup(partly_coherent()._repr_html_(), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in soup.find_all("tr")]
    text = [line.strip().split(": ", 1) for line in repr(partly_coherent()).splitlines()[1:]]
    assert rows == text
    assert soup.find("scan") is None


def test_a_dataset_that_breaks_the_contract_can_still_be_printed() -> None:
    broken = replace(examples.dataset(), probe=np.zeros((0, 3)), positions_px=np.zeros((2, 5)), diffraction=np.zeros(3))
    assert repr(broken).startswith("PtychoDataset\n  patterns: 3")
