"""Options of reading and preparing, each with its limits; one list for the library and the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from ptycho_lib.config import Section
from ptycho_lib.errors import InputError
from ptycho_lib.settings_problems import validation_problems

Even = Annotated[int, Field(ge=4, multiple_of=2)]
Metres = Annotated[float, Field(gt=0, lt=1)]
MATRIX = r"^\s*(-?\d+(\.\d*)?(e-?\d+)?\s+){3}-?\d+(\.\d*)?(e-?\d+)?\s*$"
"""Four numbers."""
Model = TypeVar("Model", bound=BaseModel)


class ReadOptions(Section):
    """How a file is read where its format leaves it open. `auto` follows the format."""

    quantity: Literal["auto", "amplitude", "intensity"] = "auto"
    """What the patterns are; counts are intensity."""
    pattern_axis: Literal["auto", "first", "last"] = "auto"
    """Which axis of the stack counts the patterns: (n, N, N) or (N, N, n)."""
    transpose_patterns: bool = False
    """Exchange rows and columns of each pattern."""
    flip_patterns: Literal["none", "rows", "columns", "both"] = "none"
    """Reverse the detector's rows or columns about the zero frequency; `both` is the other sign of the
    Fourier transform."""
    shift_pattern_rows: Annotated[int, Field(ge=-4096, le=4096)] = 0
    """Move the patterns by so many detector rows, where DC is not at pixel N/2."""
    shift_pattern_columns: Annotated[int, Field(ge=-4096, le=4096)] = 0
    """Move the patterns by so many detector columns."""
    dc: Literal["auto", "centre", "corner"] = "auto"
    """Where the zero frequency lies: at pixel N/2, or at pixel 0 (no fftshift)."""
    subtract_dark: Annotated[str, Field(pattern=r"^(file|\d+(\.\d*)?(e-?\d+)?)$")] | None = None
    """Subtract this many counts from every pixel, or `file`: the dark image that the file holds."""
    counts_per_photon: Annotated[float, Field(ge=0.01, le=1e6)] = 1.0
    """Counts that one photon or electron gives; the photons of a pattern are its counts divided by this."""
    mask: Literal["auto", "invert", "ignore"] = "auto"
    """The file's mask of the detector: used, and inverted if it must mean the opposite; inverted; ignored."""
    position_unit: Literal["auto", "px", "m", "mm", "um", "nm"] = "auto"
    """Object pixels, or metres, millimetres, micrometres, nanometres; a plain HDF5 file may state its unit."""
    position_reference: Literal["auto", "centre", "corner"] = "auto"
    """Whether a position is the centre of a patch or its upper left corner."""
    swap_xy: bool = False
    """Exchange the row and the column of the positions."""
    flip_rows: bool = False
    """Mirror the row coordinate of the positions within the scan."""
    flip_columns: bool = False
    """Mirror the column coordinate of the positions within the scan."""
    shift_rows_px: Annotated[float, Field(ge=-1e12, le=1e12)] = 0.0
    """Add this to the row coordinate of the positions, object pixels."""
    shift_columns_px: Annotated[float, Field(ge=-1e12, le=1e12)] = 0.0
    """Add this to the column coordinate of the positions, object pixels."""
    rotate_scan: Annotated[float, Field(ge=-360, le=360)] = 0.0
    """Turn the positions about their mean by so many degrees, from the row axis to the column axis."""
    scale_scan: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Multiply the distances of the positions from their mean, where step or pixel size are wrong."""
    affine: Annotated[str, Field(pattern=MATRIX)] | None = None
    """Matrix "a b c d" for the positions about their mean: row' = a·row + b·column, column' = c·row + d·column."""
    frame_order: Literal["as-is", "column-major", "snake", "column-major-snake", "reversed"] = "as-is"
    """Order of the frames where the positions have another: across the lines, every second line backwards."""
    scan_step: Annotated[float, Field(gt=0)] | None = None
    """Step of a raster scan, in `position_unit`, for files without positions: a stack (lines, line, N, N), or
    (n, N, N) with `line_length`."""
    line_length: Annotated[int, Field(ge=0)] = 0
    """Positions in a line of the scan, for `frame_order`."""
    frame_lag: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Pattern i belongs to position i + lag; what then has no partner is left out."""
    conjugate_probe: bool = False
    """Use the complex conjugate of the probe."""
    pixel_size_m: Metres | None = None
    """Object pixel, metres; replaces that of the file."""
    patterns_file: str | None = None
    """Take the patterns from this file (a ptychodus or ptypy reconstruction holds none)."""
    probe_file: str | None = None
    """Take the probe from this file."""
    object_file: str | None = None
    """Take the object from this file, with its pixel size and its place."""
    diffraction_key: str | None = None
    """Array of the patterns in a plain HDF5 or npz file (in `patterns_file`, if that is given)."""
    positions_key: str | None = None
    """Array of the positions (n, 2), row and column, in a plain file."""
    x_key: str | None = None
    """Array of the column coordinates, in place of `positions_key`."""
    y_key: str | None = None
    """Array of the row coordinates, in place of `positions_key`."""
    probe_key: str | None = None
    """Array of the probe in a plain file (in `probe_file`, if that is given)."""
    object_key: str | None = None
    """Array of the object in a plain file (in `object_file`, if that is given)."""

    @model_validator(mode="after")
    def _both_coordinates(self) -> Self:
        if (self.x_key is None) != (self.y_key is None):
            raise ValueError("x_key and y_key together")
        return self


class PrepareOptions(ReadOptions):
    """What is done between reading and writing, in this order."""

    auto: bool = False
    """Apply every correction that `check` is certain of; each is printed and recorded."""
    subset: Annotated[int, Field(ge=1)] | None = None
    """Keep only this many patterns, spread evenly over the scan."""
    bad_pixels: Literal["keep", "mask", "repair", "zero"] = "keep"
    """Dead, hot and outlying pixels: keep; add them to the mask; replace them, and masked ones, by the mean of
    the neighbours; zero them."""
    drop_bad_patterns: bool = False
    """Leave out patterns that hold NaN, negative values or zeros alone, and bitwise copies of others."""
    crop: Even | None = None
    """Cut (or zero-pad) the detector to this many pixels; object pixels grow (or shrink) in turn."""
    bin: Annotated[int, Field(ge=1)] = 1
    """Sum the intensity of bin × bin detector pixels; the probe's window shrinks."""
    reference: Literal["file", "iterative", "iterative-apart"] = "file"
    """Take the object from the file, or reconstruct it (and the probe) with Pty-chi, for data that have none: from
    all patterns, or training and test part apart, under the probe of the training part. Needs the extra `iterative`."""
    reference_file: str | None = None
    """Take the objects of both parts and the probe from the file that `iterative-apart` has kept."""
    reference_algorithm: Literal["lsqml", "epie", "rpie", "dm"] = "lsqml"
    """Algorithm of the reference."""
    reference_updates: Annotated[int, Field(ge=1)] = 2000
    """Most updates of the reference, each from 32 patterns; it stops earlier where the loss ceases to fall."""
    reference_modes: Annotated[int, Field(ge=1, le=16)] = 3
    """Incoherent probe modes of the reference."""
    probe_modes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Refine the probe into this many incoherent modes with Pty-chi, from the training patterns alone; both
    files get them. Needs the extra `iterative`."""
    probe_updates: Annotated[int, Field(ge=1)] = 2000
    """Updates of that refinement, each from 32 patterns."""
    patches: bool = False
    """Store the object patches `Y` instead of cutting them when they are needed."""
    split: Literal["half", "blocks", "interleaved", "none"] = "half"
    """`half` cuts the scan in two; `blocks` takes whole stripes; `interleaved` single patterns."""
    axis: Literal["row", "column"] = "row"
    """Coordinate along which `half` and `blocks` cut."""
    test_side: Literal["low", "high"] = "high"
    """Which half is the test."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the test in `blocks` and `interleaved`."""
    blocks: Annotated[int, Field(ge=2)] = 4
    """Number of stripes of `blocks`."""
    guard_px: Annotated[float, Field(ge=0)] = 0.0
    """Training patterns nearer than this to a test pattern are left out."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the subset and the interleaved split."""

    @model_validator(mode="after")
    def _stripes(self) -> PrepareOptions:
        if self.split == "blocks" and round(self.blocks * self.test_fraction) not in range(1, self.blocks):
            raise ValueError(
                f"a test share that {self.blocks} blocks can give, at least one to each side, not {self.test_fraction}"
            )
        return self

    @model_validator(mode="after")
    def _one_reference(self) -> PrepareOptions:
        if not self.apart:
            return self
        if self.reference_file is not None and self.reference != "file":
            raise ValueError("either a reference_file or a reference to be reconstructed")
        if self.split == "none":
            raise ValueError("a split, where each part has a reference of its own")
        if self.probe_modes is not None:
            raise ValueError("reference_modes in place of probe_modes, where each part has a reference of its own")
        return self

    @property
    def apart(self) -> bool:
        """Whether each part gets an object of its own."""
        return self.reference == "iterative-apart" or self.reference_file is not None


def parse_options(model: type[Model], source: str, options: dict[str, Any]) -> Model:
    """Validate options; `source` names their origin in the problems.

    Raises
    ------
    InputError
        With one problem for each unknown option and each value out of its limits.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        fix = "`ptycho-study prepare --help` lists the options."
        raise InputError(validation_problems(error, source, model, fix)) from None
