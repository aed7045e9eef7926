import importlib.util
from pathlib import Path

import numpy as np
import pytest

from colorlib import color
from colorlib.data import scenes

_spec = importlib.util.spec_from_file_location("scenes_benchmark", Path(__file__).parent / "benchmarks" / "scenes.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


@pytest.fixture(scope="module")
def sets():
    return {kind: np.stack([p for _, p in scenes.pictures(kind, 240, 64)]) for kind in scenes.KINDS}


@pytest.fixture(scope="module")
def statistics(sets):
    return {kind: benchmark.statistics(pictures) for kind, pictures in sets.items()}


@pytest.mark.parametrize("kind", scenes.KINDS)
@pytest.mark.parametrize("name", ["mean chroma", "colorfulness", "b > a", "effective bins"])
def test_colors_match_photographs_of_the_kind(statistics, kind, name):
    target = benchmark.TARGETS[kind][name]
    assert statistics[kind][name] == pytest.approx(target, rel=0.25)
    assert statistics[kind]["explained by L*"] < 0.35, "color would follow from lightness alone"


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_spectrum_is_natural(kind):
    """Photographs: power falls as 1/frequency^2, give or take 0.8 (Field 1987; Torralba and Oliva 2003)."""
    window = np.hanning(128)[:, None] * np.hanning(128)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    power = 0
    for _, picture in scenes.pictures(kind, 60):
        lightness = picture.mean(-1)
        power = power + np.abs(np.fft.fft2((lightness - lightness.mean()) * window)) ** 2
    ring = (frequency > 0.02) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)[0]
    assert -2.8 < slope < -1.2


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_no_picture_is_flat_or_a_copy(sets, kind):
    assert sets[kind].std((1, 2)).max(-1).min() > 6
    assert len({picture.tobytes() for picture in sets[kind]}) == len(sets[kind])


def test_same_seed_same_bytes_whatever_else_is_drawn():
    few = dict(scenes.pictures("varied", 4, 48, seed=5))
    many = dict(scenes.pictures("varied", 9, 48, seed=5))
    assert list(few) == ["faces-5-000000", "flowers-5-000001", "landscapes-5-000002", "faces-5-000003"]
    for name, picture in few.items():
        assert picture.dtype == np.uint8
        assert picture.tobytes() == many[name].tobytes()
    assert scenes.scene("flowers", 1, 48, 5).tobytes() == few["flowers-5-000001"].tobytes()
    assert scenes.scene("flowers", 1, 48, 6).tobytes() != few["flowers-5-000001"].tobytes()


def test_workers_change_nothing():
    alone = list(scenes.pictures("varied", 20, 32, seed=2))
    together = list(scenes.pictures("varied", 20, 32, seed=2, workers=2))
    assert [name for name, _ in alone] == [name for name, _ in together]
    np.testing.assert_array_equal([p for _, p in alone], [p for _, p in together])


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_another_size_is_the_same_scene(kind):
    for index in range(12):
        large = scenes.scene(kind, index, 128).astype(float)
        halved = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
        small = scenes.scene(kind, index, 64).astype(float)
        blurred = [p.reshape(16, 4, 16, 4, 3).mean((1, 3)).ravel() for p in (halved, small)]
        assert np.corrcoef(*blurred)[0, 1] > 0.97
    assert scenes.scene(kind, 0, 13).shape == (13, 13, 3)


def test_the_sky_is_bluer_than_the_meadow_below_it(sets):
    """What can be recognized has its color: a green floor under a blue ceiling, never the other way around."""
    ab = color.rgb_to_lab(sets["landscapes"] / np.float32(255))[..., 1:]
    top, bottom = ab[:, :12].mean((1, 2)), ab[:, -12:].mean((1, 2))
    blue_over_green = ((top[:, 1] < -8) & (bottom[:, 0] < -8) & (bottom[:, 1] > 8)).sum()
    green_over_blue = ((bottom[:, 1] < -8) & (top[:, 0] < -8) & (top[:, 1] > 8)).sum()
    assert blue_over_green > 10
    assert green_over_blue == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("cats", 0), "unknown kind of scene 'cats'; there are faces, flowers, landscapes"),
        (("faces", -1), "index >= 0"),
        (("faces", 0, 4), "size >= 8"),
        (("faces", 0, 64, -3), "seed >= 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes.scene(*arguments)
