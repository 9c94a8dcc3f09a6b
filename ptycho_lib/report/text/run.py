"""Text of a run's notebook: its data and settings, and the provenance of its numbers."""

from __future__ import annotations

from ptycho_lib.config import NETWORKS
from ptycho_lib.report.results import reference_note
from ptycho_lib.report.style import model_looks
from ptycho_lib.report.text.html_elements import definitions, listed
from ptycho_lib.study.folder.record import RunRecord
from ptycho_lib.study.run_session import OpenRun, Run


def run_overview(run: Run) -> str:
    """Return a table of a run's training data, test data and settings."""
    network, training = run.config.network, run.config.training
    train = run.training[0]
    doses = [f"{scan.photons_per_pattern:.3g}" if scan.photons_per_pattern else "unknown" for scan in run.training]
    subset = f"{run.config.sampling.method} subset"
    warnings = "; ".join(filter(None, (run.leakage, run.selection_warning)))
    return definitions(
        ({"Warning": warnings} if warnings else {})
        | {
            "Training": f"{run.n_train} patterns of {listed(file.name for file in run.train_data)}, {subset}",
            "Test": f"{run.n_test} patterns of {run.test_data.name}",
            **_compared_with(run),
            "Trial": f"{run.trial}, seeds {', '.join(f'{k} {v}' for k, v in run.seeds.items())}",
            "Pattern": f"{train.patch_size}×{train.patch_size} pixels, photons {listed(dict.fromkeys(doses))}",
            "Models": ", ".join(look.label for look in model_looks(run.models).values()),
            "Backbone": f"{network.backbone}, width {network.width}, gridsize {network.gridsize}",
            "Schedule": f"{training.steps} gradient steps of {training.batch_size} samples, "
            f"{training.epochs} validations, learning rate {training.learning_rate:g}, {training.precision}",
            "Folder": run.output_dir.name,
        }
    )


def untrained_overview(run: OpenRun) -> str:
    """Return the table of what the control reconstructs: the first guess, without training."""
    network, photons = run.config.network, run.test.photons_per_pattern
    scan = f"{len(run.scan)} patterns of {run.train_data[0].name}" if run.scan and run.train_data else "not evaluated"
    return definitions(
        {
            "Patterns": f"{run.n_test} of {run.test_data.name}, "
            f"{run.test.patch_size}×{run.test.patch_size} pixels, "
            + (f"{photons:.3g} photons" if photons else "photons unknown"),
            "Training scan": scan,
            **_compared_with(run),
            "First guess": f"{network.first_guess_iterations} iterations, probe as given",
            "Folder": run.output_dir.name,
        }
    )


def iterative_overview(run: OpenRun) -> str:
    """Return the table of what is reconstructed iteratively, and how."""
    settings, photons = run.config.iterative, run.test.photons_per_pattern
    kept = {True: "refined", False: "as given"}
    return definitions(
        {
            "Patterns": f"{run.n_test} of {run.test_data.name}, "
            f"{run.test.patch_size}×{run.test.patch_size} pixels, "
            + (f"{photons:.3g} photons" if photons else "photons unknown"),
            **_compared_with(run),
            "Algorithm": f"Pty-chi, {settings.algorithm.upper()}, at most {settings.updates} updates, batches of "
            f"{settings.batch_size}, seed {run.config.seed}",
            "Probe": f"{kept[settings.refine_probe]}, "
            + (f"{settings.probe_modes} modes" if settings.probe_modes else "the modes that hold 99 % of the light"),
            "Positions": kept[settings.correct_positions],
            "Start": "a flat object",
            "Folder": run.output_dir.name,
        }
    )


def _compared_with(run: OpenRun) -> dict[str, str]:
    """Return what the object of the test data is, unless it is a simulated ground truth."""
    note = reference_note(run.test, run.models)
    return {"Compared with": f"{run.test.standard}. {note}".strip()} if run.test.standard else {}


def run_provenance(record: RunRecord) -> str:
    """Return the provenance of a run: data, settings, code, versions, machine, durations."""
    models = {
        (f"Training of {look.label}" if model in NETWORKS else look.label): (
            f"{record.models[model].seconds:.1f} s" if model in NETWORKS else "no training of its own"
        )
        + (f"; collapsed: {record.models[model].reason}" if record.models[model].collapsed else "")
        for model, look in model_looks(record.models).items()
    }
    prints = record.identity.fingerprints
    return definitions(
        {
            **models,
            "Whole run": f"{record.seconds:.1f} s, finished {record.finished}",
            "Device": record.device,
            "Machine": ", ".join(f"{name}: {value}" for name, value in record.machine.items()),
            "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
            "Commit": record.commit or "not under version control",
            "Training data": f"{'; '.join((record.train_data, *record.further_train_data))} ({prints.train_data})",
            "Test data": f"{record.test_data} ({prints.test_data})",
            "Configuration": prints.config,
            "Code": prints.code,
            "Run fingerprint": record.fingerprint,
            "Reproducibility": record.determinism,
        }
    )
