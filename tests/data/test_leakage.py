"""The leakage guard: what the test shares with the training is found, however it is disguised."""

import html
from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.config import parse_config
from ptycho_lib.data.check.pair import check_pair
from ptycho_lib.data.dataset import PtychoDataset, save_dataset
from ptycho_lib.data.leakage import find_leakage, object_similarity, refuse_leakage
from ptycho_lib.data.object_registration import register
from ptycho_lib.errors import InputError
from ptycho_lib.evaluation.comparison import compare_objects
from ptycho_lib.physics import diffraction, objects, probes
from ptycho_lib.report.text.run import run_overview
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder.record import ModelOutcome
from ptycho_lib.study.results.aggregate import read_metrics
from ptycho_lib.study.run_session import finish_run, open_run
from tests.support.miniature import write_template
from tests.support.report_examples import dataset

SIZE, SHAPE = 16, (96, 72)


def simulate(positions, obj, seed=0, photons=1e4):
    probe = probes.disc(SIZE, 8.0, smoothing_px=1.0).astype(np.complex64)
    amplitude = diffraction.amplitude(diffraction.extract_patches(obj, positions, SIZE), probe)
    counts = diffraction.poisson_counts(amplitude, photons, np.random.default_rng(seed))
    return PtychoDataset(np.sqrt(counts).astype(np.float32), positions, probe, obj, source=f"file {seed}")


def star(shape=SHAPE, spokes=12):
    return objects.transmission(objects.siemens_star(shape, spokes=spokes)).astype(np.complex64)


def scan(rows, seed=0, n=20):
    low, high = np.array([rows[0], SIZE / 2]), np.array([rows[1], SHAPE[1] - SIZE / 2])
    return np.random.default_rng(seed).uniform(low, high, (n, 2))


@pytest.fixture
def train():
    return simulate(scan((8, 40)), star(), seed=1)


@pytest.fixture
def test_set():
    return simulate(scan((64, 88), seed=5), star(), seed=2)


def test_a_spatial_hold_out_is_clean(train, test_set):
    leakage = find_leakage(train, test_set)
    assert not leakage
    assert leakage.same_object
    assert str(leakage) == "no leakage between training and test data"
    assert refuse_leakage([train], test_set) == ""
    assert "pair-leak" not in " ".join(finding.code for finding in check_pair(train, test_set))


@pytest.mark.parametrize("disguise", [lambda x: x, lambda x: 3.7 * x, lambda x: (x / 7).astype(np.float64)])
def test_patterns_in_both_files_are_found_whatever_their_order_and_scale(train, test_set, disguise):
    stolen = train.diffraction[[7, 3]]
    mixed = disguise(np.concatenate([test_set.diffraction[:5], stolen]))
    test = replace(test_set, diffraction=mixed, positions_px=test_set.positions_px[:7])
    assert find_leakage(train, test).shared_patterns == 2


def test_another_noise_is_another_pattern_but_the_same_position(train):
    again = simulate(train.positions_px, train.obj, seed=9)
    leakage = find_leakage(train, again)
    assert leakage.shared_patterns == 0
    assert leakage.shared_positions == 20
    assert leakage.seen_fraction == 1


def test_dark_patterns_are_not_shared(train, test_set):
    dark = np.zeros_like(train.diffraction)
    assert find_leakage(replace(train, diffraction=dark), replace(test_set, diffraction=dark)).shared_patterns == 0


def test_the_seen_area_by_hand():
    obj = star()
    train = simulate(np.array([[40.0, 36.0]]), obj)
    test = simulate(np.array([[52.0, 36.0]]), obj, seed=3)  # compares rows 48–55, training saw 32–47
    assert find_leakage(train, test).seen_fraction == 0
    nearer = simulate(np.array([[50.0, 36.0]]), obj, seed=3)  # compares rows 46–53
    assert find_leakage(train, nearer).seen_fraction == pytest.approx(2 / 8)
    coverage = np.ones(SHAPE, bool)
    coverage[:48] = False
    assert find_leakage(train, replace(nearer, coverage=coverage)).seen_fraction == 0


def moved(obj, shift):
    """Shift an object by fractions of a pixel, band-limited."""
    down, right = (np.exp(-2j * np.pi * np.fft.fftfreq(n) * s) for n, s in zip(obj.shape, shift, strict=True))
    return np.fft.ifft2(np.fft.fft2(obj) * down[:, None] * right)


AGAIN = {
    "padded": lambda obj: (np.pad(obj, 3, constant_values=1), 3.0),
    "ramp": lambda obj: (obj * np.exp(0.02j * np.indices(obj.shape)[0]), 0.0),
    "shifted": lambda obj: (moved(obj, (0.7, 0.0)), 0.0),
    "all of it": lambda obj: (
        np.pad(moved(obj, (-0.4, 0.7)) * np.exp(0.02j * np.indices(obj.shape).sum(axis=0)), 3, constant_values=1),
        3.0,
    ),
}


@pytest.mark.parametrize("how", AGAIN)
@pytest.mark.parametrize("kind", ["lines", "blobs"])
def test_a_scan_measured_twice_and_reconstructed_separately_is_found(how, kind):
    """Other noise in patterns and objects, and in the frame and the phase ramp of another reconstruction."""
    rng = np.random.default_rng(2)
    obj = objects.transmission(getattr(objects, kind)(SHAPE, np.random.default_rng(1)))
    first = simulate(scan((8, 88), n=60), obj, seed=1)
    noise = [0.02 * (rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)) for _ in range(2)]
    again, pad = AGAIN[how](obj + noise[1])
    second = simulate(first.positions_px, obj, seed=2)
    second = replace(second, obj=again.astype(np.complex64), positions_px=first.positions_px + pad)
    leakage = find_leakage(replace(first, obj=(obj + noise[0]).astype(np.complex64)), second)
    assert leakage.same_object
    assert leakage.shared_patterns == 0
    assert leakage.shared_positions >= 55
    assert leakage.seen_fraction > 0.95
    with pytest.raises(InputError, match="positions of the training scan"):
        refuse_leakage([first], second)


@pytest.mark.parametrize("kind", ["lines", "blobs", "gaussian_random_field", "manhattan", "natural_image"])
def test_objects_of_one_kind_are_different_objects(kind):
    one, two = (objects.transmission(getattr(objects, kind)(SHAPE, np.random.default_rng(s))) for s in (1, 2))
    assert not find_leakage(simulate(scan((8, 88), n=60), one), simulate(scan((8, 88), n=60), two, seed=3)).same_object


def test_a_shift_is_found_to_a_fraction_of_a_pixel_also_in_large_objects():
    obj = objects.transmission(objects.blobs((600, 560), np.random.default_rng(1)))
    other = np.pad(moved(obj, (0.25, -0.4)), ((5, 0), (0, 9)))
    area = np.zeros(obj.shape, bool)
    area[10:-10, 10:-10] = True
    found = register(obj, other, area, np.pad(area, ((5, 0), (0, 9))))
    assert found.similarity > 0.95
    np.testing.assert_allclose(found.shift_px, (-5.25, 0.4), atol=0.15)


def test_another_object_shares_neither_positions_nor_area(train):
    other = simulate(train.positions_px, star(spokes=7), seed=4)
    leakage = find_leakage(train, other)
    assert not leakage
    assert not leakage.same_object
    assert [finding.code for finding in check_pair(train, other)] == ["pair-object"]


def test_one_object_reconstructed_twice_is_the_same_object(train):
    noise = np.random.default_rng(0).normal(0, 0.01, SHAPE)
    assert object_similarity(train.obj, 1.3 * np.exp(0.5j) * train.obj + noise) > 0.99
    assert object_similarity(train.obj, star(spokes=7)) < 0.9
    assert object_similarity(train.obj, train.obj[:50]) == 0
    assert object_similarity(np.ones((4, 4)), 2 * np.ones((4, 4))) == 0  # nothing to distinguish them by


def test_leakage_is_refused_with_every_kind_named(train):
    with pytest.raises(InputError) as error:
        refuse_leakage([train], replace(train, source="copy.npz"))
    assert [problem.key for problem in error.value.problems] == ["diffraction", "positions", "coverage"]
    assert all(problem.source == "copy.npz" for problem in error.value.problems)
    assert "--allow-leakage" in str(error.value)


def test_allowed_leakage_is_stated(train):
    leakage = refuse_leakage([train], train, allow=True)
    assert leakage == (
        "leakage: 20 test patterns also in the training data, 20 test positions also measured in training, "
        "all of the comparison area seen in training"
    )


def test_another_scale_and_another_probe_are_said(train, test_set):
    bright = replace(test_set, diffraction=5 * test_set.diffraction)
    assert [finding.code for finding in check_pair(train, bright)] == ["pair-scale"]
    turned = replace(test_set, probe=np.roll(test_set.probe, 6, axis=0))
    assert [finding.code for finding in check_pair(train, turned)] == ["pair-probe"]


def test_patterns_of_another_size_share_nothing(train, test_set):
    cropped = replace(test_set, diffraction=test_set.diffraction[:, 4:-4, 4:-4])
    assert find_leakage(train, cropped).shared_patterns == 0


@pytest.fixture
def leaking(tmp_path):
    """Training and test files of one scan of one object, and a template that needs no network."""
    whole = dataset(n_side=6)
    for name, part in (("train", np.s_[:24]), ("test", np.s_[20:])):
        save_dataset(whole.select(np.arange(36)[part]), tmp_path / f"{name}.npz")
    template = write_template(tmp_path / "template.ipynb")
    return tmp_path / "train.npz", tmp_path / "test.npz", tmp_path / "study", template


def test_a_study_on_known_test_data_is_refused_before_anything_starts(leaking):
    train, test, out_dir, template = leaking
    with pytest.raises(InputError, match="positions: found 4 positions of the training scan"):
        plan_study(train, test, out_dir, parse_config({"n_train_sizes": [4]}, "test"), template=template)
    assert not out_dir.exists()
    with pytest.raises(InputError, match="--allow-leakage"):
        open_run(train, test, out_dir / "by_hand", 4)
    assert not out_dir.exists()


def test_sequential_selection_is_warned_of_before_the_study_and_in_its_report(leaking, tmp_path):
    train, _, out_dir, template = leaking
    other = save_dataset(simulate_elsewhere(), tmp_path / "other.npz")
    settings = {"n_train_sizes": [6], "sampling": {"method": "sequential"}}
    plan = plan_study(train, other, out_dir, parse_config(settings, "test"), template=template)
    assert len(plan.manifest.warnings) == 1
    assert plan.manifest.warnings[0].startswith("sequential selection: 6 of 24 training patterns cover ")
    (tmp_path / "config.yaml").write_text(parse_config(settings, "test").to_yaml())
    run = open_run(train, other, tmp_path / "run", 6, config=tmp_path / "config.yaml")
    assert run.selection_warning == plan.manifest.warnings[0]
    assert "sequential selection" in run_overview(run)
    even = plan_study(train, other, out_dir, parse_config({"n_train_sizes": [6]}, "test"), template=template)
    assert even.manifest.warnings == ()


def simulate_elsewhere():
    return simulate(scan((8, 88), seed=3), star(spokes=5), seed=6)


def test_allowed_leakage_is_stamped_on_every_output(leaking, tmp_path):
    train, test, out_dir, template = leaking
    config = parse_config({"n_train_sizes": [4], "allow_leakage": True}, "test")
    plan = plan_study(train, test, out_dir, config, template=template)
    assert plan.manifest.leakage.startswith("leakage: ")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    run = open_run(train, test, out_dir, 4, config=tmp_path / "config.yaml")
    scores = compare_objects(run.test.obj, run.test.obj + 0.1, np.ones(run.test.obj.shape, bool))
    record = finish_run(run, scores.assign(model="pinn", condition="nominal"), {"pinn": ModelOutcome(seconds=1)})
    assert record.leakage == run.leakage
    assert "seen in training" in record.leakage
    assert run.leakage in html.unescape(run_overview(run))
    assert (read_metrics(out_dir / "comparison_metrics.csv")["leakage"] == run.leakage).all()
