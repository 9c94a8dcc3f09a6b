"""The picture of a new scan's reconstruction, as a file that others may be looking at."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.application.scan_reconstruction import ScanReconstruction
from ptycho_lib.io.files import write_atomically
from ptycho_lib.report.figures.new_scan import new_scan_figure
from ptycho_lib.report.output.notebook_display import png_bytes

DPI = 200


def write_scan_picture(result: ScanReconstruction, path: Path) -> Path:
    """Draw a reconstruction to a PNG; a reader sees the old picture or the new one.

    Parameters
    ----------
    result : ScanReconstruction
    path : Path

    Returns
    -------
    Path
    """
    figure = new_scan_figure(result.obj, result.mask, result.spread, result.residual, pixel_size_m=result.pixel_size_m)
    write_atomically(path, png_bytes(figure, dpi=DPI))
    return path
