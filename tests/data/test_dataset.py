import errno
import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.data.dataset import check_dataset, load_dataset, materialise, save_dataset
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.errors import InputError
from ptycho_lib.io.lazy_stack import StackView
from ptycho_lib.physics.diffraction import extract_patches
from tests.conftest import simulate_small


@pytest.fixture
def full(small_dataset):
    """A dataset with every optional field."""
    return replace(
        small_dataset,
        patches=small_dataset.object_patches(),
        coverage=np.indices(small_dataset.obj.shape).sum(axis=0) % 3 > 0,
        mask=np.indices((32, 32)).sum(axis=0) % 7 > 0,
        scan_index=np.arange(60) // 30,
        pixel_size_m=3.25e-8,
        wavelength_m=1.4e-10,
        detector_distance_m=1.9,
        history=("simulated", "naïve «step»"),
    )


def test_a_round_trip_keeps_everything(full, tmp_path):
    loaded = load_dataset(save_dataset(full, tmp_path / "new" / "full.npz"))
    for name in ("diffraction", "positions_px", "probe", "obj", "patches", "coverage", "mask", "scan_index"):
        np.testing.assert_array_equal(np.asarray(getattr(loaded, name)), getattr(full, name), err_msg=name)
    for name in ("photons_per_pattern", "pixel_size_m", "wavelength_m", "detector_distance_m", "history"):
        assert getattr(loaded, name) == getattr(full, name), name
    assert loaded.source.endswith("full.npz")
    assert loaded.diffraction.dtype == np.float32
    assert loaded.fingerprint() == full.fingerprint()


def test_modes_are_kept_as_stored_and_read_strongest_first(small_dataset, tmp_path):
    weak = 0.5 * small_dataset.probe * np.linspace(-1, 1, 32)
    stored = np.stack([weak, small_dataset.probe]).astype(np.complex64)
    loaded = load_dataset(save_dataset(replace(small_dataset, probe=stored), tmp_path / "modes.npz"))
    np.testing.assert_array_equal(loaded.probe, stored)
    np.testing.assert_array_equal(loaded.probe_modes, stored[::-1])
    assert loaded.probe_modes.dtype == np.complex64
    one = small_dataset.probe_modes
    np.testing.assert_array_equal(one, small_dataset.probe[None])


def test_a_mode_of_zero_power_is_allowed(small_dataset, tmp_path):
    dark = np.stack([small_dataset.probe, 0 * small_dataset.probe])
    loaded = load_dataset(save_dataset(replace(small_dataset, probe=dark), tmp_path / "dark.npz"))
    assert loaded.overlap() == small_dataset.overlap()


def test_what_unmeasured_pixels_read_does_not_count(small_dataset, tmp_path):
    """Hot pixels under the mask spoil neither the amplitude test nor the share of the light."""
    spoilt = np.array(small_dataset.diffraction)
    spoilt[:, 3:6, 20:30] = 1e4
    mask = np.ones((32, 32), bool)
    mask[3:6, 20:30] = False
    loaded = load_dataset(save_dataset(replace(small_dataset, diffraction=spoilt, mask=mask), tmp_path / "hot.npz"))
    np.testing.assert_array_equal(loaded.select(np.arange(5)).mask, mask)
    assert reprojection(replace(loaded, mask=None)).value > 0.5
    assert reprojection(loaded).value < 0.2
    kept = np.array(small_dataset.diffraction)[:, mask].astype(float)
    scale = np.sqrt(1e5 * len(kept) / np.square(kept).sum())
    assert loaded.amplitude_scale() == pytest.approx(scale)


def test_the_file_is_the_published_layout(full, tmp_path):
    with np.load(save_dataset(full, tmp_path / "full.npz"), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["xcoords"], full.positions_px[:, 1])
        np.testing.assert_array_equal(file["ycoords"], full.positions_px[:, 0])
        assert file["diffraction"].dtype == np.float32
        assert file["objectGuess"].dtype == file["probeGuess"].dtype == file["Y"].dtype == np.complex64
        assert json.loads(str(file["history"])) == list(full.history)
        assert file["pixel_size_m"].shape == ()


def test_the_same_content_gives_the_same_bytes(full, tmp_path):
    first, second = (save_dataset(full, tmp_path / name) for name in ("a.npz", "b.npz"))
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def test_the_fingerprint_sees_content_and_nothing_else(full):
    known = full.fingerprint()
    assert replace(full, source="elsewhere.npz", history=()).fingerprint() == known
    assert replace(full, diffraction=StackView(full.diffraction)).fingerprint() == known
    changed = np.array(full.diffraction)
    changed[41, 3, 7] = np.nextafter(changed[41, 3, 7], np.float32(1e9))
    others = [
        replace(full, diffraction=changed),
        replace(full, positions_px=full.positions_px[:, ::-1]),
        replace(full, probe=full.probe.conj()),
        replace(full, obj=full.obj * 1j),
        replace(full, coverage=None),
        replace(full, mask=~full.mask),
        replace(full, probe=np.stack([full.probe, full.probe.T])),
        replace(full, pixel_size_m=3.26e-8),
        full.select(np.arange(59)),
        full.select(np.arange(60)[::-1]),
    ]
    assert len({known, *(other.fingerprint() for other in others)}) == 11


def test_patterns_stay_on_disk(full, tmp_path):
    loaded = load_dataset(save_dataset(full, tmp_path / "full.npz"))
    assert isinstance(loaded.diffraction, np.memmap)
    chosen = loaded.select(np.array([50, 3, 3]))
    assert isinstance(chosen.diffraction, StackView)
    np.testing.assert_array_equal(chosen.diffraction[:], full.diffraction[[50, 3, 3]])
    np.testing.assert_array_equal(chosen.patches[:], full.patches[[50, 3, 3]])
    np.testing.assert_array_equal(chosen.positions_px, full.positions_px[[50, 3, 3]])
    np.testing.assert_array_equal(chosen.scan_index, full.scan_index[[50, 3, 3]])
    assert isinstance(materialise(chosen).diffraction, np.ndarray)
    assert len(chosen) == 3


def test_patches_are_stored_or_cut(full):
    cut = replace(full, patches=None)
    np.testing.assert_array_equal(cut.object_patches(np.array([7, 2])), full.patches[[7, 2]])
    np.testing.assert_array_equal(cut.object_patches(), extract_patches(full.obj, full.positions_px, 32))
    np.testing.assert_array_equal(full.object_patches(np.array([7, 2])), full.patches[[7, 2]])


def test_the_amplitude_scale_leads_back_to_counts(small_dataset):
    assert small_dataset.amplitude_scale() == pytest.approx(1, rel=0.01)  # simulated in counts
    scaled = replace(small_dataset, diffraction=small_dataset.diffraction / 50)
    counts = (scaled.diffraction * scaled.amplitude_scale()) ** 2
    assert counts.sum(axis=(1, 2)).mean() == pytest.approx(1e5, rel=1e-4)
    assert replace(scaled, photons_per_pattern=None).amplitude_scale() == 1


def test_an_existing_file_is_kept(full, tmp_path):
    path = save_dataset(full, tmp_path / "full.npz")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"an existing file.*--overwrite"):
        save_dataset(simulate_small(8, seed=9), path)
    assert path.read_bytes() == before
    save_dataset(simulate_small(8, seed=9), path, overwrite=True)
    assert len(load_dataset(path)) == 8


def test_a_failed_write_leaves_nothing_behind(full, tmp_path):
    def fail(block):
        raise RuntimeError("disk on fire")

    broken = replace(full, diffraction=StackView(full.diffraction, function=fail))
    with pytest.raises(RuntimeError, match="on fire"):
        save_dataset(broken, tmp_path / "broken.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_and_leaves_nothing_behind(full, tmp_path):
    def fail(block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    broken = replace(full, diffraction=StackView(full.diffraction, function=fail))
    with pytest.raises(InputError, match=r"No space left on device.*Make room"):
        save_dataset(broken, tmp_path / "broken.npz")
    assert list(tmp_path.iterdir()) == []


def test_another_ending_and_an_unwritable_folder_are_refused(full, tmp_path):
    with pytest.raises(InputError, match=r"found the ending '.h5'; expected '.npz'"):
        save_dataset(full, tmp_path / "full.h5")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder that can be written"):
        save_dataset(full, tmp_path / "file" / "full.npz")


def test_a_good_dataset_has_no_problems(full, small_dataset):
    assert check_dataset(full) == []
    assert check_dataset(small_dataset) == []
