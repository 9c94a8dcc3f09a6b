"""Inputs that went wrong: what `check` finds, what `prepare --auto` writes, and what `check` says of that.

Run ``python benchmarks/data_cases.py CASES [NAME ...]`` with a folder of scripts that write one file each
(``python NAME.py OUT [ARGUMENTS]``; a line ``# EXT=h5`` names the suffix). It prints a line of a table for each
script and each of its arguments in `ARGUMENTS`; names choose some of them. R is taken by the simulator of the
tests, which is independent of the library's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from ptycho_lib.data.check.file import CheckReport, check_file
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.errors import InputError
from tests.support.independent_scan import residual

ARGUMENTS = {
    "c03_both": "2 1|7 2|3 6|5 0|0 5",
    "c05_psize_pair": "|rect",
    "c09_rotation": "3|17|-126",
    "c11_overflow": "u2sq|i1|u1clip|u1wrap|i2wrap|ok8",
    "c14_cxi": (
        "plain|eV|eVunits|keV|um|wave_A|mm|beam1|beamkeV|ring|badmask|badmask,maskinv|goodmask|cornerdata|cornerdist|4d|"
        "data1|dset_gzip|signx|sign|t2n|transdet|noillum|noobj|initial_image|datagroup|recon_pynx"
    ),
    "c14h_lz4": "bslz4|lz4|zstd|blosc",
    "c14p_pynx": "data|data_n3|both|result",
    "c15_shape": "n96|n192|n48|n50|nonsq|nonsq_probe|odd|odd_probe|odd65|odd_true",
    "c16_detector": (
        "dc2|dc3|dc5|dc7|stop|stop5|stoparm|hot|hotpair|row|halfmodule|sat|satother|bg|bgring|zinger|gain|halfgain|dark"
    ),
    "c17_probe": (
        "modes|modes5d|modeslast|weak0|opr|opr_equal|varprobe|small|big|fourier_small|slices|slices1|objmodes|realimag|"
        "ampphase"
    ),
    "c18_units": (
        "um|nm|m|mm|um_nopx|nm_nopx|m_nopx|mm_nopx|um_c0|nm_c0|m_c0|um_nopx_c0|corner|cornerminus1|onebased|int|dup|tl|"
        "zero|A"
    ),
    "c20c_ptyd_weights": "ptyd|cxi3d",
    "c20h_units_attr": "angstrom|Angstroms|micro-metre|mkm|inch|deg",
}
"""Arguments of each script, one run for each."""

PLAIN = {"diffraction_key": "dp", "positions_key": "pos", "probe_key": "probe", "object_key": "object"}
IN_REC = {"probe_key": "rec/probe", "object_key": "rec/obj"}
FOLD_SLICE = {name: key for name, key in PLAIN.items() if name != "positions_key"} | {"x_key": "ppX", "y_key": "ppY"}
OPTIONS: dict[str, dict[str, Any]] = {
    "c02_maxint_u32": PLAIN,
    "c02e_maxint_i64": PLAIN,
    "c05_psize_pair": IN_REC,
    "c13_mat73": FOLD_SLICE | {"position_unit": "m", "pixel_size_m": 2e-8},
    "c13b_h5_compound": FOLD_SLICE | {"position_unit": "m", "pixel_size_m": 2e-8},
    "c14h_lz4": PLAIN | {"diffraction_key": "entry/data/data"},
    "c20c_ptyd_weights ptyd": IN_REC,
    "c20h_units_attr angstrom": PLAIN | {"pixel_size_m": 2e-11},
    "c20h_units_attr Angstroms": PLAIN | {"pixel_size_m": 1e-10},
    "c20h_units_attr micro-metre": PLAIN | {"pixel_size_m": 1e-6},
    "c20h_units_attr mkm": PLAIN | {"pixel_size_m": 1e-6},
    "c20h_units_attr inch": PLAIN | {"pixel_size_m": 0.0254},
    "c20h_units_attr deg": PLAIN,
}
"""Names of arrays where the layout has none, and what else a user gives."""

CROPS = {"nonsq": 64, "nonsq_probe": 64, "odd": 62, "odd_probe": 62, "odd65": 64, "odd_true": 62}
"""`--crop` of the patterns that are not square or not even, as `check` demands it."""


def main(cases: Path, *chosen: str) -> None:
    print("| case | `check` | R of `prepare --auto` | `check` of the result |\n|---|---|---|---|")
    for script in sorted(cases.glob("c*.py")):
        for arguments in ARGUMENTS.get(script.stem, "").split("|"):
            name = f"{script.stem} {arguments}".strip()
            if not chosen or script.stem in chosen or name in chosen:
                with tempfile.TemporaryDirectory() as folder:
                    print(line(name, script, arguments.split(), Path(folder)), flush=True)


def line(name: str, script: Path, arguments: list[str], folder: Path) -> str:
    suffix = re.search(r"EXT=(\w+)", script.read_text())
    path = folder / f"scan.{suffix[1] if suffix else 'npz'}"
    subprocess.run([sys.executable, script, path, *arguments], check=True, cwd=script.parent)
    options: dict[str, Any] = OPTIONS.get(name, OPTIONS.get(script.stem, {}))
    try:
        found = words(check_file(path, **options))
        left, verdict = "refused", ""
        try:
            last = name.rsplit(maxsplit=1)[-1]
            crop = {"crop": CROPS[last]} if last in CROPS else {}
            (prepared,) = prepare(path, folder / "out", split="none", auto=True, **crop, **options)
            left, verdict = f"{residual(prepared):.3f}", words(check_file(prepared))
        except InputError as error:
            verdict = "; ".join(f"{problem.found} ({problem.key})" for problem in error.problems)
    except Exception:  # noqa: BLE001 - the case is in the table, not the end of it
        return f"| {name} | TRACEBACK {traceback.format_exc()[-700:]} | | |"
    return f"| {name} | {found} | {left} | {verdict} |"


def words(report: CheckReport) -> str:
    """Return the codes of a report with their severity; notes that every such file has are left out."""
    usual = {"photons-unknown", "needs-prepare"}
    found = [f"{one.severity} `{one.code}`" for one in report.findings if one.code not in usual]
    return ", ".join(found) or "nothing"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
