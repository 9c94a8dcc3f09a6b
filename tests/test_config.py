"""The configuration: every problem at once, nothing silently ignored, read back unchanged."""

from __future__ import annotations

from typing import get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from ptycho_lib.config import NETWORKS, UNTRAINED, LossTerm, StudyConfig, load_config, parse_config
from ptycho_lib.errors import InputError


def faults_of(settings_, source="study.yaml"):
    with pytest.raises(InputError) as caught:
        parse_config(settings_, source)
    return caught.value.problems


def only_problem(settings_):
    (problem,) = faults_of(settings_)
    return problem


def written(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_hold_without_a_file():
    assert load_config() == StudyConfig()
    assert load_config().n_train_sizes == (128, 256, 512)
    assert load_config().models == (*NETWORKS, UNTRAINED)
    assert load_config().trials == 3


@pytest.mark.parametrize(
    ("settings_", "key", "hint"),
    [
        ({"n_train_size": [8]}, "n_train_size", "Did you mean 'n_train_sizes'?"),
        ({"training": {"step": 5}}, "training.step", "Did you mean 'steps'?"),
        ({"network": {"grid_size": 2}}, "network.grid_size", "Did you mean 'gridsize'?"),
        (
            {"conditions": [{"name": "dim", "photon_factor": 0.1}]},
            "conditions.0.photon_factor",
            "Did you mean 'photons_factor'?",
        ),
        ({"zzzzz": 1}, "zzzzz", "Configuration"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(settings_, key, hint):
    problem = only_problem(settings_)
    assert problem.source == "study.yaml"
    assert problem.key == key
    assert hint in problem.fix
    assert "unknown" in problem.found


def test_the_known_names_of_the_right_section_are_listed():
    expected = only_problem({"sampling": {"fraction": 0.1}}).expected
    assert expected == "one of method, validation_fraction"


def test_a_size_that_is_no_number_is_one_problem():
    assert only_problem({"n_train_sizes": ["abc"]}).key == "n_train_sizes.0"
    assert only_problem({"n_train_sizes": []}).key == "n_train_sizes"


def test_all_faults_are_reported_at_once():
    problems = faults_of(
        {
            "seeds": 3,
            "trials": 0,
            "training": {"steps": 0, "learning_rate": -1, "precision": "float16"},
            "network": {"backbone": "resnet"},
            "conditions": [{"name": "Big Name", "photons_factor": 0}],
        }
    )
    assert {problem.key for problem in problems} == {
        "seeds",
        "trials",
        "training.steps",
        "training.learning_rate",
        "training.precision",
        "network.backbone",
        "conditions.0.name",
        "conditions.0.photons_factor",
    }
    message = {problem.key: str(problem) for problem in problems}
    assert "found 'resnet'; expected 'compact' or 'published'" in message["network.backbone"]
    assert "found -1; expected greater than 0" in message["training.learning_rate"]


@pytest.mark.parametrize(
    ("section", "key", "bad"),
    [
        ("sampling", "method", "farthest"),
        ("sampling", "validation_fraction", 0),
        ("sampling", "validation_fraction", 1),
        ("network", "width", 0),
        ("network", "gridsize", 0),
        ("network", "gridsize", 4),
        ("network", "first_guess_iterations", -1),
        ("network", "probe_modes", 0),
        ("network", "trainable_scale", "perhaps"),
        ("training", "steps", 2.5),
        ("training", "steps", None),
        ("training", "validations", 0),
        ("training", "batch_size", 0),
        ("training", "learning_rate", 0),
        ("training", "learning_rate", float("nan")),
        ("training", "learning_rate", float("inf")),
        ("training", "warmup_fraction", 1),
        ("network", "probe_mask_radius_px", 0),
        ("network", "probe_smoothing_px", -1),
        ("training", "pinn_loss", "mse"),
        ("training", "merged_patches", 0),
        ("training", "merged_patches", 118),
        ("training", "patience", -1),
        ("training", "min_epochs", -1),
        ("training", "precision", "bfloat16"),
        ("evaluation", "min_illumination", 0),
        ("evaluation", "min_illumination", 1),
        ("evaluation", "max_shift_px", 0),
        ("evaluation", "synchronise_phases", "sometimes"),
    ],
)
def test_a_value_beyond_its_limits_is_refused_by_its_full_name(section, key, bad):
    problem = only_problem({section: {key: bad}})
    assert problem.key == f"{section}.{key}"
    assert repr(bad) in problem.found
    assert problem.expected


@pytest.mark.parametrize(("gridsize", "most"), [(1, 13), (2, 52)])
def test_no_more_patches_are_merged_than_have_neighbours(gridsize, most):
    network = {"gridsize": gridsize}
    assert parse_config({"network": network, "training": {"merged_patches": most}}, "x").training.merged_patches == most
    problem = only_problem({"network": network, "training": {"merged_patches": most + 1}})
    assert f"at most {most} can be merged" in problem.found + problem.expected


@pytest.mark.parametrize(
    ("settings_", "key"),
    [
        ({"n_train_sizes": []}, "n_train_sizes"),
        ({"n_train_sizes": 128}, "n_train_sizes"),
        ({"n_train_sizes": [0, 4]}, "n_train_sizes.0"),
        ({"n_train_sizes": [4, 8.5]}, "n_train_sizes.1"),
        ({"n_test_images": 0}, "n_test_images"),
        ({"trials": 0}, "trials"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"vary": ["probe"]}, "vary.0"),
        ({"models": []}, "models"),
        ({"models": ["pinn", "unet"]}, "models.1"),
        ({"training": 3}, "training"),
        ({"training": {"pinn_loss": {"mse": 1}}}, "training.pinn_loss.mse"),
        ({"training": {"pinn_loss": {"poisson": 0}}}, "training.pinn_loss.poisson"),
        ({"conditions": [{"photons_factor": 0.1}]}, "conditions.0.name"),
        ({"conditions": [{"name": "x", "position_jitter_px": 0}]}, "conditions.0.position_jitter_px"),
        ({"conditions": [{"name": "x", "dead_pixel_fraction": 1}]}, "conditions.0.dead_pixel_fraction"),
    ],
)
def test_a_study_that_cannot_be_is_refused(settings_, key):
    assert only_problem(settings_).key == key


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"n_train_sizes": [8, 4]}, "must rise strictly"),
        ({"n_train_sizes": [4, 4]}, "each size once"),
        ({"n_train_sizes": [3, 8], "network": {"gridsize": 2}}, "a group of gridsize 2 holds 4 patterns"),
        ({"models": ["pinn", "pinn"]}, "names a model twice"),
        ({"network": {"probe_smoothing_px": 2}}, "set trainable_probe: true"),
        ({"conditions": [{"name": "nominal", "photons_factor": 0.1}]}, "is the unchanged test set"),
        ({"conditions": [{"name": "train", "photons_factor": 0.1}]}, "is the training scan"),
        ({"conditions": [{"name": "same"}]}, "changes nothing; set one of dead_pixel_fraction"),
        (
            {"conditions": [{"name": "a", "photons_factor": 0.1}, {"name": "a", "photons_factor": 0.2}]},
            "must differ",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings_, message):
    assert message in str(only_problem(settings_))


def test_files_of_conditions_are_found_from_the_configuration_and_count_by_content(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "study.yaml").write_text("conditions: [{name: other, test_data: data/other.npz}]")
    config = load_config(here / "study.yaml")
    assert config.conditions[0].test_data == str(here / "data/other.npz")
    assert config.anchored(there) == config  # absolute paths stay
    assert load_config(there / "study.yaml").fingerprint() == config.fingerprint()
    (there / "study.yaml").write_text("conditions: [{name: other, test_data: data/third.npz}]")
    assert load_config(there / "study.yaml").fingerprint() != config.fingerprint()


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("auto", {}),
        ("{}", {}),
        ("poisson", {"poisson": 1}),
        ("amplitude_mae", {"amplitude_mae": 1}),
        ("{poisson: 2, amplitude_mae: 0.5}", {"poisson": 2, "amplitude_mae": 0.5}),
    ],
)
def test_a_loss_is_a_name_or_weights(tmp_path, text, weights):
    config = load_config(written(tmp_path, f"training: {{pinn_loss: {text}}}\n"))
    assert config.training.pinn_loss == weights


def test_the_configuration_cannot_be_changed_afterwards():
    config = StudyConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4
    with pytest.raises(ValidationError, match="frozen"):
        config.training.steps = 4


def test_command_line_values_replace_those_of_the_file_and_none_does_not(tmp_path):
    path = written(tmp_path, "trials: 3\nseed: 4\ntraining: {steps: 7, learning_rate: 2e-3}\n")
    config = load_config(path, trials=5, seed=None)
    assert (config.trials, config.seed, config.training.steps) == (5, 4, 7)
    assert config.training.learning_rate == 0.002  # YAML 1.1 reads 2e-3 as text
    with pytest.raises(InputError, match=r"command line: trials: found 0"):
        load_config(None, trials=0)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_means_the_defaults(tmp_path, text):
    assert load_config(written(tmp_path, text)) == StudyConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "found list; expected a mapping of settings"),
        ("just text\n", "found str; expected a mapping of settings"),
        ("training: {steps: 3\n", "text that is not YAML"),
        ("name: !!python/object/apply:os.system ['touch smuggled']\n", "text that is not YAML"),
        ("name: !!python/name:os.system\n", "text that is not YAML"),
        ("1: 2\n", "Keys should be strings"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_and_never_executed(tmp_path, text, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "smuggled").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing.yaml: found No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="a readable YAML file"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not YAML"):
        load_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    "change", [{"name": "b"}, {"n_train_sizes": [4]}, {"n_test_images": 9}, {"trials": 7}], ids=str
)
def test_the_fingerprint_ignores_which_runs_there_are(change):
    assert parse_config(change, "").fingerprint() == StudyConfig().fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"vary": ["weights"]},
        {"models": ["pinn"]},
        {"allow_leakage": True},
        {"sampling": {"method": "random"}},
        {"network": {"width": 33}},
        {"training": {"learning_rate": 0.0011}},
        {"training": {"pinn_loss": {"poisson": 1, "amplitude_mae": 0.5}}},
        {"evaluation": {"max_shift_px": 2.5}},
        {"training_scan": False},
        {"conditions": [{"name": "dim", "photons_factor": 0.1}]},
    ],
    ids=str,
)
def test_the_fingerprint_changes_with_every_setting_that_changes_numbers(change):
    assert parse_config(change, "").fingerprint() != StudyConfig().fingerprint()


def test_the_fingerprint_is_the_same_in_every_process():
    """Of the canonical JSON, so it does not depend on hash seeds; a change of it makes all runs stale."""
    config = load_config(None, seed=5)
    assert config.fingerprint() == load_config(None, seed=5, name="other").fingerprint()
    assert len(config.fingerprint()) == 64
    assert set(config.fingerprint()) <= set("0123456789abcdef")


def test_a_trial_varies_what_it_should_and_nothing_else():
    config = parse_config({"vary": ["weights"]}, "")
    first, second = config.seeds(1), config.seeds(2)
    assert set(first) == {"subset", "weights", "order"}
    assert first["weights"] != second["weights"]
    assert first["subset"] == second["subset"]
    assert first["order"] == second["order"]
    everything = StudyConfig()
    assert all(everything.seeds(1)[name] != everything.seeds(2)[name] for name in first)
    nothing = parse_config({"vary": []}, "")
    assert nothing.seeds(1) == nothing.seeds(2)


def test_seeds_follow_the_root_seed_and_differ_among_themselves():
    config, other = StudyConfig(), StudyConfig(seed=1)
    assert len(set(config.seeds(1).values())) == 3
    assert not set(config.seeds(1).values()) & set(other.seeds(1).values())
    assert all(0 <= seed < 2**31 for trial in range(50) for seed in config.seeds(trial).values())


def test_seeds_do_not_depend_on_the_sizes():
    """Sizes of one trial are nested and start from the same weights."""
    assert StudyConfig(n_train_sizes=(4,)).seeds(3) == StudyConfig(n_train_sizes=(4, 512)).seeds(3)


FRACTIONS = st.floats(1e-6, 1 - 1e-6)
POSITIVE = st.floats(1e-6, 1e6)
CONDITIONS = st.fixed_dictionaries(
    {"photons_factor": POSITIVE},
    optional={"probe_defocus_rad": st.floats(-50, 50), "dead_pixel_fraction": FRACTIONS},
)
CONFIGURATIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=20),
        "n_train_sizes": st.sets(st.integers(9, 10**6), min_size=1, max_size=5).map(sorted),
        "n_test_images": st.none() | st.integers(1, 10**5),
        "trials": st.integers(1, 50),
        "vary": st.lists(st.sampled_from(["subset", "weights", "order"]), unique=True),
        "seed": st.integers(0, 2**31 - 1),
        "models": st.permutations([*NETWORKS, UNTRAINED, "iterative", "pinn+iterative"])
        | st.sampled_from([["pinn"], ["baseline"]]),
        "sampling": st.fixed_dictionaries({"validation_fraction": FRACTIONS}),
        "network": st.fixed_dictionaries({"width": st.integers(1, 512), "gridsize": st.integers(1, 3)}),
        "training": st.fixed_dictionaries(
            {
                "learning_rate": POSITIVE,
                "jit_compile": st.booleans(),
                "patience": st.integers(0, 99),
                "pinn_loss": st.dictionaries(st.sampled_from(get_args(LossTerm)), POSITIVE),
            }
        ),
        "evaluation": st.fixed_dictionaries({"max_shift_px": POSITIVE}),
        "conditions": st.lists(CONDITIONS, max_size=3).map(
            lambda found: [{"name": f"c{k}"} | condition for k, condition in enumerate(found)]
        ),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CONFIGURATIONS)
def test_every_configuration_is_read_back_unchanged(tmp_path, chosen):
    config = parse_config(chosen, "")
    again = load_config(written(tmp_path, config.to_yaml()))
    assert again == config
    assert again.fingerprint() == config.fingerprint()


def test_the_yaml_is_plain_and_in_the_order_of_the_documentation():
    text = StudyConfig().to_yaml()
    assert "!!" not in text
    assert list(yaml.safe_load(text)) == list(StudyConfig.model_fields)


def test_the_control_depends_on_its_first_guess_and_on_no_training():
    def control(**changes):
        return parse_config(changes, "").fingerprint("untrained")

    assert control(training={"learning_rate": 0.5}, vary=[], sampling={"method": "random"}) == control()
    assert control(network={"width": 3, "trainable_probe": True}) == control()
    assert control(models=["pinn", "untrained"]) == control()
    assert control(network={"gridsize": 2}) != control()
    assert control(evaluation={"max_shift_px": 1}) != control()


def test_models_belong_to_the_runs_that_compute_them():
    config = parse_config({"models": ["pinn", "iterative", "untrained", "pinn+iterative"]}, "")
    assert config.kinds == ("untrained", "iterative", "trained")
    assert config.models_of("trained") == ("pinn", "pinn+iterative")
    assert config.models_of("untrained") == ("untrained",)
    assert config.models_of("iterative") == ("iterative",)


def test_settings_can_be_given_in_braces_instead_of_a_file():
    config = load_config('{"n_train_sizes": [8], "seed": 5}')
    assert (config.n_train_sizes, config.seed) == ((8,), 5)
    with pytest.raises(InputError, match="config: seed: found -1"):
        load_config("{seed: -1}")
    with pytest.raises(InputError, match="text that is not YAML"):
        load_config("{seed: ")
