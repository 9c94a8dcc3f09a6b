"""Text of the reconstruction of a new scan: what was applied to what, what came out, and how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptycho_lib.application.calibration import COVERAGE
from ptycho_lib.model_names import model_label
from ptycho_lib.report.text.html_elements import bullets, definitions, escape, paragraph

if TYPE_CHECKING:
    from ptycho_lib.application.fine_tuning import FineTuned, TuningJob
    from ptycho_lib.application.job import ScanJob
    from ptycho_lib.application.scan_reconstruction import ScanReconstruction


def job_overview(job: ScanJob) -> str:
    """Return a table of the network and the scan."""
    file = job.file
    return definitions(
        {
            "Network": f"{model_label(file.model)}, {file.patch_size}×{file.patch_size} pixels, "
            f"{file.network.backbone} backbone, width {file.network.width}",
            "Trained on": file.origin(),
            "Scan": f"{job.place}{', files still arrive' if job.watch else ''}",
            "Folder": job.output_dir.name,
        }
    )


def scan_result(result: ScanReconstruction) -> str:
    """Return the sentence, the notes and the numbers of a reconstruction without a truth."""
    share = result.total_residual / result.flat_residual if result.flat_residual else float("nan")
    answer = (
        f"Object and probe leave {result.total_residual:.1%} of the measured amplitude unexplained; "
        f"a flat object leaves {result.flat_residual:.1%}."
    )
    if share > 0.9:
        answer += " The object explains hardly more than the probe alone: do not trust it."
    usage = result.usage
    numbers = {
        "Patterns": f"{len(result.positions_px)}",
        "Object": f"{result.obj.shape[0]}×{result.obj.shape[1]} pixels"
        + (f" of {result.pixel_size_m * 1e9:.3g} nm" if result.pixel_size_m else ", pixel size unknown"),
        "Prediction and stitching": f"{usage.seconds:.2f} s, "
        f"{len(result.positions_px) / max(usage.seconds, 1e-9):.0f} patterns a second, "
        f"{usage.peak_memory_bytes / 1e9:.2f} GB at most",
        "Uncertainty": f"{result.radius:.2f} times the spread held {COVERAGE:.0%} of the errors on the run's test set"
        if result.radius is not None
        else "not calibrated: the network does not lie in its study; the spread is a relative measure",
    }
    notes = bullets(escape(note) for note in result.notes)
    return paragraph(escape(answer), role="answer") + notes + definitions(numbers)


def tuning_overview(job: TuningJob) -> str:
    """Return a table of the network, the scan and the schedule of a continued training."""
    return definitions(
        {
            "Start": str(job.file.path),
            "Trained on": job.file.origin(),
            "Scan": f"{job.scan.dataset.source}, {len(job.scan.dataset)} patterns",
            "Schedule": f"{job.steps} gradient steps, learning rate {job.learning_rate:g}, "
            f"{job.patterns or 'all'} patterns, seed {job.seed}",
        }
    ) + bullets(escape(note) for note in job.scan.notes)


def tuning_result(result: FineTuned) -> str:
    """Return what became of the residual, and what the training took."""
    outcome = result.trained.outcome
    facts = {
        "Residual before": f"{result.before.total_residual:.4f}",
        "Residual after": f"{result.after.total_residual:.4f}",
        "Residual of a flat object": f"{result.after.flat_residual:.4f}",
        "Training": f"{outcome.seconds:.1f} s, weights of epoch {outcome.best_epoch} of {outcome.epochs}",
    }
    warning = {"Warning": outcome.reason} if outcome.collapsed else {}
    return paragraph(escape(result.sentence()), role="answer") + definitions(warning | facts)


def job_provenance(job: ScanJob, result: ScanReconstruction) -> str:
    """Return what the numbers come from: the files, what was converted, versions, machine."""
    facts = job.facts(result)
    return definitions(
        {
            "Network": f"{facts['model_file']} ({facts['model_sha256']})",
            "Run": facts["run_fingerprint"] or "its record is not beside the network",
            "Conversions": "; ".join(facts["scan_history"]) or "none",
            "Device": facts["device"],
            "Versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
            "Whole notebook": f"{facts['whole_seconds']:.1f} s",
        }
    )
