"""Raw file -> training and test files, every step told and recorded."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.data.dataset import PtychoDataset, save_dataset
from ptycho_lib.data.readers import open_dataset
from ptycho_lib.data.split import Axis, Side, half, split
from ptycho_lib.errors import Fault, InputError


def prepare(
    raw_path: str | Path,
    out_dir: str | Path,
    *,
    axis: Axis = "row",
    test_side: Side = "high",
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write ``NAME_train.npz`` and ``NAME_test.npz``: one half of the scan each.

    Parameters
    ----------
    raw_path, out_dir : str or Path
    axis : {'row', 'column'}
        The coordinate along which the scan is cut in two.
    test_side : {'low', 'high'}
    overwrite : bool
        Without it existing files are refused.

    Returns
    -------
    train_path, test_path : Path

    Raises
    ------
    InputError
        With every fault of the file, or if an output exists.
    """
    dataset = open_dataset(raw_path)
    train, test = split(
        dataset,
        *half(dataset.positions_px, axis=axis, test_side=test_side),
        how=f"half of the scan, cut at the median {axis}, test side {test_side}",
    )
    paths = output_paths(raw_path, out_dir)
    _refuse_existing(paths, overwrite)
    return save_both((train, test), paths, overwrite)


def output_paths(raw_path: str | Path, out_dir: str | Path) -> tuple[Path, Path]:
    """Return the paths of the training and the test file."""
    name = Path(raw_path).stem.removesuffix("_raw")
    return Path(out_dir) / f"{name}_train.npz", Path(out_dir) / f"{name}_test.npz"


def save_both(
    parts: tuple[PtychoDataset, PtychoDataset], paths: tuple[Path, Path], overwrite: bool
) -> tuple[Path, Path]:
    """Save the training and the test dataset."""
    train, test = (
        save_dataset(part, path, overwrite=overwrite) for part, path in zip(parts, paths, strict=True)
    )
    return train, test


def _refuse_existing(paths: tuple[Path, ...], overwrite: bool) -> None:
    mend = "Choose another folder, or allow it with --overwrite."
    faults = [
        Fault(str(path), "", "an existing file", "a new one", mend)
        for path in paths
        if path.exists() and not overwrite
    ]
    if faults:
        raise InputError(faults)
