"""The iterative reconstruction: frame, scale, seed, starting guess; and what is said without the extra."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ptycho_lib import optional_dependencies as extras
from ptycho_lib.config import IterativeConfig, load_config
from ptycho_lib.data.dataset import PtychoDataset, materialise
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.evaluation.alignment import align
from ptycho_lib.evaluation.comparison import comparison_mask
from ptycho_lib.evaluation.reconstruction import assess
from ptycho_lib.iterative.engine_process import EngineRoom
from ptycho_lib.iterative.reconstruction import filled, has_converged, iterate, scaled_probe
from ptycho_lib.physics.diffraction import amplitude, extract_patches
from ptycho_lib.physics.probes import incoherent_modes, mode_shares
from tests.conftest import simulate_small

needs_engine = pytest.mark.iterative
PHOTONS = 1e6


def error(dataset: PtychoDataset, obj: np.ndarray) -> float:
    """Return the relative error of an object in the compared area, aligned."""
    mask = comparison_mask(dataset.positions_px, dataset.probe, dataset.obj.shape)
    fit = align(dataset.obj, obj, mask, max_shift_px=2)
    return float(np.linalg.norm((fit.aligned - dataset.obj)[mask]) / np.linalg.norm(dataset.obj[mask]))


@pytest.fixture(scope="module")
def dataset() -> PtychoDataset:
    """A scan that no mirroring, transposition or half pixel leaves alike: nothing in it has a symmetry."""
    return simulate_small(80, seed=3, photons=PHOTONS)


@needs_engine
@pytest.mark.parametrize("algorithm", ["lsqml", "epie", "rpie", "dm"])
def test_every_algorithm_finds_the_object_in_its_frame(dataset: PtychoDataset, algorithm: str) -> None:
    found = iterate(
        dataset,
        IterativeConfig(algorithm=algorithm, updates=40 if algorithm == "dm" else 200, batch_size=16, tolerance=0),
        seed=0,
    )
    assert found.obj.shape == dataset.obj.shape
    assert not found.outcome.collapsed
    mask = comparison_mask(dataset.positions_px, dataset.probe, dataset.obj.shape)
    fit = align(dataset.obj, found.obj, mask, max_shift_px=2)
    assert np.abs(fit.shift_px).max() < 0.05
    assert np.abs(fit.ramp_rad_per_px).max() < 5e-3
    limit = 0.12 if algorithm == "dm" else 0.06
    assert error(dataset, found.obj) < limit
    for turned in (found.obj[::-1], found.obj[:, ::-1], found.obj.conj()):
        assert error(dataset, turned) > 2 * limit


@needs_engine
def test_the_probe_comes_back_on_the_scale_of_the_counts(dataset: PtychoDataset) -> None:
    """Also where it is refined, and whatever the scale of the one given."""
    probe = 7 * dataset.probe  # one mode; a second is added
    found = iterate(
        dataset, IterativeConfig(updates=15, tolerance=0, refine_probe=True, probe_modes=2), seed=0, probe=probe
    )
    assert found.probe.shape == (2, 32, 32)
    predicted = np.zeros((len(dataset), 32, 32))
    patches = extract_patches(filled(found.obj), dataset.positions_px, 32)
    for mode in found.probe:
        predicted += np.square(amplitude(patches, mode), dtype=np.float64)
    assert predicted.sum() / len(dataset) == pytest.approx(PHOTONS, rel=0.05)


@needs_engine
def test_the_same_seed_gives_the_same_digits_and_leaves_global_generators_alone(
    dataset: PtychoDataset,
) -> None:
    settings = IterativeConfig(updates=6, tolerance=0)
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    first, again, other = (iterate(dataset, settings, seed=seed).obj for seed in (3, 3, 4))
    assert np.random.random() == expected  # noqa: NPY002
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@needs_engine
def test_a_good_start_is_not_lost_and_saves_epochs(dataset: PtychoDataset) -> None:
    settings = IterativeConfig(updates=9, tolerance=0)
    flat = iterate(dataset, settings, seed=0)
    ahead = iterate(
        dataset, settings, seed=0, start=iterate(dataset, IterativeConfig(updates=60, tolerance=0), seed=1).obj
    )
    assert error(dataset, ahead.obj) < error(dataset, flat.obj) / 2


@needs_engine
def test_wrong_positions_are_corrected(dataset: PtychoDataset) -> None:
    wrong = dataset.positions_px + np.random.default_rng(0).normal(0, 0.5, dataset.positions_px.shape)
    shifted = replace(dataset, positions_px=np.clip(wrong, 16, np.array(dataset.obj.shape) - 17))
    found = iterate(shifted, IterativeConfig(updates=180, tolerance=0, correct_positions=True), seed=0)

    def spread(positions: np.ndarray) -> float:
        away = positions - dataset.positions_px
        return float((away - away.mean(axis=0)).std())

    assert spread(found.positions_px) < 0.6 * spread(shifted.positions_px)


@needs_engine
def test_epochs_are_noted_and_watched(dataset: PtychoDataset, tmp_path) -> None:
    notes = {"progress_file": tmp_path / "p.jsonl", "history_file": tmp_path / "run" / "epochs.csv"}
    watch = lambda epoch, obj: {"seen": float((obj != 0).mean())}  # noqa: E731
    found = iterate(dataset, IterativeConfig(updates=9, tolerance=0), seed=0, watch=watch, **notes, model="iterative")
    assert list(found.history["epoch"]) == [0, 1, 2, 3]
    assert found.history["seconds"].is_monotonic_increasing
    assert found.history["seconds"].iloc[-1] == found.usage.seconds
    assert found.history["loss"].iloc[1:].notna().all()
    assert 0.3 < found.history["seen"].iloc[0] < 1
    stored = pd.read_csv(notes["history_file"])
    assert np.allclose(stored, found.history, equal_nan=True)
    lines = [json.loads(line) for line in notes["progress_file"].read_text().splitlines()]
    assert list(found.history["updates"]) == [0, 3, 6, 9]
    assert not found.converged
    assert [(line["model"], line["epoch"], line["epochs"]) for line in lines] == [
        ("iterative", epoch, 3) for epoch in (1, 2, 3)
    ]


@needs_engine
def test_what_the_scan_did_not_see_is_empty_and_the_rest_is_judged(dataset: PtychoDataset) -> None:
    found = iterate(dataset, IterativeConfig(updates=60, tolerance=0), seed=0)
    result = assess(found.obj, dataset, min_illumination=0.1)
    assert (found.obj == 0).any()
    assert np.all(found.obj[result.mask] != 0)
    assert np.isnan(result.spread).all()
    assert np.nanmedian(result.residual[result.mask]) < 0.1


@needs_engine
def test_one_process_serves_all_reconstructions_of_a_room(
    dataset: PtychoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the digits of a fresh one, and of none."""
    settings = IterativeConfig(updates=6, tolerance=0)
    here = iterate(dataset, settings, seed=3).obj
    monkeypatch.setitem(sys.modules, "tensorflow", sys)  # they crash when they share a process
    with EngineRoom() as room:
        assert process_of(room) is None
        first = iterate(dataset, settings, seed=3, room=room).obj
        worker = process_of(room)
        other = iterate(dataset, settings, seed=4, room=room).obj
        again = iterate(dataset, settings, seed=3, room=room).obj
        assert process_of(room) is worker
        assert worker.poll() is None
    assert worker.returncode == 0
    assert np.array_equal(here, first)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@needs_engine
def test_a_killed_engine_and_its_errors_are_reported(dataset: PtychoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with EngineRoom() as room:
        room.open()
        with pytest.raises(AttributeError):
            room.engine("not an array", None, None, None, None, 0)
        process_of(room).kill()
        with pytest.raises(RuntimeError, match="killed, or out of memory"):
            iterate(dataset, IterativeConfig(updates=3, tolerance=0), seed=0, room=room)


def process_of(room: EngineRoom) -> Any:
    return room._process


def test_the_probe_diffracts_as_many_photons_as_were_counted(dataset: PtychoDataset) -> None:
    counts = np.square(np.asarray(dataset.diffraction)) * np.float32(dataset.amplitude_scale() ** 2)
    flat = np.ones(dataset.obj.shape, np.complex64)
    for factor in (1, 50):
        scaled = scaled_probe(counts, dataset.positions_px, factor * dataset.probe, flat)
        assert np.square(np.abs(scaled), dtype=np.float64).sum() == pytest.approx(PHOTONS, rel=0.01)


def test_empty_pixels_of_a_starting_guess_are_filled() -> None:
    obj = np.array([[0, 2 + 2j], [np.nan, 4]], np.complex64)
    assert np.array_equal(filled(obj), np.array([[3 + 1j, 2 + 2j], [3 + 1j, 4]], np.complex64))


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this environment one without the extra, whatever is installed."""
    monkeypatch.setitem(extras.EXTRAS, "iterative", ("a_package_that_nobody_has",))


def test_without_the_extra_one_sentence_says_how_to_get_it(dataset: PtychoDataset, without_the_extra: None) -> None:
    with pytest.raises(InputError, match="make iterative") as raised:
        iterate(dataset, IterativeConfig(), seed=0)
    assert len(raised.value.problems) == 1


def test_without_the_extra_a_study_is_refused_before_anything_starts(tmp_path, without_the_extra: None) -> None:
    from ptycho_lib.study.execution.plan import plan_study
    from tests.support.miniature import Miniature

    study = Miniature(tmp_path)
    for models in (["pinn", "iterative"], ["pinn", "pinn+iterative"]):
        with pytest.raises(InputError, match="a_package_that_nobody_has"):
            plan_study(study.train, study.test, study.out, study.config(models=models), template=study.template)
    assert not study.out.exists()
    assert plan_study(study.train, study.test, study.out, study.config(), template=study.template).runs


@needs_engine
def test_the_modes_of_a_partially_coherent_beam_are_used_as_they_are() -> None:
    """Known modes find the object that one mode cannot."""
    coherent = simulate_small(80, seed=3, photons=None)
    modes = incoherent_modes(coherent.probe, [0.6, 0.4])
    made = materialise(simulate_dataset(coherent.obj, modes, coherent.positions_px, detector=Detector(PHOTONS), seed=1))
    settings = IterativeConfig(updates=150, tolerance=0)
    found = iterate(made, settings, seed=0)
    assert found.probe.shape == (2, 32, 32)
    np.testing.assert_allclose(mode_shares(found.probe), [0.6, 0.4], rtol=1e-5)
    for used, known in zip(found.probe, modes, strict=True):  # equal but for a phase
        likeness = abs(np.vdot(used, known)) / np.linalg.norm(used) / np.linalg.norm(known)
        assert likeness == pytest.approx(1, abs=1e-5)
    alone = iterate(made, settings.model_copy(update={"probe_modes": 1}), seed=0)
    assert alone.probe.shape == (1, 32, 32)
    assert error(made, found.obj) < 0.5 * error(made, alone.obj)


@needs_engine
def test_pixels_that_were_not_measured_constrain_nothing(dataset: PtychoDataset) -> None:
    mask = np.ones((32, 32), bool)
    mask[14:18, 20:24] = mask[8, :] = False
    hot = np.where(mask, np.asarray(dataset.diffraction), 1e4).astype(np.float32)
    settings = IterativeConfig(updates=90, tolerance=0)
    masked = iterate(replace(dataset, diffraction=hot, mask=mask), settings, seed=0)
    blind = iterate(replace(dataset, diffraction=hot), settings, seed=0)
    assert error(dataset, masked.obj) < 0.1
    assert error(dataset, blind.obj) > 3 * error(dataset, masked.obj)


@needs_engine
def test_it_stops_when_the_loss_ceases_to_fall(dataset: PtychoDataset) -> None:
    found = iterate(dataset, IterativeConfig(updates=3000, tolerance=0.05), seed=0)
    assert found.converged
    assert 200 <= found.history["updates"].iloc[-1] < 1500


@pytest.mark.parametrize(
    ("losses", "pace", "stops"),
    [
        (np.geomspace(1, 0.1, 300), 1, False),
        (np.r_[np.geomspace(1, 0.1, 300), np.full(200, 0.1)], 1, True),
        (np.full(199, 0.1), 1, False),
        (np.full(4, 0.1), 400, True),
        (np.full(4, np.nan), 400, False),
    ],
)
def test_convergence_is_counted_in_updates(losses, pace, stops) -> None:
    assert has_converged(list(losses), pace, 1e-3) is stops
    assert has_converged(list(losses), pace, 0.0) is False


def test_few_patterns_get_as_many_updates_as_many() -> None:
    settings = IterativeConfig(updates=800)
    assert [settings.epochs(count) for count in (20, 64, 500)] == [800, 400, 50]
    assert IterativeConfig(algorithm="dm", updates=70).epochs(500) == 70


def test_the_iterative_model_uses_as_many_modes_as_the_networks() -> None:
    assert load_config(None).iterative.probe_modes is None
    assert load_config(None, network={"probe_modes": 2}).iterative.probe_modes == 2
    other = load_config(None, network={"probe_modes": 2}, iterative={"probe_modes": 5, "refine_probe": True})
    assert other.iterative.probe_modes == 5
    with pytest.raises(InputError, match=r"iterative\.updates"):
        load_config(None, iterative={"epochs": 50})


@pytest.mark.parametrize(
    ("models", "why"),
    [(["iterative"], "no network"), (["baseline", "pinn+iterative"], "'pinn', which is missing")],
)
def test_models_that_cannot_be_are_refused(models: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        load_config(None, models=models)


def test_a_run_depends_on_its_own_models_alone() -> None:
    """Asking for the iterative reconstruction, or changing it, does not make trained networks stale."""
    plain, more = load_config(None), load_config(None, models=["pinn", "baseline", "iterative"])
    other = load_config(None, models=more.models, iterative={"updates": 7})
    longer = load_config(None, models=more.models, training={"steps": 7})
    hybrid = load_config(None, models=[*more.models, "pinn+iterative"])
    assert plain.fingerprint("trained") == more.fingerprint("trained") == other.fingerprint("trained")
    assert hybrid.fingerprint("trained") != plain.fingerprint("trained") != longer.fingerprint("trained")
    assert (
        more.fingerprint("iterative")
        == longer.fingerprint("iterative")
        == hybrid.fingerprint("iterative")
        != other.fingerprint("iterative")
    )
