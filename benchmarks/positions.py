"""What the correction of scan positions gains where the positions are told with errors.

``python benchmarks/positions.py`` trains both networks on simulated lines under the Velociprobe, adds Gaussian errors
to the positions that the evaluation of the test scan is told, and reconstructs with and without the correction.
"""

from __future__ import annotations

import click
import pandas as pd
from networks import study_config
from probes import first, scan, scores, show, table, trained

from ptycho_lib.config import ConditionConfig
from ptycho_lib.data.conditions import apply_condition
from ptycho_lib.networks.models import build_untrained


@click.command(help=__doc__)
@click.option("--jitter", default="0 0.5 1 2", show_default=True, help="Standard deviations, px.")
@click.option("--steps", default="0 10", show_default=True, help="Most correction steps.")
@click.option("--models", default="untrained pinn baseline", show_default=True)
@click.option("--n-train", default=512, show_default=True)
@click.option("--training-steps", default=400, show_default=True)
@click.option("--trials", default=3, show_default=True)
def main(jitter: str, steps: str, models: str, n_train: int, training_steps: int, trials: int) -> None:
    config, test, rows = study_config({"steps": training_steps}, ()), scan("test", 300), []
    for model in models.split():
        for trial in range(1, 1 + (1 if model == "untrained" else trials)):
            if model == "untrained":
                network = build_untrained(config.network, test)
            else:
                network = trained(model, [first(scan("train", n_train), n_train, config, trial)], config, trial)
            for sigma in map(float, jitter.split()):
                condition = ConditionConfig(name="jitter", position_jitter_px=sigma or 1e-9)
                told = apply_condition(test, condition, seed=trial)
                for count in map(int, steps.split()):
                    chosen = config.evaluation.model_copy(update={"position_correction_steps": count})
                    found = scores(network, told, config.model_copy(update={"evaluation": chosen}))
                    rows.append({"model": model, "jitter px": sigma, "steps": count, "trial": trial} | found)
                    show(rows)
    columns = ["model", "jitter px", "steps"]
    print("\nMean of the trials\n" + table(pd.DataFrame(rows).drop(columns="trial").groupby(columns).mean()))


if __name__ == "__main__":
    main()
