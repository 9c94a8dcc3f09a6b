import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.io.lazy_stack import StackView, blocks, read_patterns, select

VALUES = np.arange(20 * 3 * 4, dtype=np.int32).reshape(20, 3, 4)


@pytest.fixture(params=["array", "memmap", "hdf5", "view"])
def stack(request, tmp_path):
    if request.param == "memmap":
        VALUES.tofile(tmp_path / "values")
        yield np.memmap(tmp_path / "values", np.int32, "r", shape=VALUES.shape)
    elif request.param == "hdf5":
        with h5py.File(tmp_path / "values.h5", "w") as file:
            yield file.create_dataset("values", data=VALUES, chunks=(2, 3, 4))
    elif request.param == "view":
        yield StackView(VALUES[::-1], indices=np.arange(20)[::-1])
    else:
        yield VALUES


@pytest.mark.parametrize("indices", [[], [3], [4, 5, 6], [7, 1, 1, 19, 0], [19, 18, 17]])
def test_any_selection_in_any_order(stack, indices):
    np.testing.assert_array_equal(read_patterns(stack, np.array(indices, int)), VALUES[np.array(indices, int)])


def test_selecting_twice(stack):
    chosen = select(select(stack, np.array([9, 2, 5, 7])), np.array([3, 0]))
    assert chosen.shape == (2, 3, 4)
    np.testing.assert_array_equal(np.asarray(chosen[:]), VALUES[[7, 9]])


def test_blocks_cover_everything_once_and_keep_their_size(stack):
    parts = list(blocks(stack, nbytes=3 * 48))
    assert [len(block) for _, block in parts] == [3, 3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), VALUES)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(-20, 19),
        st.slices(20),
        st.lists(st.integers(-20, 19), max_size=6).map(lambda v: np.array(v, int)),
        st.lists(st.booleans(), min_size=20, max_size=20).map(np.array),
        st.tuples(st.slices(20), st.slices(3), st.integers(0, 3)),
        st.tuples(st.integers(0, 19), st.integers(0, 2)),
    )
)
def test_a_view_indexes_as_numpy_does(key):
    view = StackView(VALUES, function=lambda block: block * 0.5, dtype=np.float32)
    np.testing.assert_array_equal(view[key], (VALUES * 0.5).astype(np.float32)[key])


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_passing_through_a_mapped_file_keeps_its_values_and_changes(mode, tmp_path):
    VALUES.tofile(tmp_path / "values")
    mapped = np.memmap(tmp_path / "values", np.int32, mode, shape=VALUES.shape)
    expected = VALUES.copy()
    if mode != "r":
        mapped[4, 1, 2] = expected[4, 1, 2] = -7
    first = np.concatenate([block for _, block in blocks(mapped, nbytes=100)])
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(read_patterns(mapped, np.array([4, 0])), expected[[4, 0]])
    np.testing.assert_array_equal(mapped, expected)


def test_a_view_converts_only_what_is_read():
    seen = []
    view = StackView(VALUES, function=lambda block: seen.append(len(block)) or block[:, :2], pattern_shape=(2, 4))
    assert (view.shape, view.ndim, view.size, view.nbytes, len(view)) == ((20, 2, 4), 3, 160, 640, 20)
    assert view[5:7].shape == (2, 2, 4)
    assert seen == [2]
    np.testing.assert_array_equal(np.asarray(view, dtype=float), VALUES[:, :2])
    with pytest.raises(ValueError, match="copy"):
        np.asarray(view, copy=False)
