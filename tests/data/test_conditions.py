from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.config import ConditionConfig, load_config
from ptycho_lib.data.conditions import apply_condition, refuse_conditions, under_conditions
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.errors import InputError
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import defocus, incoherent_modes
from ptycho_lib.physics.scan import resolved_area, scan_overlap
from tests.conftest import simulate_small


def under(dataset, seed=0, **change):
    return apply_condition(dataset, ConditionConfig(name="changed", **change), seed)


def counts(dataset):
    return (np.asarray(dataset.diffraction) * dataset.amplitude_scale()) ** 2


@pytest.mark.parametrize("factor", [0.05, 0.5, 4.0])
def test_the_dose_changes_the_noise_and_not_the_brightness(small_dataset, factor):
    changed = under(small_dataset, photons_factor=factor)
    assert changed.photons_per_pattern == pytest.approx(1e5 * factor)
    ratio = np.square(changed.diffraction[:]).sum() / np.square(small_dataset.diffraction).sum()
    assert ratio == pytest.approx(1, rel=0.01)
    drawn = (changed.diffraction[:] * small_dataset.amplitude_scale() * np.sqrt(factor)) ** 2
    np.testing.assert_allclose(drawn, drawn.round(), atol=0.02)


def test_a_dose_may_be_given_as_photons(small_dataset):
    absolute = under(small_dataset, photons_per_pattern=2e4)
    assert absolute.photons_per_pattern == pytest.approx(2e4)
    assert absolute.fingerprint() == under(small_dataset, photons_factor=0.2).fingerprint()
    with pytest.raises(ValueError, match="photons_factor or photons_per_pattern"):
        ConditionConfig(name="both", photons_factor=0.1, photons_per_pattern=1e4)


def test_a_thinned_scan_keeps_its_patterns_and_is_compared_within_the_whole_one(small_dataset):
    changed = under(small_dataset, scan_overlap=0.4)
    assert 2 < len(changed) < len(small_dataset)
    assert scan_overlap(changed.positions_px, changed.probe) <= 0.4
    distance = np.abs(small_dataset.positions_px[:, None] - changed.positions_px).sum(axis=2)
    kept = distance.argmin(axis=0)
    assert (distance.min(axis=0) == 0).all()
    np.testing.assert_array_equal(changed.diffraction[:], small_dataset.diffraction[kept])
    whole = resolved_area(
        small_dataset.probe, small_dataset.positions_px, small_dataset.obj.shape, min_illumination=0.1
    )
    np.testing.assert_array_equal(changed.coverage, whole)
    some = np.arange(whole.size).reshape(whole.shape) % 2 == 0
    covered = under(replace(small_dataset, coverage=some), scan_overlap=0.4)
    np.testing.assert_array_equal(covered.coverage, whole & some)


def test_conditions_combine_and_a_pattern_keeps_its_noise(small_dataset):
    dose = under(small_dataset, photons_per_pattern=1e3)
    both = under(small_dataset, photons_per_pattern=1e3, scan_overlap=0.4)
    kept = [np.flatnonzero((dose.positions_px == place).all(axis=1))[0] for place in both.positions_px]
    np.testing.assert_array_equal(both.diffraction[:], dose.diffraction[:][kept])
    assert both.photons_per_pattern == pytest.approx(1e3)


def test_conditions_are_refused_together_before_anything_is_trained(small_dataset):
    conditions = [
        {"name": "denser", "scan_overlap": 0.99},
        {"name": "none", "photons_factor": 0.1},
        {"name": "fine", "dead_pixel_fraction": 0.1},
    ]
    config = load_config(None, conditions=conditions)
    with pytest.raises(InputError) as refused:
        refuse_conditions(replace(small_dataset, photons_per_pattern=None), config)
    assert [problem.key for problem in refused.value.problems] == ["scan_overlap", "photons_per_pattern"]
    fine = load_config(None, conditions=conditions[2:])
    refuse_conditions(small_dataset, fine)
    (name, same), (_, changed) = under_conditions(small_dataset, fine)
    assert name == "nominal"
    assert same is small_dataset
    assert isinstance(changed.diffraction, np.ndarray)  # computed once, not by every model anew
    lazy = under(small_dataset, dead_pixel_fraction=0.1)
    np.testing.assert_array_equal(changed.diffraction, lazy.diffraction[:])


def test_thinning_leaves_poisson_statistics():
    dataset = simulate_small(12, seed=2)
    clean = diffract(dataset.obj, dataset.probe, dataset.positions_px).astype(float) ** 2 * 0.1
    drawn = np.stack([counts(under(dataset, seed=s, photons_factor=0.1)) for s in range(40)])
    bright = clean > 5
    np.testing.assert_allclose(drawn.mean(axis=0)[bright].sum(), clean[bright].sum(), rtol=0.01)
    assert (drawn.var(axis=0)[bright] / clean[bright]).mean() == pytest.approx(0.9, abs=0.05)  # 1 - factor


def test_a_dose_needs_counts(small_dataset):
    with pytest.raises(InputError, match="photons_per_pattern: found no such key"):
        under(replace(small_dataset, photons_per_pattern=None), photons_factor=0.1)


def test_a_defocused_probe_explains_the_new_patterns(small_dataset):
    changed = under(small_dataset, probe_defocus_rad=5.0)
    np.testing.assert_allclose(changed.probe, defocus(small_dataset.probe, 5.0))
    new = reprojection(changed)
    old = reprojection(replace(changed, probe=small_dataset.probe))
    assert new.value < 0.08
    assert new.scale == pytest.approx(1, abs=0.01)
    assert old.value > 2 * new.value


def test_a_probe_from_a_file_keeps_the_dose(small_dataset, tmp_path):
    np.savez(tmp_path / "probe.npz", probeGuess=small_dataset.probe.T * 7)
    changed = under(small_dataset, probe_file=str(tmp_path / "probe.npz"))
    np.testing.assert_allclose(changed.probe, small_dataset.probe.T, rtol=1e-5)
    np.savez(tmp_path / "small.npz", probeGuess=small_dataset.probe[:8])
    np.savez(tmp_path / "none.npz", other=np.ones(3))
    for name, words in (("small", r"shape \(8, 32\)"), ("none", "the keys other")):
        with pytest.raises(InputError, match=words):
            under(small_dataset, probe_file=str(tmp_path / f"{name}.npz"))


def test_conditions_keep_every_mode_of_a_partially_coherent_beam(small_dataset, tmp_path):
    modes = incoherent_modes(small_dataset.probe, [0.7, 0.3]) * np.linalg.norm(small_dataset.probe)
    coherent, partial = small_dataset.probe, np.ascontiguousarray(modes, np.complex64)
    np.savez(tmp_path / "modes.npz", probeGuess=5 * partial)
    changed = under(small_dataset, probe_file=str(tmp_path / "modes.npz"))
    np.testing.assert_allclose(changed.probe, partial, rtol=1e-5, atol=1e-7)
    assert reprojection(changed).value < 0.08
    assert reprojection(replace(changed, probe=coherent)).value > 1.5 * reprojection(changed).value
    defocused = under(changed, probe_defocus_rad=5.0)
    np.testing.assert_allclose(defocused.probe, defocus(partial, 5.0), rtol=1e-4, atol=1e-6)
    assert reprojection(defocused).scale == pytest.approx(1, abs=0.01)
    assert under(changed, photons_factor=0.1).photons_per_pattern == pytest.approx(1e4)
    assert scan_overlap(under(changed, scan_overlap=0.4).positions_px, partial) <= 0.4


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_probe_file_without_an_illumination_is_refused(small_dataset, tmp_path, value):
    np.savez(tmp_path / "bad.npz", probeGuess=np.full((2, 32, 32), value, np.complex64))
    with pytest.raises(InputError, match="NaN, infinite values or zeros only"):
        under(small_dataset, probe_file=str(tmp_path / "bad.npz"))


def test_position_errors_leave_patterns_and_true_patches(small_dataset):
    changed = under(small_dataset, position_jitter_px=1.5)
    error = changed.positions_px - small_dataset.positions_px
    assert 1.0 < error.std() < 2.0
    assert changed.diffraction is small_dataset.diffraction
    chosen = np.array([3, 40])
    np.testing.assert_array_equal(changed.object_patches(chosen), small_dataset.object_patches(chosen))
    shape = np.array(small_dataset.obj.shape)
    assert ((changed.positions_px >= 16) & (changed.positions_px <= shape - 16)).all()


def test_dead_pixels_are_the_same_in_every_pattern(small_dataset):
    changed = under(small_dataset, dead_pixel_fraction=0.3)
    patterns = changed.diffraction[:]
    altered = (patterns != small_dataset.diffraction).any(axis=0)
    assert (patterns[:, altered] == 0).all()
    assert 0.05 < altered.mean() < 0.35


def test_another_test_file(small_dataset, tmp_path):
    other = simulate_small(9, seed=4)
    path = save_dataset(other, tmp_path / "other.npz")
    changed = under(small_dataset, test_data=str(path))
    assert changed.fingerprint() == other.fingerprint()
    assert changed.history[-1] == "condition: changed"
    wrong = save_dataset(simulate_small(9, seed=4, size=16), tmp_path / "wrong.npz")
    with pytest.raises(InputError, match="patterns of 16 pixels"):
        under(small_dataset, test_data=str(wrong))


@pytest.mark.parametrize(
    "change",
    [{"photons_factor": 0.3}, {"probe_defocus_rad": 3.0}, {"position_jitter_px": 1.0}, {"scan_overlap": 0.3}],
)
def test_conditions_follow_their_seed(small_dataset, change):
    first, again, other = (under(small_dataset, seed=s, **change).fingerprint() for s in (1, 1, 2))
    assert first == again != other
