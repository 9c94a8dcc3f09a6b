"""Names of an older version: refused in a configuration, understood in old results."""

from __future__ import annotations

import pytest

from ptycho_lib.config import StudyConfig, parse_config
from ptycho_lib.errors import InputError
from ptycho_lib.settings_problems import RENAMED, with_names_of_today


def nested(key, value):
    *place, name = key.split(".")
    return {place[0]: {name: value}} if place else {name: value}


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(old):
    with pytest.raises(InputError) as caught:
        parse_config(nested(old, 1), "study.yaml")
    (problem,) = caught.value.problems
    assert (problem.key, problem.expected) == (old, RENAMED[old])
    assert RENAMED[old] in problem.fix


@pytest.mark.parametrize("new", sorted(set(RENAMED.values())))
def test_the_new_names_exist(new):
    with pytest.raises(InputError) as caught:
        parse_config(nested(new, "nonsense"), "study.yaml")
    assert {problem.found for problem in caught.value.problems} == {"'nonsense'"}


def test_settings_of_an_older_study_are_read():
    old = {
        "arms": ["pinn"],
        "network": {"first_guess": 0, "width": 4},
        "training": {"epochs": 20, "min_steps": 300, "overlap": 4},
    }
    config = StudyConfig.model_validate(with_names_of_today(old))
    assert config.models == ("pinn",)
    assert (config.network.first_guess_iterations, config.network.width) == (0, 4)
    assert (config.training.steps, config.training.merged_patches) == (300, 4)
    assert old["network"] == {"first_guess": 0, "width": 4}


def test_settings_of_today_stay_as_they_are():
    settings = StudyConfig().model_dump(mode="json")
    assert with_names_of_today(settings) == settings
