"""The report's sentences on a study: what was compared, what became of the runs, where the numbers come from.

Every function returns HTML with all texts escaped; links are relative, so that a study folder can be
zipped and sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path

from ptycho_lib.config import ITERATIVE, NETWORKS, ONCE
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import HYBRIDS, model_label, model_phrase
from ptycho_lib.report.figures.study import MOST_POINTS, NOMINAL
from ptycho_lib.report.results import StudyResults
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import (
    bullets,
    code,
    definitions,
    escape,
    link,
    listed,
    listed_html,
    paragraph,
    strong,
    table,
)
from ptycho_lib.report.text.tables import number_text
from ptycho_lib.study.folder.progress import LOG
from ptycho_lib.study.folder.record import ModelOutcome, setting_text
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.folder.status import State
from ptycho_lib.study.folder.templates import execution_name
from ptycho_lib.study.results.aggregate import LoadedRun
from ptycho_lib.study.results.answer import patterns_needed
from ptycho_lib.study.results.words import capitalized

STATE_WORDS = {
    State.COMPLETE: "complete",
    State.FAILED: "failed",
    State.INTERRUPTED: "interrupted",
    State.PARTIAL: "without models or conditions that the study has now",
    State.STALE: "stale (made with other settings, data or code)",
    State.MISSING: "missing",
}


def overview(results: StudyResults) -> str:
    """Return the paragraph that says what was compared with what, on which data."""
    config, manifest = results.config, results.manifest
    models = capitalized(_phrases(config.networks))
    sizes = listed(map(str, config.n_train_sizes))
    trials = f"{config.trials} trials each" if config.trials > 1 else "one trial each"
    conditions = listed(condition.name for condition in config.conditions)
    changed = f" The same networks were also tested under: {conditions}." if conditions else ""
    training = listed_html(_file(file.path) for file in manifest.training_files)
    test = f"{_file(manifest.test.path)}{_seen(manifest.leakage)}"
    warnings = "".join(paragraph(strong(f"Warning: {warning}.")) for warning in manifest.warnings)
    note = f" {strong(results.reference_note)}" if results.reference_note else ""
    return warnings + paragraph(
        f"{strong(results.name)}. {models} were trained on {sizes} diffraction patterns "
        f"({trials}) of the {manifest.n_training_patterns} in {training}, and evaluated on "
        f"the same {manifest.n_test} patterns of {test}.{changed}{iterative_sentence(results)}{note}"
    )


def iterative_sentence(results: StudyResults) -> str:
    """Return what was reconstructed without a network, or from its object on, and how; empty if nothing."""
    config, settings = results.config, results.config.iterative
    if not {ITERATIVE, *HYBRIDS} & set(config.models):
        return ""
    how = ["probe refined" if settings.refine_probe else "probe as known"]
    how += [f"at most {settings.probe_modes} probe modes"] if settings.probe_modes else []
    how += ["positions corrected"] if settings.correct_positions else []
    starts = ["a flat object"] if ITERATIVE in config.models else []
    starts += [f"the object of {model_phrase(network)}" for network in config.hybrids.values()]
    return (
        f" The same test patterns were reconstructed iteratively (Pty-chi, {settings.algorithm.upper()}, "
        f"to convergence or {settings.updates} updates, {', '.join(how)}), starting "
        f"from {listed(starts)}."
    )


def _seen(leakage: str) -> str:
    """Say whether the test data were new to the networks."""
    if not leakage:
        return ", unseen by either"
    return f". {strong(f'Warning: {leakage}')}; the numbers do not measure generalization"


def run_counts(results: StudyResults) -> str:
    """Return how many runs are complete, and each that is not, with the reason."""
    others = [run for run in results.runs if run.state is not State.COMPLETE]
    words = [strong(f"{len(results.complete)} of {len(results.runs)} runs are complete.")]
    for state in (*STATE_WORDS,)[1:]:
        if count := sum(run.state is state for run in others):
            words.append(f"{count} {STATE_WORDS[state]}.")
    n_collapsed = len(results.collapsed)
    words.append(
        f"{_count(n_collapsed, 'training')} collapsed; the numbers are in every table and figure."
        if n_collapsed
        else "No training collapsed."
    )
    items = [f"{run.key}: {STATE_WORDS[run.state]}. {escape(run.detail)}".strip() for run in others]
    items += [
        escape(f"{_run_name(row.n_train, row.trial, row.model)}: {model_phrase(row.model)} collapsed ({row.reason})")
        for row in results.collapsed.itertuples()
    ]
    return paragraph(" ".join(words)) + (bullets(items) if items else "")


def answer(results: StudyResults) -> str:
    """Return how many patterns each network needs, the comparison of the two, and what training adds."""
    first, *others = results.answer()
    return paragraph(strong(first), role="answer") + bullets(map(escape, others))


def other_measures(results: StudyResults) -> str:
    """Return how many patterns are needed, and the comparison of the two networks, by other measures."""
    measures = [("frc50", "phase"), ("ssim", "amplitude"), ("frc50", "amplitude")]
    sentences = []
    for metric, component in measures:
        chosen = {"metric": metric, "component": component}
        sentences += [patterns_needed(results.tables.curves, **chosen), results.tables.headline(**chosen)]
    return paragraph("By other measures:") + bullets(map(escape, dict.fromkeys(sentences)))


def run_list(results: StudyResults, *, seen_from: str | Path | None = None) -> str:
    """Return a table of all runs: state, time, how each training ended, links to notebook and log.

    Parameters
    ----------
    results : StudyResults
    seen_from : path, optional
        Folder of the page that will hold the links; the study folder by default.
    """
    base = Path(seen_from or results.folder)
    models = list(model_looks(results.config.models))
    trained = [f"{_model(model)}, {'training' if model in NETWORKS else 'all conditions'}" for model in models]
    head = ["patterns", "trial", "state", *trained, "whole run", "executed notebook", "log"]
    collapsed = set(results.collapsed[["n_train", "trial", "model"]].itertuples(index=False, name=None))
    rows = []
    for run in results.runs:
        times = []
        for model in models:
            outcome = run.record.models.get(model) if run.record else None
            remark = ", collapsed" if (run.n_train, run.trial, model) in collapsed else ""
            times.append(f"{_seconds(run, model, outcome):.0f} s{remark}" if outcome else "–")
        whole = f"{run.record.seconds:.0f} s" if run.record else "–"
        place = [str(run.n_train or "none"), str(run.trial), str(run.state)]
        executed = run.key.template
        notebook = _link(results, run, base, executed, execution_name(executed, "failed"))
        links = [notebook, _link(results, run, base, LOG)]
        rows.append([*place, *times, whole, *links])
    return table("Runs of the study", head, rows)


def _seconds(run: LoadedRun, model: str, outcome: ModelOutcome) -> float:
    """Return the time of a training, or of iterating under all test conditions (s)."""
    made = run.record.reconstructions.get(model, {}) if run.record else {}
    return outcome.seconds if model in NETWORKS else sum(cost.seconds for cost in made.values())


def provenance(results: StudyResults) -> str:
    """Return what produced the numbers: data, settings, code, versions, machine."""
    manifest = results.manifest
    record = next((run.record for run in results.complete), None)
    facts = {
        "Study fingerprint": results.fingerprint(),
        "Training data": "; ".join(f"{file.path} ({file.fingerprint})" for file in manifest.training_files),
        "Test data": f"{manifest.test.path} ({manifest.test.fingerprint})",
        "Configuration": manifest.config.fingerprint(),
        "Code": ", ".join(f"{kind}: {digest}" for kind, digest in manifest.code.items() if digest),
        "Commit": manifest.commit or "not under version control",
        "Versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
        "First started": manifest.created,
    }
    if record is not None:
        facts["Device"] = record.device
        facts["Machine"] = ", ".join(f"{name}: {value}" for name, value in record.machine.items())
        facts["Reproducibility"] = record.determinism
    facts["Settings"] = "study.yaml, beside this report"
    return definitions(facts)


def conditions(results: StudyResults) -> str:
    """Return what the other test conditions are; empty if there are none."""
    if not results.config.conditions:
        return ""
    changes = {c.name: setting_text(c.model_dump(exclude={"name"})) for c in results.config.conditions}
    text = "The networks were not trained again; the change of the phase's SSIM against the nominal test set:"
    return paragraph(text) + definitions(changes)


def files(results: StudyResults, paths: Iterable[Path]) -> str:
    """Return links to files in the study folder."""
    names = [path.relative_to(results.folder).as_posix() for path in paths]
    return bullets(link(name, name) for name in names)


def study_alt(results: StudyResults) -> str:
    """Return the alternative text of the metric-versus-size figure: its message in numbers."""
    rows = results.table.query("metric == 'ssim' and alignment == 'aligned' and condition == 'nominal'")
    phase = rows[rows["component"] == "phase"].groupby(["model", "n_train"])["value"].mean()
    series = [
        f"{_model(model)}: " + ", ".join(f"{phase[model, n]:.3f} with {n or 'no training'}" for n in phase[model].index)
        for model in model_looks(rows["model"])
    ]
    return f"Metrics against number of training patterns. Mean SSIM of the phase. {'; '.join(series)} patterns."


def montage_alt(results: StudyResults, component: str) -> str:
    """Return the alternative text of a montage."""
    sizes = listed(str(run.n_train) for run in results.trained if run.trial == 1)
    models = _phrases(results.config.models)
    return f"The {component} of the test object, and its reconstructions by {models} from {sizes} patterns."


def condition_alt(results: StudyResults) -> str:
    """Return the alternative text of the condition figure."""
    names = listed(condition.name for condition in results.config.conditions)
    return f"SSIM of the phase against number of training patterns, nominal and under {names}, with the change."


def caption(results: StudyResults) -> str:
    """Return the caption of the publication figure, numbers filled in, as plain text."""
    config, n_trials = results.config, results.table["trial"].nunique()
    models = capitalized(_phrases(config.networks))
    single = ", each shown as a faint point" if n_trials <= MOST_POINTS else ""
    several = f"Lines join the means of {n_trials} trials{single}"
    band = "; bands are 95 % intervals of the mean (Student's t)" if results.has_intervals else ""
    points = f"{several}{band}" if n_trials > 1 else "One trial for each size, hence no interval"
    sentences = (
        f"Generalization study '{config.name}'.",
        f"{models} trained on {listed(map(str, config.n_train_sizes))} diffraction patterns and evaluated",
        f"on {results.manifest.n_test} patterns of an unseen region or object.",
        "Upper row: amplitude; lower row: phase (errors in rad). Arrows beside names point to better values;",
        "a dotted arrow leads from a training size of one network to the smaller one with which the other matches it.",
        f"{points}.",
        f"Reconstructions are aligned to the {results.standard} (amplitude scale, phase ramp, sub-pixel",
        "shift) within the illuminated region that all models share. PSNR and SSIM refer to its peak-to-peak",
        "range. FRC50 is the spatial frequency at which the Fourier ring correlation with it first falls",
        "below 0.5; open points: not below it up to Nyquist.",
        *filter(None, [_plain(iterative_sentence(results)), results.reference_note]),
        f"{_count(len(results.complete), 'complete run')};",
        f"{_count(len(results.collapsed), 'collapsed training')}, included.",
        f"Study fingerprint {results.fingerprint()[:12]}.",
    )
    return " ".join(sentences)


def worst_runs(
    results: StudyResults,
    *,
    metric: str = "ssim",
    component: str = "phase",
    seen_from: str | Path | None = None,
) -> str:
    """Return all reconstructions of the nominal test set, the worst first, with links to their notebooks.

    Parameters
    ----------
    results : StudyResults
    metric, component : str
        What ranks them.
    seen_from : path, optional
        Folder of the page that will hold the links; the study folder by default.
    """
    base = Path(seen_from or results.folder)
    wanted = {"metric": metric, "component": component, "alignment": "aligned", "condition": NOMINAL}
    better = METRICS[metric].better
    chosen = select(results.table, may_be_empty=False, **wanted)
    ranked = chosen.sort_values("value", ascending=better == "higher", na_position="first")
    rows = []
    for row in ranked.itertuples():
        run = results.run(row.n_train, row.trial, row.model)
        value = [number_text(metric, row.value), escape(row.reason)]
        notebook = _link(results, run, base, run.key.template)
        rows.append([_model(row.model), str(row.n_train), str(row.trial), *value, notebook])
    title = f"{component} {metric_title(metric, component)}"
    head = ["model", "patterns", "trial", title, "remark", "executed notebook"]
    return table("All reconstructions, the worst first", head, rows)


def report_link(report: Path, *, seen_from: str | Path = ".") -> str:
    """Return a link to a report, for a page in the folder `seen_from`."""
    target = Path(os.path.relpath(report, Path(seen_from).resolve())).as_posix()
    return paragraph(f"Report: {link(target, target)}")


def _link(results: StudyResults, run: LoadedRun, base: Path, *names: str) -> str:
    """Return a link, relative to `base`, to the first of the files that the run has."""
    for name in names:
        if (run.folder / name).is_file():
            target = Path(os.path.relpath(run.folder / name, base.resolve())).as_posix()
            place = run.folder.relative_to(results.folder).as_posix()
            words = ("log", f"log of {place}") if name == LOG else (place, f"notebook of {place}")
            return link(target, words[0], label=words[1])
    return "–"


def _plain(html: str) -> str:
    """Return a sentence without its mark-up."""
    return unescape(re.sub("<[^>]+>", "", html)).strip()


def _run_name(n_train: int, trial: int, model: str) -> str:
    return str(RunKey(ONCE.get(model, "trained"), n_train, trial))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _model(model: str) -> str:
    return escape(model_label(model))


def _phrases(models: Iterable[str]) -> str:
    return listed(map(model_phrase, model_looks(models)))


def _file(path: str) -> str:
    return code(Path(path).name)
