"""A dataset in a few lines, as `print` and notebooks show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ptycho_lib.physics.probes import mode_shares

if TYPE_CHECKING:
    from ptycho_lib.data.dataset import PtychoDataset


def dataset_facts(dataset: PtychoDataset) -> dict[str, str]:
    """Return what a dataset holds: counts, shapes, probe, overlap, units; unknown values are left out.

    Parameters
    ----------
    dataset : PtychoDataset
        May break the contract: what cannot be computed is left out, too.

    Returns
    -------
    dict of str to str
    """
    shape = np.shape(dataset.diffraction)
    facts = {
        "file": dataset.source,
        "patterns": f"{shape[0]} of {'×'.join(map(str, shape[1:]))} px" if shape else "",
        "object": f"{'×'.join(map(str, np.shape(dataset.obj)))} px",
        "compared with": dataset.standard or "simulated ground truth",
    }
    try:  # a file that breaks the contract is printed all the same
        facts["overlap"] = f"{dataset.overlap():.2f} (linear)"
        shares = mode_shares(dataset.probe_modes)
        facts["probe"] = (
            "1 mode" if len(shares) == 1 else f"{len(shares)} modes: " + ", ".join(f"{s:.0%}" for s in shares)
        )
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        pass
    if dataset.photons_per_pattern:
        facts["photons per pattern"] = f"{dataset.photons_per_pattern:.3g}"
    if dataset.pixel_size_m:
        facts["object pixel"] = f"{dataset.pixel_size_m * 1e9:.3g} nm"
    if dataset.mask is not None:
        facts["unmeasured detector pixels"] = str(int(np.size(dataset.mask) - np.count_nonzero(dataset.mask)))
    if dataset.history:
        facts["preparation"] = f"{len(dataset.history)} steps, the last: {dataset.history[-1]}"
    return {name: text for name, text in facts.items() if text}


def dataset_text(dataset: PtychoDataset) -> str:
    """Return a dataset's facts as text, one a line."""
    return "\n".join(["PtychoDataset", *(f"  {name}: {text}" for name, text in dataset_facts(dataset).items())])


def dataset_html(dataset: PtychoDataset) -> str:
    """Return a dataset's facts as an HTML table, escaped."""
    table = pd.DataFrame(dataset_facts(dataset).items())
    return "<strong>PtychoDataset</strong>" + table.to_html(header=False, index=False, border=0)
