"""What a reader must know before quoting a study: what sees the test patterns, what the reference is, what was set."""

from __future__ import annotations

from ptycho_lib.config import NETWORKS, UNTRAINED, StudyConfig
from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.report.results import StudyResults
from ptycho_lib.report.text.html_elements import bullets, escape
from ptycho_lib.study.folder.record import changed_settings
from ptycho_lib.study.results.words import capitalized, joined

IDLE = {"name", "n_train_sizes", "n_test_images"}
"""Settings that every study has its own of."""


def disclosure(results: StudyResults) -> str:
    """Return, as a list, what qualifies the numbers of a study.

    Parameters
    ----------
    results : StudyResults

    Returns
    -------
    str
        HTML: which steps are fitted to test patterns, what the reference and the probe are, and every setting
        that differs from its default.
    """
    return bullets(map(escape, [*_fitted_to_test_patterns(results.config), *_reference(results), _settings(results)]))


def _fitted_to_test_patterns(config: StudyConfig) -> list[str]:
    """Return which steps use the measured test patterns besides the networks' input."""
    steps = []
    if config.network.first_guess_iterations:
        steps.append(f"the first guess ({config.network.first_guess_iterations} iterations)")
    if config.evaluation.correct_phase_drift:
        steps.append("the phase drift correction")
    if config.evaluation.position_correction_steps:
        steps.append(f"the scan positions (at most {config.evaluation.position_correction_steps} steps)")
    if not steps:
        return ["No step but the prediction itself uses the test patterns."]
    verb = "is" if len(steps) == 1 else "are"
    same = ["every network"] * bool(set(NETWORKS) & set(config.models))
    same += ["the untrained control"] * (UNTRAINED in config.models)
    verb_same = "gets" if len(same) == 1 else "get"
    shared = f"; {joined(same)} {verb_same} the same" if same else ""
    return [
        f"{capitalized(joined(steps))} {verb} fitted to the test patterns themselves, never to the reference{shared}."
    ]


def _reference(results: StudyResults) -> list[str]:
    """Return what the models are compared with, and what the test file says of its probe."""
    facts = [results.reference_note or f"The models are compared with the {results.standard}."]
    try:
        history = load_dataset(results.manifest.test.path).history
    except InputError:  # the data are elsewhere
        return facts
    return facts + [
        f"The test file on its probe: {line.removeprefix('probe: ')}." for line in history if "probe" in line.lower()
    ]


def _settings(results: StudyResults) -> str:
    """Return the settings that differ from their defaults."""
    default = StudyConfig().model_dump(mode="json", exclude=IDLE)
    changed = changed_settings(results.config.model_dump(mode="json", exclude=IDLE), default)
    if not changed:
        return "All settings have their defaults."
    return f"Settings that differ from their defaults (default -> this study): {'; '.join(changed)}."
