from dataclasses import replace

import h5py
import numpy as np
import pytest
import yaml

from ptycho_lib.data.dataset import check_dataset, load_dataset, materialise
from ptycho_lib.data.options import parse_options
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.data.simulation.config import SimulationConfig, load_simulation
from ptycho_lib.data.simulation.scan import Detector, mean_intensity, simulate_dataset
from ptycho_lib.data.simulation.study import make_probe, simulate_part, simulate_study
from ptycho_lib.errors import InputError
from ptycho_lib.physics import objects, probes, scan
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import mode_shares
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def ingredients():
    rng = np.random.default_rng(0)
    positions, shape = scan.frame(scan.fermat_spiral(50, 3.0), 32)
    return objects.transmission(objects.blobs(shape, rng)), probes.disc(32, 14, smoothing_px=1.5), positions


def test_noise_free_patterns_are_the_reference_physics(ingredients):
    obj, probe, positions = ingredients
    dataset = simulate_dataset(obj, probe, positions)
    expected = diffract(obj, probe, positions)
    np.testing.assert_array_equal(np.asarray(dataset.diffraction), expected)
    assert dataset.photons_per_pattern is None


def test_counts_follow_dose_and_seed(ingredients):
    first, again, other = (simulate_dataset(*ingredients, detector=Detector(2e4), seed=s) for s in (1, 1, 2))
    counts = np.asarray(first.diffraction).astype(float) ** 2
    np.testing.assert_allclose(counts, counts.round(), atol=1e-2)
    assert counts.sum(axis=(1, 2)).mean() == pytest.approx(2e4, rel=0.01)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_any_portion_in_any_order_is_the_same(ingredients):
    dataset = simulate_dataset(*ingredients, detector=Detector(1e3, dead_pixel_fraction=0.1), seed=3)
    whole = np.asarray(dataset.diffraction)
    np.testing.assert_array_equal(dataset.diffraction[[44, 3, 17]], whole[[44, 3, 17]])
    np.testing.assert_array_equal(dataset.select(np.array([9, 8])).diffraction[:], whole[[9, 8]])


def test_the_probe_is_in_units_of_the_counts(ingredients):
    dataset = simulate_dataset(*ingredients, detector=Detector(1e6, poisson=False))
    expected = diffract(dataset.obj, dataset.probe, dataset.positions_px)
    np.testing.assert_allclose(np.asarray(dataset.diffraction), expected, rtol=1e-3, atol=1e-2)


def test_mean_intensity_is_parsevals(ingredients):
    obj, probe, positions = ingredients
    patterns = diffract(obj, probe, positions)
    assert mean_intensity(obj, probe, positions) == pytest.approx((patterns**2).sum() / 50, rel=1e-5)


def test_detector_effects(ingredients):
    ideal = np.asarray(simulate_dataset(*ingredients, detector=Detector(1e6, poisson=False)).diffraction) ** 2
    kinds = {
        "background": Detector(1e6, poisson=False, background_counts=5),
        "dead": Detector(1e6, poisson=False, dead_pixel_fraction=0.2),
        "saturation": Detector(1e8, poisson=False, saturation=True),
        "blur": Detector(1e6, poisson=False, point_spread_px=1.5),
    }
    made = {
        name: np.asarray(simulate_dataset(*ingredients, detector=detector, seed=1).diffraction).astype(float) ** 2
        for name, detector in kinds.items()
    }
    np.testing.assert_allclose(made["background"], ideal + 5, rtol=1e-4, atol=1e-3)
    dead = (made["dead"] == 0).all(axis=0)
    assert 0.12 < dead.mean() < 0.28
    np.testing.assert_allclose(made["dead"][:, ~dead], ideal[:, ~dead], rtol=1e-4)
    assert made["saturation"].max() == pytest.approx(65535, rel=1e-5)
    assert made["blur"].max() < 0.7 * ideal.max()
    assert made["blur"].sum() == pytest.approx(ideal.sum(), rel=0.01)


def test_incoherent_modes_share_the_dose(ingredients):
    obj, probe, positions = ingredients
    modes = probes.incoherent_modes(probe, [0.8, 0.2])
    dataset = simulate_dataset(obj, modes, positions, detector=Detector(1e5))
    np.testing.assert_allclose(mode_shares(dataset.probe), [0.8, 0.2], rtol=1e-5)
    assert (
        reprojection(dataset).value
        < 1.2 * reprojection(simulate_dataset(obj, probe, positions, detector=Detector(1e5))).value
    )
    assert (np.asarray(dataset.diffraction) ** 2).sum() / 50 == pytest.approx(1e5, rel=0.01)
    assert check_dataset(dataset) == []


# From a configuration


def config(**changes):
    settings = {
        "name": "tiny",
        "size": 32,
        "probe": {"diameter_px": 14},
        "scan": {"overlap": 0.75},
        "parts": {"train": {"n": 30}, "test": {"n": 12}},
    }
    return parse_options(SimulationConfig, "test", {**settings, **changes})


def test_a_study_is_written_labelled_and_reproduced(tmp_path):
    text = yaml.safe_dump(config().model_dump(mode="json"))
    (tmp_path / "simulation.yaml").write_text(text)
    paths = simulate_study(tmp_path / "simulation.yaml", tmp_path / "data")
    assert sorted(path.name for path in paths) == ["tiny_test.npz", "tiny_train.npz"]
    train, test = (load_dataset(tmp_path / "data" / f"tiny_{part}.npz") for part in ("train", "test"))
    assert (len(train), len(test)) == (30, 12)
    assert '"seed": 0' in train.history[0]
    assert '"part": "train"' in train.history[0]
    assert '"overlap": 0.75' in train.history[0]
    assert not np.array_equal(train.obj[:40, :40], test.obj[:40, :40])
    with pytest.raises(InputError, match="existing file"):
        simulate_study(tmp_path / "simulation.yaml", tmp_path / "data")
    again = simulate_study(tmp_path / "simulation.yaml", tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_seed_and_part_change_the_object():
    first = simulate_part(config(), "train").obj
    other_seed = simulate_part(config(seed=1), "train").obj
    assert first.shape == other_seed.shape
    assert not np.array_equal(first, other_seed)
    longer = config(parts={"train": {"n": 30}, "test": {"n": 12}, "more": {"n": 30}})
    np.testing.assert_array_equal(simulate_part(longer, "train").obj, first)
    assert not np.array_equal(simulate_part(longer, "more").obj, first)


def test_no_two_parts_show_the_same_photograph():
    settings = config(
        object={"kind": "natural_image", "phase": "independent"},
        parts={"train": {"n": 9}, "test": {"n": 9}, "named": {"n": 9, "object": {"kind": "natural_image"}}},
    )
    shown = [name for names in settings.pictures().values() for name in names]
    assert len(shown) == len(set(shown)) == 5
    obj = simulate_part(settings, "train").obj
    amplitude_pattern, phase_pattern = np.abs(obj).ravel(), np.angle(obj).ravel()
    assert abs(np.corrcoef(amplitude_pattern, phase_pattern)[0, 1]) < 0.9


def test_phase_follows_the_amplitude_or_is_drawn_apart():
    for kind in ("lines", "gaussian_random_field", "blobs", "manhattan", "natural_image"):
        alike = {
            phase: simulate_part(config(object={"kind": kind, "phase": phase}), "train").obj
            for phase in ("coupled", "independent")
        }
        correlation = {
            phase: np.corrcoef(np.abs(obj).ravel(), np.angle(obj).ravel())[0, 1] for phase, obj in alike.items()
        }
        assert correlation["coupled"] == pytest.approx(-1, abs=1e-4), kind
        assert abs(correlation["independent"]) < 0.9, kind


@pytest.mark.parametrize(
    "kind", ["lines", "siemens_star", "gaussian_random_field", "blobs", "manhattan", "natural_image"]
)
def test_every_object_and_scan_gives_a_valid_dataset(kind):
    scans = iter(["raster", "jittered_raster", "fermat_spiral", "random"] * 2)
    settings = config(
        object={"kind": kind, "phase": "coupled" if kind == "siemens_star" else "independent"},
        scan={"kind": next(scans), "step_px": 5},
        parts={
            "train": {"n": 9},
            **{
                f"p{k}": {"n": 9, "object": {"kind": "lines"}, "scan": {"kind": next(scans), "step_px": 4}}
                for k in range(3)
            },
        },
    )
    for part in settings.parts:
        dataset = simulate_part(settings, part)
        assert check_dataset(dataset) == []
        assert dataset.obj.dtype == np.complex64


def test_probes_of_every_kind(tmp_path):
    stored = np.exp(1j * np.indices((32, 32)).sum(axis=0) / 9) * probes.disc(32, 12, smoothing_px=1)
    np.savez(tmp_path / "probe.npz", probeGuess=stored, modes=np.stack([stored, stored.T]), small=stored[:8, :8])
    with h5py.File(tmp_path / "product.h5", "w") as file:  # leading axes as other programs have them
        file["reconstruction/probe"] = np.stack([stored, stored.T])[None]
    cases = [
        {"kind": "disc"},
        {"kind": "zone_plate", "aperture_px": 16, "pupil_defocus_rad": 4},
        {"kind": "file", "path": "probe.npz", "defocus_rad": 2.0},
        {"kind": "file", "path": "probe.npz", "key": "modes"},
        {"kind": "file", "path": "product.h5", "key": "reconstruction/probe"},
        {"kind": "disc", "mode_powers": [0.7, 0.2, 0.1]},
    ]
    shapes = []
    for case in cases:
        probe = make_probe(config(probe=case).probe, 32, tmp_path)
        assert np.sum(np.abs(probe) ** 2) == pytest.approx(1, rel=1e-4)
        shapes.append(probe.shape)
    assert shapes == [(32, 32)] * 3 + [(2, 32, 32), (2, 32, 32), (3, 32, 32)]
    for key, words in (("nothing", "the key 'nothing'"), ("small", r"shape \(8, 8\)")):
        with pytest.raises(InputError, match=words):
            make_probe(config(probe={"kind": "file", "path": "probe.npz", "key": key}).probe, 32, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 31}, "size: found 31"),
        ({"colour": 1}, "colour: found an unknown setting"),
        ({"scan": {"step_px": 4, "overlap": 0.5}}, "either step_px or overlap"),
        ({"probe": {"kind": "file"}}, "needs path"),
        ({"parts": {}}, "parts"),
        ({"object": {"kind": "siemens_star"}}, "would share one object"),
        ({"object": {"kind": "natural_image", "settings": {"name": "moon"}}}, "more than one part"),
        ({"object": {"kind": "siemens_star", "phase": "independent"}}, "its phase is coupled"),
        (
            {
                "object": {"kind": "natural_image", "phase": "independent"},
                "parts": {f"p{k}": {"n": 4} for k in range(6)},
            },
            "too few for parts",
        ),
        ({"detector": {"photons_per_pattern": -1}}, "photons_per_pattern: found -1"),
        ({"detector": {"photons_per_pattern": 1e25}}, "less than or equal to"),
        ({"probe": {"mode_powers": [1.0] * 7}}, "mode_powers.*at most 6"),
    ],
)
def test_bad_settings_are_reported(changes, words):
    with pytest.raises(InputError, match=words):
        config(**changes)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"object": {"settings": {"colour": 1}}}, r"object\.settings: found .*'colour'.*settings of lines"),
        ({"object": {"settings": {"width_px": 0}}}, r"object\.settings: found divide by zero"),
        ({"object": {"kind": "manhattan", "settings": {"pitch_px": 0}}}, r"object\.settings"),
        ({"scan": {"step_px": 1e6}}, r"scan: found an object of \d+×\d+ pixels"),
        (
            {"probe": {"kind": "zone_plate", "aperture_px": 1, "stop_fraction": 0.9}},
            "probe: found the probe has",
        ),
        ({"probe": {"kind": "file", "path": "dark.npz"}}, "probe: found the probe has no intensity"),
        ({"probe": {"kind": "file", "path": "nowhere.npz"}}, r"nowhere\.npz: found No such file[^:]*$"),
    ],
)
def test_settings_that_cannot_be_simulated_are_refused(sections, words, tmp_path):
    np.savez(tmp_path / "dark.npz", probeGuess=np.zeros((32, 32), complex))
    with pytest.raises(InputError, match=words):
        simulate_part(config(**sections), "train", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[1, 2]", "found list"), ("a: [", "not YAML"), ("- {", "not YAML"), (None, "No such file")],
)
def test_bad_files_are_refused(text, words, tmp_path):
    path = tmp_path / "simulation.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_simulation(path)


@pytest.mark.parametrize("study", ["lines", "transfer"])
def test_the_studies_of_the_project_are_valid(study):
    settings = load_simulation(ROOT / "studies" / study / "simulation.yaml")
    few = replace_counts(settings, 6)
    for part in few.parts:
        dataset = simulate_part(few, part, ROOT / "studies" / study)
        assert check_dataset(dataset) == []
        assert dataset.patch_size == 64


def replace_counts(settings, n):
    parts = {name: part.model_copy(update={"n": n}) for name, part in settings.parts.items()}
    return settings.model_copy(update={"parts": parts})


def test_a_simulation_does_not_depend_on_what_is_done_with_it(ingredients):
    dataset = simulate_dataset(*ingredients, detector=Detector(1e4), seed=1)
    assert replace(dataset, source="x").fingerprint() == materialise(dataset).fingerprint()


@pytest.mark.parametrize("effect", [{"background_counts": 3.0}, {"dead_pixel_fraction": 0.2}, {"saturation": True}])
def test_photons_are_those_that_were_detected(effect, ingredients):
    photons = 1e8 if "saturation" in effect else 1e4
    dataset = simulate_dataset(*ingredients, detector=Detector(photons, **effect), seed=4)
    counts = np.square(np.asarray(dataset.diffraction, dtype=np.float64))
    assert dataset.photons_per_pattern == pytest.approx(counts.sum() / len(counts), rel=1e-6)
    assert abs(dataset.photons_per_pattern / photons - 1) > 0.05
    assert dataset.amplitude_scale() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("effect", [{"background_counts": 2.0}, {"saturation": True}])
def test_background_and_saturation_need_counts(effect):
    settings = {"detector": {"photons_per_pattern": None, **effect}}
    with pytest.raises(InputError, match="give photons_per_pattern"):
        parse_options(SimulationConfig, "simulation", settings)
