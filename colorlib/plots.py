"""Figures, returned and never shown or written.

Pictures are 8-bit sRGB (N, H, W, 3). Colors of lines are Okabe and Ito's (2008), told apart by color-blind readers.
"""

import io
import itertools
import math
import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from colorlib import color
from colorlib.scoring import scores

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET, RULE = "#222222", "#6b6b6b", "#9a9a9a"
WIDTH = 10.0  # inches, the width of a notebook
STYLE = {
    "figure.dpi": 100,
    "text.color": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    **{f"{axis}.color": RULE for axis in ("xtick", "ytick")},
    **{f"{axis}.labelcolor": QUIET for axis in ("xtick", "ytick")},
    **{f"{axis}.labelsize": 9 for axis in ("xtick", "ytick")},
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
_styled = mpl.rc_context(STYLE)

_AXES = {"ciede2000": "CIEDE2000 (lower is better)", "ab_wasserstein": "ab Wasserstein distance (Lab units)"}


class _Photographs(mpl.figure.Figure):
    """A figure of photographs: a notebook keeps it as JPEG of quality 85, in a fifth of the bytes."""

    def _ipython_display_(self):
        from IPython.display import Image, display  # here: a script has none

        encoded = io.BytesIO()
        self.savefig(
            encoded,
            format="jpeg",
            bbox_inches="tight",
            pil_kwargs={"quality": 85, "optimize": True, "progressive": True},
        )
        display(Image(encoded.getvalue(), format="jpeg"))


def _canvas(rows, columns, size, **grid):
    """A figure without leaking it: pyplot makes it, so that notebooks show it, and forgets it."""
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **grid)
    plt.close(figure)
    return figure, axes


def _across(count):
    return math.ceil(count / math.ceil(count / 4))


def _panels(count, width, height, **grid):
    """A figure of `count` panels of this size in inches in even rows of at most four, and its panels as a list."""
    across = _across(count)
    rows = math.ceil(count / across)
    figure, axes = _canvas(rows, across, (width * across, height * rows), layout="constrained", **grid)
    for place in axes.flat[count:]:
        place.set_axis_off()
    return figure, list(axes.flat[:count])


def _tiles(pictures, captions, *, across, tile, head=0.0, left=0.0):
    """A figure of pictures `tile` inches wide, `across` in a row, captions below; `head` and `left` inches are free."""
    rows, foot = math.ceil(len(pictures) / across), 0.2 if captions else 0.04
    high = tile * len(pictures[0]) / len(pictures[0][0])
    width, height = left + tile * across, head + rows * (high + foot)
    figure, axes = _canvas(rows, across, (width, height), FigureClass=_Photographs)
    figure.subplots_adjust(left / width, foot / height, 1, 1 - head / height, wspace=0.05 / tile, hspace=foot / high)
    for place in axes.flat:
        place.set_axis_off()
    for place, picture, caption in itertools.zip_longest(axes.flat[: len(pictures)], pictures, captions):
        # Small ones keep their pixels: honest, and a third of the bytes in a notebook.
        place.imshow(picture, interpolation="nearest" if len(picture) <= 128 else "auto")
        note = {"transform": place.transAxes, "ha": "center", "va": "top", "fontsize": 8, "color": QUIET}
        place.text(0.5, -0.03, caption or "", **note)
    return figure, axes


@_styled
def comparison_grid(columns):
    """Draws pictures in rows and systems in columns: title -> pictures (N, H, W, 3). Returns a Figure.

    Raises ValueError for columns of unequal length.
    """
    counts = {len(pictures) for pictures in columns.values()}
    if len(counts) != 1:
        raise ValueError(f"every column needs the same number of pictures, not {sorted(counts)}")
    pictures = [picture for row in zip(*columns.values(), strict=True) for picture in row]
    tile = min(1.33, WIDTH / len(columns))  # inches: 64 pixels enlarged twice
    titles = [textwrap.fill(title, max(8, int(tile * 11))) for title in columns]
    head = 0.1 + 0.18 * max(title.count("\n") + 1 for title in titles)
    figure, axes = _tiles(pictures, (), across=len(columns), tile=tile, head=head)
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, loc="center", pad=5)
    return figure


@_styled
def variants_sheet(variants, truth, *, width=9.0):
    """Draws what variants make of the same pictures, a row each: title -> pictures (N, H, W, 3). Returns a Figure.

    Grey stands above, `truth`, the true pictures, below, and beneath each tile its CIEDE2000, the mean over its pixels.
    `width` is that of the sheet in inches.
    """
    lightness, ab = color.from_uint8(truth)
    rows = {"grey": color.render(lightness, 0 * ab)[0], **variants, "truth": truth}
    far = [scores.per_picture(pictures, truth, only=("ciede2000",))["ciede2000"] for pictures in rows.values()]
    captions = [f"{value:.1f}" if value else "" for row in far for value in row]
    pictures = [picture for row in rows.values() for picture in row]
    left = 0.42  # inches, for titles of two lines
    figure, axes = _tiles(pictures, captions, across=len(truth), tile=min(2, (width - left) / len(truth)), left=left)
    for place, title in zip(axes[:, 0], rows, strict=True):
        note = {"transform": place.transAxes, "ha": "right", "va": "center", "rotation": 90, "fontsize": 9.5}
        place.text(-0.04, 0.5, textwrap.fill(title, 20), **note)
    return figure


@_styled
def dataset_sheet(pictures, *, captions=(), across=8):
    """Draws a contact sheet of pictures (N, H, W, 3), `across` in a row, short captions below. Returns a Figure."""
    return _tiles(pictures, captions, across=across, tile=WIDTH / across)[0]


@_styled
def picture_map(points, pictures, *, labels=("x", "y")):
    """Draws pictures (N, H, W, 3) small at their coordinates `points` (N, 2). Returns a Figure.

    None covers another: of several at one place the first is drawn, the others are dots. Raises ValueError where the
    numbers of points and pictures differ.
    """
    figure, axes = _canvas(1, 1, (WIDTH, 6.4), layout="constrained", FigureClass=_Photographs)
    place, points, free = axes[0, 0], np.asarray(points, float), []
    place.set(xlabel=labels[0], ylabel=labels[1])
    place.tick_params(length=0)
    place.spines[:].set_visible(False)
    place.margins(0.03, 0.05)  # a picture on the edge stays inside
    place.scatter(*points.T, s=7, color=RULE, linewidths=0)
    side = np.array((0.044, 0.07)) * np.maximum(np.ptp(points, axis=0), 1e-9)  # of a picture, with a little room
    for point, picture in zip(points, pictures, strict=True):
        if all((np.abs(point - other) >= side).any() for other in free):
            free.append(point)
            place.add_artist(AnnotationBbox(OffsetImage(picture, zoom=27 / len(picture)), point, frameon=False))
    return figure


@_styled
def ab_histogram(sets):
    """Draws where the colors of sets of pictures lie in the ab plane: title -> pictures. Returns a Figure.

    Density in percent of pixels per square Lab unit, on one logarithmic scale. The outline is the sRGB gamut in
    its own colors.
    """
    limit, densities = 115, {}  # Lab units
    edges = np.arange(-limit, limit + 1, 2.5)
    for title, pictures in sets.items():
        ab = color.lab_of(pictures)[..., 1:].reshape(-1, 2)
        densities[title] = 100 * np.histogram2d(*ab.T, bins=edges, density=True)[0].T
    top = max(density.max() for density in densities.values())
    side = min(3.4, WIDTH / min(len(sets), 4))
    figure, panels = _panels(len(sets), side, side + 0.1, sharex=True, sharey=True)
    for place, (title, density) in zip(panels, densities.items(), strict=True):
        shown = np.ma.masked_equal(density, 0)
        mesh = place.pcolormesh(edges, edges, shown, cmap="magma_r", norm=LogNorm(top * 1e-4, top), rasterized=True)
        outline, colors = _gamut()
        place.add_collection(LineCollection(outline, colors=colors, linewidths=2.2, capstyle="round"))
        place.set(title=title, aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
        place.set(xticks=range(-100, 101, 50), yticks=range(-100, 101, 50))
        place.set_ylabel("b*  blue – yellow (Lab units)", fontsize=9)
        place.label_outer()
    for place in panels[-_across(len(sets)) :]:  # the lowest of each column, which may not be of the last row
        place.tick_params(labelbottom=True)
        place.set_xlabel("a*  green – red (Lab units)", fontsize=9)
    bar = figure.colorbar(mesh, ax=panels, pad=0.015, aspect=26, shrink=0.9)
    bar.set_label("pixels per square Lab unit (%)", fontsize=9)
    bar.outline.set_visible(False)
    return figure


def _gamut():
    """The ring of fully saturated sRGB colors, red to yellow to green and round, in the ab plane, and its colors."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], float)
    steps = np.linspace(0, 6, 361)
    ring = np.stack([np.interp(steps, np.arange(7), channel) for channel in corners.T], axis=-1)
    ab = color.rgb_to_lab(ring)[:, 1:]
    return np.stack([ab[:-1], ab[1:]], axis=1), ring[:-1]


@_styled
def bin_shares(shares, *, truth=None, lightness=65):
    """Draws how a model shares its belief among the 261 bins: title -> shares (261,), or None. Returns a Figure.

    The ab plane is seen at one L*. With None each bin is drawn alike; with shares the larger, the larger its share; a
    ring marks their mean, the color that they stand for, and a cross the true color `truth`, a* and b*, if given.
    """
    grid = np.stack(np.meshgrid(np.arange(-112, 113), np.arange(-112, 113)), axis=-1)  # a*, b* by rows of b*
    flat = color.lab_to_rgb(np.dstack([np.full(grid.shape[:2], float(lightness)), grid]))
    inside = ((flat > -1e-3) & (flat < 1 + 1e-3)).all(axis=-1, keepdims=True)
    plane = np.dstack([np.clip(flat, 0, 1), inside])
    centers = color.bins()
    figure, panels = _panels(
        len(shares), WIDTH / max(2, min(len(shares), 4)), 4.8 if len(shares) < 3 else 3.2, sharex=True, sharey=True
    )
    for place, (title, share) in zip(panels, shares.items(), strict=True):
        place.imshow(plane, extent=(-112.5, 112.5, -112.5, 112.5), origin="lower", alpha=1.0 if share is None else 0.35)
        if share is None:
            place.scatter(*centers.T, s=14, facecolors="none", edgecolors=INK, linewidths=0.5)
        else:
            ring = {"s": 130, "facecolors": "none", "edgecolors": "black", "linewidths": 2}
            fill = np.clip(_swatches(centers, lightness), 0, 1)
            area = np.where(np.asarray(share) > 0.002, 900 * np.asarray(share), 0)
            place.scatter(*centers.T, s=area, facecolors=fill, edgecolors=INK, linewidths=0.5 * (area > 0))
            place.scatter(*(np.asarray(share) @ centers), **ring)
            if truth is not None:
                place.scatter(*truth, marker="x", s=70, color="black", linewidths=2)
        place.set(title=title, xlabel="a*", xticks=range(-100, 101, 50), yticks=range(-100, 101, 50), ylim=(-118, 112))
        place.grid(visible=False)
    panels[0].set_ylabel("b*")
    return figure


def _swatches(ab, lightness):
    """sRGB of colors ab (N, 2) at one L*."""
    return color.lab_to_rgb(np.column_stack([np.full(len(ab), float(lightness)), ab]))


@_styled
def hue_histogram(sets):
    """Draws the share of all chroma at each hue, 0 red, 90 yellow, 180 green, 270 blue: title -> pictures (N, H, W, 3).

    A panel a set, with its mean chroma in the title; the last, such as the truth, is a black line in each. The ribbon
    below shows the hues. Returns a Figure.
    """
    edges, found = np.arange(0, 361, 10), {}
    for title, pictures in sets.items():
        a, b = np.moveaxis(color.lab_of(pictures)[..., 1:], -1, 0)
        chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
        seen = np.where(chroma < color.GREY_BELOW, 0, chroma)
        share = 100 * np.histogram(hue, edges, weights=seen)[0] / max(seen.sum(), 1e-9)
        found[f"{title} (mean chroma {chroma.mean():.1f})"] = share
    last, true_share = found.popitem()
    figure, axes = _panels(len(found), 3.3, 2.6, sharex=True, sharey=True)
    top = 1.1 * max(true_share.max(), *(share.max() for share in found.values()))
    hues = np.deg2rad(np.arange(360) + 0.5)
    ribbon = color.lab_to_rgb(np.stack([np.full(360, 65.0), 40 * np.cos(hues), 40 * np.sin(hues)], axis=-1))
    for place, (title, share) in zip(axes, found.items(), strict=True):
        place.stairs(share, edges, fill=True, color=PALETTE[5], alpha=0.8)
        place.stairs(true_share, edges, color="black", linewidth=1.3, label=last)
        place.imshow(np.clip(ribbon, 0, 1)[None], extent=(0, 360, -0.06 * top, 0), aspect="auto")
        place.set(title=title, xlabel="hue (degrees)", ylabel="share of the chroma (%)")
        place.set(xlim=(0, 360), xticks=range(0, 361, 90), ylim=(-0.06 * top, top))
    axes[0].legend(fontsize=8)
    return figure


@_styled
def tradeoff_curves(curves, points, *, stars=None):
    """Draws what more color costs: colorfulness ratio against two scores, a line a method. Returns a Figure.

    `curves`: method -> list of points as from `scores.curve_point`, each with a "label", the dial's value, which
    stands at both ends and where the ratio is closest to 1, if there is room. `points`: name -> one such point, for
    baselines. `stars`: method -> one such point, the setting that was chosen, in the color of its curve.
    """
    figure, axes = _canvas(1, len(_AXES), (WIDTH, 4.5), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    for place, (score, axis) in zip(axes[0], _AXES.items(), strict=True):
        place.axvspan(0.9, 1.1, color="#f1efe6", lw=0, zorder=0)
        for index, (method, curve) in enumerate(curves.items()):
            x, y = ([point[name] for point in curve] for name in ("colorfulness_ratio", score))
            line = {"color": PALETTE[index % len(PALETTE)], "marker": "o", "markeredgecolor": "white"}
            place.plot(x, y, markersize=6.5, markeredgewidth=1, label=method, zorder=3, **line)
            if star := (stars or {}).get(method):
                place.plot(
                    star["colorfulness_ratio"], star[score], "*", color=line["color"], mec="black", ms=15, zorder=5
                )
        for index, (name, point) in enumerate(points.items()):
            left, height = point["colorfulness_ratio"], point[score]
            offset = (7, -3) if index else (-4, 7)  # the first above: grey and the mean may be near
            place.plot(left, height, "D", color=QUIET, markersize=5, markeredgecolor="white", zorder=3)
            place.annotate(name, (left, height), offset, textcoords="offset points", fontsize=8, color=QUIET)
        place.set(xlabel="colorfulness ratio (1: as colorful as the truth)", ylabel=axis)
        place.margins(x=0.08, y=0.1)
        _label_dials(place, curves, [*points.values(), *(stars or {}).values()], score)
        place.text(1, 1.01, "truth ± 10 %", transform=place.get_xaxis_transform(), ha="center", fontsize=8, color=QUIET)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if stars:
        handles.append(mpl.lines.Line2D([], [], marker="*", ls="", color="white", mec="black", ms=15))
        labels.append("chosen on validation")
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(handles)))
    return figure


def _label_dials(place, curves, others, score):
    """Writes the values of dials beside their points, but not where something stands already."""
    place.autoscale_view()
    to_share = place.transLimits.transform  # of the panel's width and height
    taken = [to_share((point["colorfulness_ratio"], point[score])) for point in others]
    for index, curve in enumerate(curves.values()):
        last, closest = len(curve) - 1, min(range(len(curve)), key=lambda i: abs(curve[i]["colorfulness_ratio"] - 1))
        for i in dict.fromkeys((last, 0, closest)):
            at = curve[i]["colorfulness_ratio"], curve[i][score]
            if all(np.abs(to_share(at) - other).max() > 0.06 for other in taken):
                taken.append(to_share(at))
                note = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "zorder": 4}
                ink = PALETTE[index % len(PALETTE)]
                text = place.annotate(curve[i]["label"], at, (0, -14 if index % 2 else 8), color=ink, **note)
                text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


@_styled
def network(model, *, pretrained="pretrained network"):
    """Draws a colorizer from its own layers, from what goes in to what comes out. Returns a Figure.

    A box is a convolution or a dense layer, as high as its map and as wide as it has channels, by the square root of
    the one and the logarithm of the other; a layer "backbone" is one box, called `pretrained`. Arrows into one box are
    joined; those over others are skip connections. What a residual block passes by its convolutions is not drawn.
    """
    boxes = _boxes(model)
    columns, tall = 1 + max(box["column"] for box in boxes.values()), max(box["side"] for box in boxes.values())
    skips = [(boxes[key], box) for box in boxes.values() for key in box["parents"] if _skips(boxes[key], box)]
    for box in boxes.values():
        box["high"], box["wide"] = 0.9 * math.sqrt(box["side"] / tall), 0.16 + 0.055 * math.log2(box["channels"])
        size = f"{box['side']}x{box['side']}\n{box['channels']}" if len(box["shape"]) == 3 else f"{box['channels']}"
        name = pretrained if box["kind"] == "pretrained" else box["name"] if box["kind"] != "layer" else ""
        box["label"] = "\n".join(part for part in (size, name) if part)
        box["below"] = box["lane"] - box["high"] / 2 - 0.06 - 0.14 * (1 + box["label"].count("\n"))
    low, high = min(box["below"] for box in boxes.values()), 0.5 + 0.75 * bool(skips)
    figure, axes = _canvas(1, 1, (WIDTH, 1.3 * (high - low)), layout="constrained")
    place, inks = axes[0, 0], {"in": "#d0d0d0", "layer": "#a9cfe6", "pretrained": "#f3d9a4", "out": "#e6a98c"}
    place.set(xlim=(-0.6, columns - 0.4), ylim=(low, high))
    place.set_axis_off()
    note = {"ha": "center", "va": "top", "fontsize": min(9, 120 / columns), "color": QUIET}
    for box in boxes.values():
        left, bottom = box["column"] - box["wide"] / 2, box["lane"] - box["high"] / 2
        patch = mpl.patches.Rectangle((left, bottom), box["wide"], box["high"], fc=inks[box["kind"]], ec=INK, lw=0.8)
        place.add_patch(patch)
        place.text(box["column"], bottom - 0.05, box["label"], **note)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    for box in boxes.values():
        for parent in (boxes[key] for key in box["parents"]):
            start, end = parent["column"] + parent["wide"] / 2, box["column"] - box["wide"] / 2
            if box["lane"] < parent["lane"]:  # down, then to the right
                place.plot([parent["column"]] * 2, [parent["below"], box["lane"]], color=INK, lw=0.9)
                place.annotate("", (end, box["lane"]), (parent["column"], box["lane"]), arrowprops=arrow)
            elif box["lane"] > parent["lane"]:
                place.plot([start, box["column"]], [parent["lane"]] * 2, color=INK, lw=0.9)
                place.annotate("", (box["column"], box["below"]), (box["column"], parent["lane"]), arrowprops=arrow)
            elif not _skips(parent, box):
                place.annotate("", (end, box["lane"]), (start, parent["lane"]), arrowprops=arrow)
    skips.sort(key=lambda pair: pair[1]["column"] - pair[0]["column"])
    for level, (parent, box) in enumerate(skips):
        over = 0.5 + 0.7 * (level + 1) / len(skips)
        left, right = parent["column"], box["column"]
        place.plot([left, left, right], [parent["high"] / 2, over, over], color=INK, lw=0.9)
        place.annotate("", (right, box["high"] / 2), (right, over), arrowprops=arrow)
    return figure


def _skips(parent, box):
    """Whether an arrow between two boxes of one row has to go over others."""
    return parent["lane"] == box["lane"] and box["column"] - parent["column"] > 1


def _boxes(model):
    """The boxes of `network`, key -> what to draw, those that others come from first."""
    import keras  # here, for it takes seconds

    boxes, known, kept = {}, {}, []

    def trace(tensor, outside):
        """Keys of the boxes that a tensor comes from; `outside` holds those of a nested model's inputs."""
        at = (id(tensor), id(outside))
        if id(tensor) in outside:
            return outside[id(tensor)]
        if at not in known:
            layer, call, index = tensor._keras_history
            sources = layer._inbound_nodes[call].input_tensors
            found = [*dict.fromkeys(key for source in sources for key in trace(source, outside))]
            if isinstance(layer, keras.layers.Add):  # of a residual block what it computes, not what it passes on
                parents = {parent for key in found for parent in boxes[key]["parents"]}
                passed_on = {parent for key in parents for parent in boxes[key]["parents"]}
                found = [key for key in found if key not in passed_on]
            if isinstance(layer, keras.Model) and layer.name != "backbone":
                inside = {
                    id(tensor): trace(source, outside) for tensor, source in zip(layer.inputs, sources, strict=True)
                }
                found = trace(layer.outputs[index], inside)
                kept.append(inside)  # as long as its id is in use
            elif not sources or layer.name == "backbone" or hasattr(layer, "kernel"):
                kind = "layer" if sources and layer.name != "backbone" else "pretrained" if sources else "in"
                found = [add(layer.name, kind, tensor, found)]
            known[at] = found
        return known[at]

    def add(name, kind, tensor, parents):
        shape, column = tensor.shape[1:], 1 + max((boxes[key]["column"] for key in parents), default=-1)
        side = shape[0] if len(shape) == 3 else 1
        box = {"name": name, "kind": kind, "parents": parents, "shape": shape, "side": side, "channels": shape[-1]}
        boxes[len(boxes)] = box | {"column": column, "lane": 0}
        return len(boxes) - 1

    ends = trace(model.output, {})
    last, name = boxes[ends[-1]], {2: "ab", 3: "rgb"}.get(model.output.shape[-1], "out")
    if last["shape"] == model.output.shape[1:]:
        last |= {"kind": "out", "name": name}
    else:
        add(name, "out", model.output, ends)
    for box in boxes.values():
        beside = [other for other in boxes.values() if other["column"] == box["column"] and other is not box]
        if box["kind"] == "pretrained" and beside:
            joined = min(other["column"] for other in boxes.values() if box in [boxes[key] for key in other["parents"]])
            box |= {"lane": -1, "column": (box["column"] + joined) / 2}
    return boxes


@_styled
def loss_curves(histories, *, metric="loss", same_scale=False):
    """Draws training (thin) and validation (thick) curves, a panel a run. Returns a Figure.

    `histories`: title -> Keras history, name -> values by epoch. The lowest validation loss is marked. Runs of one loss
    are compared with `same_scale`; else each panel has its own.
    """
    width = WIDTH / max(3, _across(len(histories)))
    figure, panels = _panels(len(histories), width, 2.8, sharey=same_scale)
    for place, (title, history) in zip(panels, histories.items(), strict=True):
        epochs = np.arange(1, len(history[metric]) + 1)
        place.plot(epochs, history[metric], color=PALETTE[0], linewidth=1, alpha=0.75, label="training")
        if validation := history.get(f"val_{metric}"):
            place.plot(epochs, validation, color=PALETTE[1], label="validation")
            if metric == "loss":  # of others the lowest value need not be the best
                best = int(np.argmin(validation))
                dot = {"color": PALETTE[1], "mec": "white", "markersize": 7, "label": "best"}
                place.plot(epochs[best], validation[best], "o", **dot)
        place.set(title=title, xlabel="epoch", ylabel=metric.replace("_", " "))
        place.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].legend(fontsize=9)
    return figure
