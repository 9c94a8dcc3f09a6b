"""Planning: problems before anything starts, exact commands, costs, schedules."""

import shlex

import pytest

from ptycho_lib.errors import InputError
from ptycho_lib.study.execution import forecast as cost
from ptycho_lib.study.execution.kernel_environment import Resources
from ptycho_lib.study.execution.plan import plan_study, prepare_run
from ptycho_lib.study.folder.manifest import read_manifest
from tests.support.miniature import CELLS, PARAMETERS, Miniature, write_template


@pytest.fixture
def study(tmp_path):
    return Miniature(tmp_path)


def plan_of(study, template=None, out=None, **changes):
    config = study.config(**changes)
    return plan_study(study.train, study.test, out or study.out, config, template=template or study.template)


def test_planning_writes_nothing(study):
    plan = plan_of(study)
    assert [run.n_train for run in plan.runs] == [4, 8]
    assert not study.out.exists()


def test_trials_come_one_after_the_other(study):
    plan = plan_of(study, trials=2)
    assert [(run.trial, run.n_train) for run in plan.runs] == [(1, 4), (1, 8), (2, 4), (2, 8)]
    assert plan.runs[0].folder == study.out / "n_train_4"
    assert plan.runs[2].folder == study.out / "n_train_4" / "trial_2"


def test_every_impossible_size_is_reported_at_once(study):
    with pytest.raises(InputError) as caught:
        plan_of(study, n_train_sizes=(8, 21, 40), n_test_images=13)
    assert [problem.found for problem in caught.value.problems] == [
        "21 training patterns asked for",
        "40 training patterns asked for",
        "13 test patterns asked for",
    ]
    assert not study.out.exists()


def test_a_condition_that_the_test_data_do_not_allow_is_refused_before_anything_runs(study):
    conditions = [{"name": "dim", "photons_factor": 0.1}, {"name": "dense", "scan_overlap": 0.999}]
    with pytest.raises(InputError) as caught:
        plan_of(study, conditions=conditions)
    assert [problem.key for problem in caught.value.problems] == ["photons_per_pattern", "scan_overlap"]
    assert not study.out.exists()


def test_faults_of_both_files_and_the_folder_are_reported_together(study):
    study.train.write_bytes(b"not an npz")
    study.test.unlink()
    with pytest.raises(InputError) as caught:
        plan_of(study, out=study.template / "inside")
    sources = " ".join(problem.source for problem in caught.value.problems)
    for path in (study.train, study.test, study.template):
        assert str(path) in sources


def test_a_template_without_a_parameter_is_refused(study):
    cut = "\n".join(line for line in PARAMETERS.splitlines() if not line.startswith("trial"))
    template = write_template(study.folder / "cut.ipynb", CELLS, cut)
    with pytest.raises(InputError, match="a 'parameters' cell without trial"):
        plan_of(study, template=template)
    with pytest.raises(InputError, match="no such file"):
        plan_of(study, template=study.folder / "none.ipynb")


def test_a_parameter_hidden_by_its_comment_is_noticed(study):
    hidden = PARAMETERS.replace("# test patterns, 0 for the default", "# 0 = default")
    template = write_template(study.folder / "hidden.ipynb", CELLS, hidden)
    with pytest.raises(InputError, match="without n_test"):
        plan_of(study, template=template)


def test_the_command_is_absolute_and_literal(study):
    folder = study.folder / "a {strange} 'folder' $HOME"
    plan = plan_of(study, out=folder)
    command = plan.command(plan.runs[0])
    assert "a {{strange}} 'folder' $HOME" in command[4]
    assert shlex.split(plan.shell_line(plan.runs[0], Resources(3)))[-len(command) :][:3] == command[:3]
    assert "TF_NUM_INTRAOP_THREADS=3" in plan.shell_line(plan.runs[0], Resources(3))


def test_preparation_writes_plain_parameters(study):
    import yaml

    plan = plan_of(study)
    prepare_run(plan, plan.runs[0])
    parameters = yaml.safe_load((plan.runs[0].folder / "execution" / "parameters.yaml").read_text())
    assert list(parameters) == [
        "train_data",
        "test_data",
        "output_dir",
        "n_train",
        "n_test",
        "trial",
        "config",
    ]
    assert {type(value) for value in parameters.values()} == {str, int}
    assert (parameters["n_train"], parameters["n_test"], parameters["trial"]) == (4, 12, 1)


def test_a_run_folder_that_leads_out_of_the_study_is_refused(study):
    outside = study.folder / "outside"
    outside.mkdir()
    study.out.mkdir()
    (study.out / "n_train_4").symlink_to(outside)
    with pytest.raises(InputError, match="Remove the symbolic link"):
        plan_of(study)
    assert not list(outside.iterdir())


def test_an_execution_folder_that_leads_out_is_refused(study):
    outside = study.folder / "outside"
    outside.mkdir()
    (study.out / "n_train_4").mkdir(parents=True)
    (study.out / "n_train_4" / "execution").symlink_to(outside)
    with pytest.raises(InputError, match="Remove the symbolic link"):
        plan_of(study)
    assert not list(outside.iterdir())


def samples():
    low = cost.Sample(kind="trained", n_train=4, fixed_s=10.0, epoch_s={"pinn": 1.0}, memory_bytes=1e9, disk_bytes=1e6)
    high = cost.Sample(kind="trained", n_train=8, fixed_s=20.0, epoch_s={"pinn": 2.0}, memory_bytes=2e9, disk_bytes=3e6)
    return [low, high]


TEN_EPOCHS = {"steps": 200, "validations": 10}


def test_costs_are_interpolated(study):
    plan = plan_of(study, n_train_sizes=(4, 6, 8), training=TEN_EPOCHS)
    costs = cost.predict(plan, samples())
    found = [costs[run.folder] for run in plan.runs]
    assert [one.seconds for one in found] == pytest.approx([20.0, 30.0, 40.0])
    assert [one.memory_bytes for one in found] == pytest.approx([1e9, 1.5e9, 2e9])
    assert [one.disk_bytes for one in found] == pytest.approx([1e6, 2e6, 3e6])


def test_the_schedule_gives_the_next_run_to_the_first_free_job(study):
    plan = plan_of(study, n_train_sizes=(4, 6, 8), training=TEN_EPOCHS)
    costs = cost.predict(plan, samples())
    slots = cost.schedule(list(plan.runs), costs, jobs=2)
    assert [(slot.job, slot.start_s, slot.end_s) for slot in slots] == [
        (0, 0.0, 20.0),
        (1, 0.0, 30.0),
        (0, 20.0, 60.0),
    ]
    lines = cost.table(slots, costs)
    assert "in total 1 min 00 s" in lines[-1]
    assert "2.0 GB" in lines[-1]
    assert "6 MB of disk" in lines[-1]


def test_what_cannot_fit_is_refused(study):
    plan = plan_of(study)
    costs = {run.folder: cost.Cost(10.0, 1e18, 1e18) for run in plan.runs}
    with pytest.raises(InputError) as caught:
        cost.require_room(plan, list(plan.runs), costs, jobs=2)
    assert [problem.key for problem in caught.value.problems] == ["disk", "memory"]
    cost.require_room(plan, [], costs, jobs=2)


def test_the_calibration_has_fewer_epochs_of_full_length(study):
    training = {"steps": 1000, "validations": 50, "patience": 9}
    config = study.config(n_train_sizes=(4, 6, 8), trials=3, training=training)
    short = cost.calibration_config(config, n_test=12)
    assert (short.n_train_sizes, short.trials, short.n_test_images) == ((4, 8), 1, 12)
    assert short.training.epochs == cost.CALIBRATION_EPOCHS
    assert short.training.steps_per_epoch == config.training.steps_per_epoch == 20
    assert short.network == config.network


def test_a_training_shorter_than_the_calibration_is_executed_whole(study):
    config = study.config(training={"steps": 6, "validations": 3})
    assert cost.calibration_config(config, n_test=12).training.epochs == 3


def test_starting_again_keeps_the_time_of_the_first_start(study):
    from ptycho_lib.study.execution.runner import claim

    first = plan_of(study)
    claim(first)
    assert plan_of(study).manifest.created == first.manifest.created == read_manifest(study.out).created


def test_a_configuration_in_the_output_folder_is_not_overwritten(study):
    from ptycho_lib.study.execution.runner import claim

    study.out.mkdir(exist_ok=True)
    mine = study.out / "study.yaml"
    mine.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="would overwrite"):
        claim(plan_of(study))
    assert mine.read_text(encoding="utf-8") == "name: mine\n"
    mine.write_bytes(b"")  # damaged
    claim(plan_of(study))
    assert read_manifest(study.out).created
