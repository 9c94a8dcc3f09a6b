"""How far the spread of overlapping patches can be trusted as an uncertainty, and its calibration.

`Reconstruction.spread` is the standard deviation of the patches that meet at a pixel. Were errors complex
normal with this standard deviation, a disc of radius spread·sqrt(-ln(1 - q)) about the object's value would
hold the truth with probability q. How often it does is the coverage. Ratios of error and spread that were
observed where the truth is known, on the training scan, give radii that need no distribution.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ptycho_lib.evaluation.metrics import ComplexImage, Mask

Floats = NDArray[np.float64]

NOMINAL = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Coverages at which the reliability is given."""

RELIABILITY_COLUMNS = ("nominal", "observed", "model", "calibrated")


def error_ratios(truth: ComplexImage, aligned: ComplexImage, spread: NDArray[np.floating], mask: Mask) -> Floats:
    """Return |O − Ô| / spread at the pixels of a mask where at least two patches meet.

    Parameters
    ----------
    truth, aligned : (H, W) complex
        The estimate aligned to the truth (`alignment.align`).
    spread : (H, W) float
        Standard deviation of the patches about the estimate, in its unit; zero or NaN where it is unknown.
    mask : (H, W) bool

    Returns
    -------
    (n,) float64
        Without unit. Empty if no pixel of the mask has a spread.

    Examples
    --------
    >>> truth, aligned = np.array([[1.0, 1.0j]]), np.array([[1.2, 1.0j]])
    >>> error_ratios(truth, aligned, np.array([[0.1, 0.0]]), np.ones((1, 2), bool)).round(6).tolist()
    [2.0]
    """
    counted = mask & np.isfinite(spread) & (np.nan_to_num(spread) > 0)
    return np.asarray(np.abs(truth - aligned)[counted] / spread[counted], np.float64)


def normal_radius(nominal: ArrayLike) -> Floats:
    """Return sqrt(-ln(1 - q)), the radius in units of the spread that holds q of complex normal errors.

    Parameters
    ----------
    nominal : float or (k,) float
        Coverage q, in [0, 1).

    Returns
    -------
    float64 or (k,) float64

    Examples
    --------
    Within one spread lie 1 - 1/e of the errors:

    >>> round(float(normal_radius(1 - np.exp(-1))), 6)
    1.0
    """
    return np.asarray(np.sqrt(-np.log1p(-np.asarray(nominal, np.float64))))


def calibrated_radius(held_in: Floats, nominal: ArrayLike) -> Floats:
    """Return the radius in units of the spread that held a share q of the errors where the truth was known.

    Parameters
    ----------
    held_in : (n,) float
        `error_ratios` on the training scan.
    nominal : float or (k,) float
        Coverage q, in [0, 1).

    Returns
    -------
    float64 or (k,) float64
        The ⌈(n + 1)·q⌉-th smallest ratio, at most the largest (split conformal prediction [1]_).

    Raises
    ------
    ValueError
        If there is no ratio.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World" (Springer, 2005).

    Examples
    --------
    >>> float(calibrated_radius(np.array([1.0, 2.0, 3.0, 4.0]), 0.5))
    3.0
    """
    ratios = np.sort(np.asarray(held_in, np.float64))
    if not ratios.size:
        raise ValueError("no error ratio to calibrate with")
    # A tiny tolerance keeps products such as 20 · 0.05 from being rounded up.
    rank = np.ceil((ratios.size + 1) * np.asarray(nominal, np.float64) - 1e-9).astype(int)
    return np.asarray(ratios[np.clip(rank - 1, 0, ratios.size - 1)])


def reliability(
    held_out: Mapping[str, Floats], held_in: Mapping[str, Floats], nominal: tuple[float, ...] = NOMINAL
) -> pd.DataFrame:
    """Return how often the truth lies within the uncertainty, as stated and calibrated.

    Parameters
    ----------
    held_out : mapping of str to (n,) float
        `error_ratios` on the test scan, by model.
    held_in : mapping of str to (m,) float
        The same on the training scan. A model without any gets no calibrated rows.
    nominal : tuple of float
        Coverages to state.

    Returns
    -------
    DataFrame
        `RELIABILITY_COLUMNS`: `nominal` and `observed` coverage, `model`, and whether the radius was
        `calibrated`. Models whose spread is unknown everywhere are left out.

    Notes
    -----
    Calibration holds as far as errors on the test scan are to their spread as on the training scan. A network
    that has seen the training patterns errs less there: its calibrated coverage may stay below the nominal one.
    """
    stated = np.asarray(nominal)
    rows = []
    for model, ratios in held_out.items():
        if not ratios.size:
            continue
        known = held_in.get(model, np.empty(0))
        radii = {False: normal_radius(stated)} | ({True: calibrated_radius(known, stated)} if known.size else {})
        ordered = np.sort(ratios)
        for calibrated, radius in radii.items():
            observed = np.searchsorted(ordered, radius, side="right") / ratios.size
            rows += [(q, seen, model, calibrated) for q, seen in zip(nominal, observed.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=list(RELIABILITY_COLUMNS))
