"""Figures show what they were given, at the right places."""

import keras
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.testing import assert_allclose, assert_array_equal

from colorlib import color, models, plots
from colorlib.scoring import scores


def texts(figure):
    """Every text in a figure that is not empty."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def pictures(count=3, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(autouse=True)
def nothing_leaks():
    """No figure may stay open in pyplot, and no setting change."""
    before = dict(mpl.rcParams)
    yield
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_the_grid_has_pictures_in_rows_and_systems_in_columns():
    systems = {"grey": pictures(seed=1), "truth": pictures(seed=2)}
    figure = plots.comparison_grid(systems)
    figure.draw_without_rendering()
    places = [place for place in figure.axes if place.images]
    assert len(places) == 6
    shown = {tuple(np.round(place.get_position().p0, 3)): place.images[0].get_array() for place in places}
    columns = sorted({left for left, _ in shown})
    rows = sorted({bottom for _, bottom in shown}, reverse=True)
    for left, system in zip(columns, systems.values(), strict=True):
        for bottom, picture in zip(rows, system, strict=True):
            assert_array_equal(shown[left, bottom], picture)
    assert {"grey", "truth"} <= set(texts(figure))


def test_columns_of_unequal_length_raise():
    with pytest.raises(ValueError, match=r"same number of pictures, not \[2, 3\]"):
        plots.comparison_grid({"grey": pictures(2), "truth": pictures(3)})


def test_variants_stand_in_rows_between_grey_and_the_truth_with_their_distance_from_it():
    truth = pictures(3, seed=1)
    lightness, ab = color.from_uint8(truth)
    half, _ = color.render(lightness, np.float32(0.5) * ab)
    figure = plots.variants_sheet({"half": half}, truth)
    rows = np.reshape([place for place in figure.axes if place.images], (3, 3))
    shown = [[place.images[0].get_array() for place in row] for row in rows]
    assert_array_equal(shown, [color.render(lightness, 0 * ab)[0], half, truth])
    captions = [[text.get_text() for text in place.texts if text.get_text()] for place in rows[1]]
    far = scores.per_picture(half, truth, only=("ciede2000",))["ciede2000"]
    assert [row[0] for row in captions] == [f"{value:.1f}" for value in far]
    assert [texts for place in rows[2][1:] for texts in place.texts if texts.get_text()] == []
    assert {"grey", "half", "truth"} <= set(texts(figure))


def test_bin_shares_draw_dots_by_their_share_and_a_ring_at_their_mean():
    shares = np.zeros(261)
    shares[[10, 200]] = 0.75, 0.25
    figure = plots.bin_shares({"all": None, "two": shares})
    alike, two = figure.axes
    assert_allclose(alike.collections[0].get_offsets(), color.bins())
    areas = two.collections[0].get_sizes()
    assert_allclose(areas[[10, 200]], [675, 225])
    assert areas.sum() == pytest.approx(900)
    assert_allclose(two.collections[1].get_offsets(), [shares @ color.bins()])


def test_the_map_shows_pictures_at_their_points_and_dots_where_they_would_cover_each_other():
    points = np.array([[0.0, 10], [4, 20], [4.05, 20.1], [2, 15], [0.1, 20]])
    figure = plots.picture_map(points, pictures(5), labels=("first", "second"))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = figure.findobj(mpl.offsetbox.AnnotationBbox)
    assert_allclose([box.xy for box in shown], points[[0, 1, 3, 4]])
    for box, picture in zip(shown, pictures(5)[[0, 1, 3, 4]], strict=True):
        assert_array_equal(box.offsetbox.get_data(), picture)
    extents = [box.offsetbox.get_window_extent(canvas.get_renderer()) for box in shown]
    assert not any(one.overlaps(other) for i, one in enumerate(extents) for other in extents[:i])
    place = figure.axes[0]
    inside = place.get_window_extent()
    for extent in extents:  # on the edge, too
        assert inside.x0 <= extent.x0 and extent.x1 <= inside.x1 and inside.y0 <= extent.y0 and extent.y1 <= inside.y1
    assert len(place.collections[0].get_offsets()) == 5
    assert {"first", "second"} <= set(texts(figure))


def test_the_ab_histogram_is_a_density_over_lab_units():
    one = np.broadcast_to(np.uint8((200, 60, 60)), (1, 16, 16, 3))
    figure = plots.ab_histogram({"one color": one, "noise": pictures()})
    meshes = [mesh for place in figure.axes[:2] for mesh in place.findobj(mpl.collections.QuadMesh)]
    for mesh in meshes:
        assert np.ma.sum(mesh.get_array()) * 2.5**2 == pytest.approx(100)  # percent of pixels
    corners = meshes[0].get_coordinates()[:-1, :-1][~meshes[0].get_array().reshape(92, 92).mask]
    ab = color.rgb_to_lab(one[0, 0, 0] / 255)[1:]
    assert len(corners) == 1 and (corners[0] <= ab).all() and (ab < corners[0] + 2.5).all()
    assert meshes[0].norm.vmax == meshes[1].norm.vmax == 100 / 2.5**2
    wanted = {"one color", "a*  green – red (Lab units)", "b*  blue – yellow (Lab units)"}
    assert wanted | {"pixels per square Lab unit (%)"} <= set(texts(figure))


@pytest.mark.filterwarnings("error")
def test_the_hue_histogram_draws_the_share_of_the_chroma_in_ten_degrees():
    orange, blue = np.uint8((200, 120, 40)), np.uint8((40, 80, 200))
    both = np.broadcast_to(orange, (2, 16, 16, 3)).copy()
    both[0, :8] = blue
    greys = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    figure = plots.hue_histogram({"one": np.broadcast_to(orange, (1, 16, 16, 3)), "greys": greys, "both": both})
    panels = [[line for line in axes.patches if isinstance(line, mpl.patches.StepPatch)] for axes in figure.axes]
    (one, last), (grey, again) = panels
    assert_array_equal(last.get_data().values, again.get_data().values)
    ab = [color.rgb_to_lab(rgb / 255)[1:] for rgb in (orange, blue)]
    chroma = [np.hypot(*of) for of in ab]
    places = [int(np.degrees(np.arctan2(b, a)) % 360 // 10) for a, b in ab]
    assert places == [6, 29]
    wanted = np.zeros((3, 36))
    wanted[0, places[0]] = 100
    wanted[2, places] = 100 * np.array([3 * chroma[0], chroma[1]]) / (3 * chroma[0] + chroma[1])
    for stairs, heights in zip((one, grey, last), wanted, strict=True):
        assert_allclose(stairs.get_data().values, heights, atol=1e-3)
        assert_array_equal(stairs.get_data().edges, np.arange(0, 361, 10))
    assert mpl.colors.to_hex(last.get_edgecolor()) == "#000000"
    mean = (3 * chroma[0] + chroma[1]) / 4
    named = {f"one (mean chroma {chroma[0]:.1f})", "greys (mean chroma 0.0)", f"both (mean chroma {mean:.1f})"}
    assert named <= set(texts(figure))


def test_tradeoff_curves_draw_every_point_and_label_the_dials():
    def point(ratio, score, **more):
        return {"colorfulness_ratio": ratio, "ciede2000": score, "ab_wasserstein": 2 * score, **more}

    curve = [point(0.5, 9, label="T 1"), point(0.8, 8, label="T 0.6"), point(1.0, 10, label="T 0.4")]
    figure = plots.tradeoff_curves({"classes": [*curve, point(1.3, 12, label="T 0.2")]}, {"grey": point(0, 13)})
    for place, factor in zip(figure.axes, (1, 2), strict=True):
        method, grey = place.lines
        assert_allclose(method.get_xydata() / [1, factor], [[0.5, 9], [0.8, 8], [1, 10], [1.3, 12]])
        assert_allclose(grey.get_xydata(), [[0, 13 * factor]])
    found = texts(figure)
    assert {"classes", "grey", "T 1", "T 0.4", "T 0.2"} <= set(found) and "T 0.6" not in found


def test_loss_curves_mark_the_best_epoch():
    history = {"loss": [3, 2, 1.5, 1], "val_loss": [3.5, 2.5, 2.6, 2.8]}
    figure = plots.loss_curves({"L2": history, "no validation": {"loss": [2, 1]}})
    training, validation, best = figure.axes[0].lines
    assert training.get_ydata().tolist() == history["loss"]
    assert validation.get_xydata().tolist() == [[1, 3.5], [2, 2.5], [3, 2.6], [4, 2.8]]
    assert best.get_xydata().tolist() == [[2, 2.5]]
    assert len(figure.axes[1].lines) == 1
    assert {"L2", "epoch", "loss", "training", "validation"} <= set(texts(figure))


def boxes_of(figure):
    """What stands below each box of a network, from left to right, and how many arrows there are."""
    figure.draw_without_rendering()
    (place,) = figure.axes
    labels = sorted((text.get_position()[0], text.get_text()) for text in place.texts if text.get_text())
    assert len(labels) == len(place.patches)
    return [label.replace("\n", " ") for _, label in labels], sum(not text.get_text() for text in place.texts)


def test_a_network_is_drawn_from_its_layers_with_its_skip_connections():
    labels, arrows = boxes_of(plots.network(models.unet(16, downsamplings=3, filters=4)))
    way = ["8x8 4", "4x4 8", "2x2 16", "4x4 8", "8x8 4"]
    assert labels == ["16x16 1 lightness", *way, "16x16 2 ab"]
    assert arrows == 6 + 2  # from each to the next, and over the innermost


def test_a_pretrained_network_is_one_box_and_stands_below_where_it_runs_beside_another():
    inputs = keras.Input((32, 32, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(keras.layers.Conv2D(6, 3)(inputs)))
    figure = plots.network(models.fusion_colorizer(32, keras.Model(inputs, pooled), filters=4), pretrained="embedder")
    labels, arrows = boxes_of(figure)
    assert "6 embedder" in labels and labels[-1] == "32x32 2 ab"  # the last convolution is enlarged
    assert len(labels) == 1 + 8 + 1 + 1 + 5 + 1 and arrows == 15 + 2
    rows = {round(patch.get_y() + patch.get_height() / 2, 6) for patch in figure.axes[0].patches}
    assert rows == {0.0, -1.0}


def test_a_notebook_keeps_photographs_as_jpeg(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plots.dataset_sheet(np.zeros((2, 16, 16, 3), np.uint8))._ipython_display_()
    assert [image.data[:2] for image in shown] == [b"\xff\xd8"]
    assert not hasattr(plots.loss_curves({"a": {"loss": [1.0], "val_loss": [1.0]}}), "_ipython_display_")
