"""The look: limits, colours, scale bars."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from skimage.color import rgb2lab

from ptycho_lib.report.style import AMPLITUDE_MAP, metric_title, model_looks, phase_view, scale_bar


def lightness(colours: mpl.colors.Colormap) -> np.ndarray:
    return rgb2lab(colours(np.linspace(0, 1, 256))[None, :, :3])[0, :, 0]


def test_strong_phase_is_shown_on_the_whole_circle() -> None:
    colours, limit = phase_view(3.0)
    assert limit == pytest.approx(np.pi)
    np.testing.assert_allclose(colours(0.0), colours(1.0), atol=0.02)


def test_weak_phase_never_shows_two_values_in_one_colour() -> None:
    colours, limit = phase_view(0.7)
    assert limit == pytest.approx(0.7)
    assert (np.diff(lightness(colours)) > -0.3).all()
    assert np.ptp(lightness(colours)) > 50


def test_amplitude_map_is_perceptually_uniform() -> None:
    steps = np.diff(lightness(mpl.colormaps[AMPLITUDE_MAP]))
    assert (steps > 0).all()
    assert steps.std() < 0.5 * steps.mean()


@pytest.mark.parametrize(
    ("pixel_size_m", "width_px", "label"),
    [
        (58e-9, 244, "2 µm"),
        (58e-9, 64, "500 nm"),
        (1e-6, 100, "20 µm"),
        (4e-11, 100, "500 pm"),
        (1e-5, 1000, "2 mm"),
    ],
)
def test_scale_bar_has_a_round_length(pixel_size_m: float, width_px: int, label: str) -> None:
    ax = Figure().subplots()
    scale_bar(ax, pixel_size_m, width_px)
    bar = next(artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar))
    assert bar.txt_label.get_text() == label
    metres = bar.size_bar.get_children()[0].get_width() * pixel_size_m
    number, unit = label.split()
    assert metres == pytest.approx(float(number) * {"mm": 1e-3, "µm": 1e-6, "nm": 1e-9, "pm": 1e-12}[unit])


@pytest.mark.parametrize("unknown", [None, 0.0, float("nan")])
def test_no_scale_bar_without_a_pixel_size(unknown: float | None) -> None:
    ax = Figure().subplots()
    scale_bar(ax, unknown, 100)
    assert not ax.artists


def test_unknown_models_get_their_own_looks_after_the_known_ones() -> None:
    looks = model_looks(["unet", "baseline", "pinn", "fno", "pinn"])
    assert list(looks) == ["pinn", "baseline", "fno", "unet"]
    assert len({look.colour for look in looks.values()}) == 4
    assert len({look.marker for look in looks.values()}) == 4


@pytest.mark.parametrize(
    ("metric", "component", "title"),
    [
        ("mae", "phase", "MAE (rad) ↓"),
        ("mae", "amplitude", "MAE ↓"),
        ("mse", "phase", "MSE (rad²) ↓"),
        ("psnr", "phase", "PSNR (dB) ↑"),
        ("my_metric", "phase", "my metric"),
    ],
)
def test_metric_titles_carry_unit_and_direction(metric: str, component: str, title: str) -> None:
    assert metric_title(metric, component) == title
