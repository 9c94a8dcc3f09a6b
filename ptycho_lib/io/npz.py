"""Reading npz archives safely and lazily, writing them atomically.

Headers are read and checked before any array is; pickled members are never unpickled; uncompressed
members are mapped, not loaded; compressed ones are loaded only if they fit in memory.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import psutil

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import replacing
from ptycho_lib.io.lazy_stack import Array, blocks

EXPECTED_FILE = "an npz file"
HOW_TO_CONVERT = "`ptycho-study prepare` converts files of other programs; see the page 'Convert your data'."
LOCAL_HEADER_BYTES = 30
HEADER_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
"""What numpy raises on a damaged array header."""


@dataclass(frozen=True)
class Member:
    """Header of one array in an archive."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int
    """Byte of the file where the array's data start, if the member is not compressed."""
    compressed: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


class NpzArchive:
    """The arrays of an npz file, described but not yet read.

    Parameters
    ----------
    path : str or Path

    Attributes
    ----------
    members : dict of str to Member
        Arrays of plain numbers, bools or text.
    ignored : dict of str to str
        Members that are never read, with the reason: Python objects, foreign files.

    Raises
    ------
    InputError
        If the file cannot be read, is not an npz, is truncated, or a header contradicts its data.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.members: dict[str, Member] = {}
        self.ignored: dict[str, str] = {}
        with open_binary(self.path) as stream:
            kind = file_kind(stream)
            if kind != "zip":
                raise InputError(Problem(str(path), "", kind, EXPECTED_FILE, HOW_TO_CONVERT))
            try:
                with zipfile.ZipFile(stream) as archive:
                    for info in archive.infolist():
                        self._add(archive, info, stream)
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                RuntimeError,
                NotImplementedError,
                OSError,
            ) as error:
                raise InputError(self._damaged(error)) from None

    def read(self, key: str) -> Array:
        """Return an array: mapped read-only from the file if it is stored uncompressed, else in memory."""
        member = self.members[key]
        if not member.compressed and member.nbytes:
            return self._map(key, member)
        fix = "Save the file with numpy.savez instead of numpy.savez_compressed: it is then streamed."
        self._refuse_huge(key, "once unpacked", fix)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{key}.npy") as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except (*HEADER_ERRORS, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise InputError(self._damaged(error, key)) from None

    def load(self, key: str) -> Array:
        """Return an array in memory, a copy; refuses one that would fill it."""
        self._refuse_huge(key, "to be read whole", "Check the file: this array should be small.")
        return np.array(self.read(key))

    def _refuse_huge(self, key: str, how: str, fix: str) -> None:
        nbytes, free = self.members[key].nbytes, psutil.virtual_memory().available
        if nbytes > free // 2:
            found = f"{nbytes / 1e9:.1f} GB {how}; {free / 1e9:.1f} GB of memory are free"
            raise InputError(Problem(str(self.path), key, found, "an array that fits in memory", fix))

    def _map(self, key: str, member: Member) -> Array:
        order: Literal["F", "C"] = "F" if member.fortran_order else "C"
        try:
            return np.memmap(self.path, member.dtype, mode="r", offset=member.offset, shape=member.shape, order=order)
        except (ValueError, OSError) as error:  # a header that points beyond the end of the file
            raise InputError(self._damaged(error, key)) from None

    def _add(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: BinaryIO) -> None:
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            self.ignored[name] = "not an array"
            return
        try:
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran_order, dtype = read_header(stream)
                header_bytes = stream.tell()
        except HEADER_ERRORS as error:
            raise InputError(self._damaged(error, name)) from None
        if dtype.hasobject or dtype.names:
            self.ignored[name] = "Python objects" if dtype.hasobject else "records"
            return
        file.seek(info.header_offset)
        local = file.read(LOCAL_HEADER_BYTES)
        names_bytes = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        offset = info.header_offset + LOCAL_HEADER_BYTES + names_bytes + header_bytes
        member = Member(tuple(shape), dtype, fortran_order, offset, info.compress_type != zipfile.ZIP_STORED)
        if header_bytes + member.nbytes != info.file_size:
            found = f"{info.file_size - header_bytes} bytes of data under a header for {member.nbytes}"
            fix = "The file is damaged: copy or export it again."
            raise InputError(Problem(str(self.path), name, found, f"shape {shape} of {dtype}", fix))
        self.members[name] = member

    def _damaged(self, error: Exception, key: str = "") -> Problem:
        found = f"a damaged or truncated archive ({str(error) or type(error).__name__})"
        return Problem(str(self.path), key, found, "a complete npz file", "Copy or export the file again.")


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading; every refusal of the system becomes an InputError."""
    fix = "Check the path and the permissions."
    if path.is_dir():
        raise InputError(Problem(str(path), "", "a folder", "a data file", "Give the path of the file itself."))
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(Problem(str(path), "", error.strerror or str(error), "a readable data file", fix)) from None


def file_kind(stream: BinaryIO) -> str:
    """Return what a file is by its first bytes: 'zip', 'an HDF5 file', …; leaves the stream at the start."""
    stream.seek(0)
    head = stream.read(16)
    stream.seek(0)
    signatures = {
        b"PK\x03\x04": "zip",
        b"PK\x05\x06": "an empty zip archive",
        b"\x89HDF\r\n\x1a\n": "an HDF5 file",
        b"\x93NUMPY": "a single array (npy)",
        b"BZh": "a bzip2 file",
        b"\x1f\x8b": "a gzip file",
        b"MATLAB 7.3": "an HDF5 file",
        b"MATLAB 5.0": "a MATLAB 5 file",
        b"II*\x00": "a TIFF image",
        b"MM\x00*": "a TIFF image",
        b"\x80": "a Python pickle, which is never opened because it can run code",
    }
    if not head:
        return "an empty file"
    return next((kind for magic, kind in signatures.items() if head.startswith(magic)), "a file of unknown type")


def write_npz(path: str | Path, arrays: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Write arrays, uncompressed, atomically: the file appears complete or not at all.

    Parameters
    ----------
    path : str or Path
        Must end in ``.npz``; its folder is created.
    arrays : mapping
        Arrays, or stacks on disk, which are copied block by block.
    overwrite : bool
        Without it an existing file is refused.

    Raises
    ------
    InputError
        If the file exists, or the folder cannot be written.
    """
    path = Path(path)
    found = expected = fix = ""
    if path.suffix != ".npz":
        found, expected, fix = f"the ending '{path.suffix}'", "'.npz'", "Choose a file name that ends in .npz."
    elif path.exists() and not overwrite:
        found, expected = "an existing file", "a new file name"
        fix = "Choose another name, or allow it with --overwrite."
    if found:
        raise InputError(Problem(str(path), "", found, expected, fix))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found, fix = error.strerror or str(error), "Choose another output folder."
        raise InputError(Problem(str(path.parent), "", found, "a folder that can be written", fix)) from None
    try:
        with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for key, array in arrays.items():
                _write_member(archive, key, array)
    except OSError as error:  # a full disk, a lost connection
        found, fix = error.strerror or str(error), "Make room, or choose another output folder."
        raise InputError(Problem(str(path), "", found, "a file that can be written", fix)) from None
    return path


def _write_member(archive: zipfile.ZipFile, key: str, array: Any) -> None:
    dtype = np.dtype(array.dtype).newbyteorder("<")
    # A fixed date: the same content gives the same bytes.
    info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    with archive.open(info, "w", force_zip64=True) as stream:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": tuple(array.shape),
        }
        np.lib.format.write_array_header_1_0(stream, header)
        parts = ((None, np.asarray(array)),) if len(array.shape) == 0 else blocks(array)
        for _, block in parts:
            stream.write(np.ascontiguousarray(block, dtype=dtype).tobytes())
