"""Series of conditions, and crossovers of curves that change places at a known point."""

import numpy as np
import pandas as pd
import pytest

from ptycho_lib.config import ConditionConfig
from ptycho_lib.study.results.condition_series import ConditionSeries, crossovers, find_series, series_values


def conditions(*changes):
    return [ConditionConfig(**change) for change in changes]


def costs(**facts):
    rows = [
        {
            "model": model,
            "condition": name,
            "overlap": overlap,
            "photons_per_pattern": photons,
            "training_s": s,
        }
        for name, (overlap, photons) in facts.items()
        for model, s in (("pinn", 9.0), ("iterative", 0.0))
    ]
    return pd.DataFrame(rows)


FACTS = costs(nominal=(0.8, 1e6), half=(0.5, 1e6), none=(0.0, 1e6), dim=(0.8, 1e4), dark=(0.8, 1e3), worst=(0.0, 1e3))
STUDY = conditions(
    {"name": "none", "scan_overlap": 0.0},
    {"name": "half", "scan_overlap": 0.5},
    {"name": "dim", "photons_per_pattern": 1e4},
    {"name": "dark", "photons_factor": 1e-3},
    {"name": "worst", "photons_per_pattern": 1e3, "scan_overlap": 0.0},
)


def test_conditions_that_differ_in_one_quantity_make_a_sweep():
    assert find_series(STUDY, FACTS) == [
        ConditionSeries("overlap", "", ("nominal", "half", "none"), (0.8, 0.5, 0.0)),
        ConditionSeries("photons_per_pattern", "", ("nominal", "dim", "dark"), (1e6, 1e4, 1e3)),
    ]


def test_a_sweep_may_share_another_change():
    more = conditions(
        {"name": "worse", "photons_per_pattern": 1e3, "scan_overlap": 0.5},
        {"name": "dense", "photons_per_pattern": 1e3},
    )
    facts = pd.concat([FACTS, costs(worse=(0.5, 1e3), dense=(0.8, 1e3))])
    found = find_series([*STUDY[:3], STUDY[4], *more], facts)
    expected = ("overlap", "photons per pattern 1000", ("dense", "worse", "worst"), (0.8, 0.5, 0.0))
    assert found[1] == ConditionSeries(*expected)


def test_two_conditions_are_no_sweep_and_unknown_photons_no_axis():
    assert find_series(STUDY[:1], FACTS) == []
    unknown = FACTS.assign(photons_per_pattern=np.nan)
    assert [series.axis for series in find_series(STUDY, unknown)] == ["overlap"]


def test_curves_are_those_of_the_largest_size_and_of_models_without_training():
    series = ConditionSeries("overlap", "", ("nominal", "half", "none"), (0.8, 0.5, 0.0))
    rows = [
        {"model": model, "n_train": n, "trial": t, "condition": c, "value": n + t}
        for model in ("pinn", "iterative")
        for n in (32, 64)
        for t in (1, 2)
        for c in (*series.conditions, "dim")
    ]
    found = series_values(pd.DataFrame(rows), FACTS, series)
    assert set(found["condition"]) == set(series.conditions)
    pinn = found[(found["model"] == "pinn") & (found["trial"] == 2)]
    assert pinn["value"].tolist() == [66, 66, 66]
    assert pinn["x"].tolist() == [0.8, 0.5, 0.0]
    iterative = found[(found["model"] == "iterative") & (found["trial"] == 1)]
    assert iterative["value"].tolist() == [49, 49, 49]  # the sizes are not its own


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 1, 2], [2, 1.5, 1], [1 + 1 / 3]),
        ([0, 2, 0], [1, 1, 1], [0.5, 1.5]),
        ([0, 1, 2], [1, 2, 3], []),
        ([0, 1, 4], [1, 1, 1], [1.0]),  # equal at a point, on other sides around it
        ([0, 1, 0], [1, 1, 1], []),  # touching
        ([0, np.nan, 4], [2, 1, 2], [1.0]),
    ],
)
def test_crossings_of_known_curves(first, second, expected):
    assert crossovers([0, 1, 2], first, second) == pytest.approx(expected)
