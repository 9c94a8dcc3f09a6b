"""Quality against dose: the first guess with and without fewer iterations where the dose is low, and networks.

``python benchmarks/dose.py`` reconstructs the test scan of `studies/sparse_scan` at several doses, untrained.
``--models "pinn baseline"`` trains both networks on its training scan at the nominal dose, and on three scans at
1e6, 1e5 and 1e4 photons with as many patterns in all.
"""

from __future__ import annotations

import click
import pandas as pd
import yaml
from networks import study_config
from probes import STUDIES, first, scores, show, table, trained

from ptycho_lib.config import ConditionConfig
from ptycho_lib.data.conditions import apply_condition
from ptycho_lib.data.dataset import PtychoDataset, materialise
from ptycho_lib.data.simulation.config import SimulationConfig
from ptycho_lib.data.simulation.study import simulate_part
from ptycho_lib.networks.models import build_untrained

SCENE = STUDIES / "sparse_scan" / "simulation.yaml"
MIXED = (1e6, 1e5, 1e4)


@click.command(help=__doc__)
@click.option("--doses", default="1e6 1e5 1e4 1e3", show_default=True, help="Photons a pattern.")
@click.option("--models", default="untrained", show_default=True)
@click.option("--by-dose", default="true false", show_default=True, help="Values of network.first_guess_by_dose.")
@click.option("--n-train", default=510, show_default=True)
@click.option("--steps", default=400, show_default=True)
@click.option("--trials", default=1, show_default=True)
@click.option("--set", "settings", multiple=True, help="A setting: network.gridsize=2.")
def main(
    doses: str, models: str, by_dose: str, n_train: int, steps: int, trials: int, settings: tuple[str, ...]
) -> None:
    train, test, rows = part("train"), part("test"), []
    tests = {dose: at_dose(test, float(dose)) for dose in doses.split()}
    for choice in by_dose.split():
        config = study_config({"steps": steps}, (*settings, f"network.first_guess_by_dose={choice}"))
        for model in models.split():
            scans = {"nominal": [train], "three doses": [at_dose(train, dose) for dose in MIXED]}
            for name in scans if model != "untrained" else ("-",):
                for trial in range(1, 1 + (trials if model != "untrained" else 1)):
                    if model == "untrained":
                        network = build_untrained(config.network, test)
                    else:
                        chosen = [first(one, n_train // len(scans[name]), config, trial) for one in scans[name]]
                        network = trained(model, chosen, config, trial)
                    for dose, seen in tests.items():
                        row = {"by dose": choice, "model": model, "trained": name, "photons": dose, "trial": trial}
                        rows.append(row | scores(network, seen, config))
                        show(rows)
    keys = ["by dose", "model", "trained", "photons"]
    print("\nMean of the trials\n" + table(pd.DataFrame(rows).drop(columns="trial").groupby(keys, sort=False).mean()))


def part(name: str) -> PtychoDataset:
    """Return a scan of the study."""
    settings = SimulationConfig.model_validate(yaml.safe_load(SCENE.read_text(encoding="utf-8")))
    return materialise(simulate_part(settings, name, SCENE.parent))


def at_dose(dataset: PtychoDataset, photons: float) -> PtychoDataset:
    """Return the scan measured anew with another number of photons a pattern."""
    condition = ConditionConfig(name="dose", photons_per_pattern=photons)
    return materialise(apply_condition(dataset, condition, seed=int(photons) % 997))


if __name__ == "__main__":
    main()
