"""A colorizer on pictures of any size: their own lightness, their own size, the model's color."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from skimage import data

from colorlib import color, colorize, models, training
from colorlib.data import files
from colorlib.models import backbones

DATA = Path(__file__).parent / "data"
GALLERY = Path(__file__).parents[1] / "data" / "gallery"


def linear_model(*, slope=(0.0, 0.0), level=(0.0, 0.0), shape=(None, None)):
    """A colorizer whose ab is `slope` times the lightness plus `level`."""
    inputs = keras.Input((*shape, 1))
    layer = keras.layers.Conv2D(2, 1)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.reshape(slope, (1, 1, 1, 2)), np.asarray(level)])
    return model


def mid_greys(height, width, seed=0):
    """Soft blobs of middle grey: with a little chroma every one of them is inside the gamut."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 5)
    grey = 128 + 40 * noise / max(1e-6, np.abs(noise).max())
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def lab(picture):
    return color.rgb_to_lab(picture.astype(np.float32) / 255)


@pytest.fixture
def seen(monkeypatch):
    """What is to be colored, window by window: lightness (h, w) in [-1, 1]."""
    pictures, predict = [], colorize.predict

    def watched(model, lightness):
        pictures.append(lightness[0, ..., 0])
        return predict(model, lightness)

    monkeypatch.setattr(colorize, "predict", watched)
    return pictures


def grey_of(picture):
    """The picture's own grey copy, uint8 (H, W, 3)."""
    return color.render(color.from_uint8(picture)[0], np.zeros((*picture.shape[:2], 2), np.float32))[0]


SEPIA = [(40, 26, 13), (150, 120, 85), (255, 240, 200)]  # of black, middle grey and white
FADED = [(120, 100, 75), (165, 145, 115), (210, 190, 150)]
CYANOTYPE = [(10, 30, 80), (115, 135, 165), (245, 250, 255)]


def toned(grey, tone, quality=75):
    """A grey picture (H, W, 3) printed in a tone, and kept as a JPEG."""
    print_ = np.stack([np.interp(grey[..., 0], (0, 127.5, 255), channel) for channel in zip(*tone, strict=True)], -1)
    file = io.BytesIO()
    Image.fromarray(np.rint(print_).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(37, 53), (3, 321), (3, 700), (200, 300), (300, 2)])
def test_size_type_and_lightness_are_the_pictures_own_and_the_color_is_the_models(shape, dtype):
    picture = mid_greys(*shape).astype(dtype) * (np.iinfo(dtype).max // 255)
    picture += np.arange(shape[1], dtype=dtype)[:, None] % 3  # finer steps than those of 8 bits
    colored = colorize.colorize(linear_model(level=(0.1, 0.15)), picture)
    assert colored.shape == picture.shape and colored.dtype == dtype
    steps = {np.uint8: 1, np.uint16: 256}[dtype]
    np.testing.assert_allclose(color.lab_of(colored)[..., 0], color.lab_of(picture)[..., 0], atol=0.35 / steps)
    ab = np.broadcast_to((12.8, 19.2), (*shape, 2))
    np.testing.assert_allclose(color.lab_of(colored)[..., 1:], ab, atol=0.9 / steps)


def test_ab_is_brought_up_smoothly():
    picture = cv2.resize(mid_greys(256, 320), (1200, 960))
    picture[:20], picture[20:40] = 20, 240  # a sound range, which is not stretched
    colored = colorize.colorize(linear_model(slope=(0.2, -0.2)), picture, size=64)
    lightness, _ = color.from_uint8(picture)
    small = cv2.resize(lightness, (80, 64), interpolation=cv2.INTER_AREA)[..., None] * np.float32([0.2, -0.2])
    expected, _ = color.render(lightness, cv2.resize(small, (1200, 960), interpolation=cv2.INTER_CUBIC))
    assert np.abs(colored[80:].astype(int) - expected[80:]).max() <= 1


def test_the_model_looks_three_times_and_the_looks_fall_on_one_another():
    lightness = color.from_uint8(cv2.resize(mid_greys(60, 90), (180, 120)))[0][None]  # unlike its mirror image
    ab = colorize.predict(linear_model(slope=(0.2, -0.2)), lightness)
    np.testing.assert_allclose(ab, lightness * (0.2, -0.2), atol=0.01)
    slope = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, (1, 3), padding="same")])
    slope.layers[0].set_weights([np.float32([-1, 0, 1]).reshape(1, 3, 1, 1).repeat(2, -1), np.zeros(2)])
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (1, 64, 1, 1))
    # Rising by 2 / 63 over two pixels; by less where the look is larger, and falling where it is mirrored.
    expected = 2 / 63 * (1 - 1 / 0.75 - 1 / 1.25) / 3
    np.testing.assert_allclose(colorize.predict(slope, ramp)[0, 32, 32], expected, atol=5e-4)


def test_looks_follow_dials_that_were_turned_and_weights_that_were_set():
    """Also after the first call, for which TensorFlow makes a graph."""
    lightness = color.from_uint8(mid_greys(64, 96))[0][None]
    model = models.vivid_colorizer(models.small_backbone(None, widths=(4, 8)), widths=())
    decode = model.get_layer("decode")

    def change(name, value):
        setattr(decode, name, value)

    rng, kernel = np.random.default_rng(0), model.get_layer("logits").kernel
    values = rng.normal(size=kernel.shape)
    steps = [lambda: change("gain", 0.5), lambda: change("restore", 1.0), lambda: kernel.assign(values)]
    before = colorize.predict(model, lightness)
    for step in steps:
        step()
        after = colorize.predict(model, lightness)
        assert np.abs(after - before).max() > 0.01 * np.abs(before).max() > 0
        model.compiled_for, before = None, after
        np.testing.assert_allclose(colorize.predict(model, lightness), after, atol=1e-6)


def test_a_model_built_for_one_size_sees_that_size(seen):
    picture = mid_greys(90, 60)
    colored = colorize.colorize(linear_model(level=(0.1, -0.1), shape=(48, 48)), picture)
    np.testing.assert_allclose(lab(colored)[..., 1:].mean((0, 1)), (12.8, -12.8), atol=0.2)
    colorize.colorize(linear_model(shape=(150, 600)), picture)
    assert [each.shape for each in seen] == [(48, 48), (150, 600)]


def test_colors_too_vivid_for_srgb_cost_the_gallery_no_lightness():
    for path in sorted(GALLERY.glob("kodim*.jpg")):
        lightness, ab = color.from_uint8(files.load(path)[::3, ::3])
        colored = color.render_muted(lightness, 2 * ab)
        assert 50 * np.abs(color.from_uint8(colored)[0] - lightness).mean() < 0.15  # L*; 8 bits alone make 0.07


def test_the_smallest_picture_comes_back():
    picture = np.full((1, 1, 3), 90, np.uint8)
    np.testing.assert_array_equal(colorize.colorize(linear_model(level=(0.1, 0.1)), picture), picture)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint16)],
)
def test_other_arrays_are_refused(picture):
    for call in (lambda: colorize.colorize(linear_model(), picture), lambda: colorize.is_toned_or_grey(picture)):
        with pytest.raises(ValueError, match=r"a picture is uint8 or uint16 \(H, W, 3\), not"):
            call()


def mean_of_all():
    """A colorizer whose ab is, everywhere, a third of the mean lightness of what it sees: no two windows agree."""
    inputs = keras.Input((None, None, 1))
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    mean = keras.layers.Add()([keras.layers.Rescaling(0.0)(inputs), mean])
    return keras.Model(inputs, keras.layers.Rescaling(1 / 3)(keras.layers.Concatenate()([mean, mean])))


def test_a_panorama_is_shown_in_windows_at_full_scale_and_has_no_seams(seen):
    part = mid_greys(128, 128)
    strip = np.concatenate([np.uint16(257 * (part + 30 * np.sin(k))) for k in range(12)], 1)
    colored = colorize.colorize(mean_of_all(), strip)
    assert {each.shape for each in seen} == {(128, 256)} and len(seen) == 11  # 1,536 pixels, by half windows
    means = 128 / 3 * np.array([each.mean() for each in seen])
    across = color.lab_of(colored)[..., 2].mean(0)  # in Lab units, along the strip
    step = np.abs(np.diff(means)).max()  # between a window and the next, which takes over within 128 pixels
    assert step > 10 and np.ptp(across) > 10 and np.abs(np.diff(across)).max() < 3 * step / 128
    standing = colorize.colorize(mean_of_all(), strip.swapaxes(0, 1).copy())
    np.testing.assert_allclose(standing.swapaxes(0, 1), colored, atol=200)  # less than an 8-bit step


def test_a_pattern_that_repeats_is_colored_alike_everywhere():
    strip = np.tile(mid_greys(100, 100), (1, 9, 1))
    blur = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 15, padding="same")])
    blur.layers[0].set_weights([np.full((15, 15, 1, 2), 0.001), np.zeros(2)])
    parts = np.stack(np.split(lab(colorize.colorize(blur, strip, size=64)), 9, axis=1)[1:-1])
    np.testing.assert_allclose(parts, parts[:1].repeat(7, 0), atol=3)


@pytest.mark.parametrize(
    ("tone", "most"), [(SEPIA, 6), (CYANOTYPE, 7), (FADED, 4)], ids=["sepia", "cyanotype", "faded sepia"]
)
def test_a_toned_print_is_read_as_the_grey_picture(tone, most, seen):
    grey = grey_of(data.coffee())
    colorize.colorize(linear_model(), grey)
    colorize.colorize(linear_model(), toned(grey, tone))
    assert np.sqrt(np.mean((50 * (seen[0] - seen[1])) ** 2)) < most  # L*, for tones are not evenly dark


@pytest.mark.parametrize(("contrast", "black"), [(0.25, 150), (0.3, 5)], ids=["faded", "dark"])
def test_a_worn_scan_is_read_as_a_sound_one_and_keeps_its_own_lightness(contrast, black, seen):
    grey = grey_of(data.coffee())
    worn = np.rint(contrast * grey + black).astype(np.uint8)
    colorize.colorize(linear_model(), grey)
    colored = colorize.colorize(linear_model(level=(0.02, 0.02)), worn)
    assert np.sqrt(np.mean((50 * (seen[0] - seen[1])) ** 2)) < 4  # L*
    np.testing.assert_allclose(lab(colored)[..., 0], lab(worn)[..., 0], atol=0.35)


def test_a_wall_is_not_stretched_into_noise(seen):
    wall = np.random.default_rng(0).normal(128, 1, (64, 64, 1))
    wall[:, 40:] += 14  # half of it in the light
    colorize.colorize(linear_model(), np.uint8(wall).repeat(3, -1))
    assert np.ptp(seen[0]) * 50 < 10


@pytest.mark.parametrize("shade", [60, 128, 235])
def test_a_mat_around_a_photograph_stays_grey_and_is_not_seen(shade, seen):
    photograph = grey_of(data.chelsea())
    noise = np.random.default_rng(0).normal(0, 2, (450, 651, 1))
    scan = np.clip(shade + noise, 0, 255).round().astype(np.uint8).repeat(3, -1)
    scan[70:370, 100:551] = photograph
    model = linear_model(level=(0.1, 0.1))
    chroma = np.linalg.norm(lab(colorize.colorize(model, scan))[..., 1:], axis=-1)
    assert chroma[72:368, 102:549].mean() > 15
    chroma[68:372, 98:553] = 0
    assert chroma.max() < 0.1
    colorize.colorize(model, photograph)
    assert seen[0].shape == seen[1].shape and np.abs(seen[0] - seen[1]).mean() < 0.05


def test_a_sky_is_no_mat_and_a_blank_page_is(seen):
    picture = grey_of(data.chelsea())
    picture[:150], picture[:, :80] = 150, 150  # all of two sides
    chroma = np.linalg.norm(lab(colorize.colorize(linear_model(level=(0.1, 0.1)), picture))[..., 1:], axis=-1)
    assert chroma.min() > 1 and len(seen) == 1
    page = np.full((300, 200, 3), 230, np.uint8)
    page[100:105, 50:55] = 30  # a speck
    np.testing.assert_array_equal(colorize.colorize(linear_model(level=(0.1, 0.1)), page), page)


def test_grey_and_toned_pictures_are_told_from_colored_ones():
    colored = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]
    colored += [files.load(path) for path in sorted(GALLERY.glob("kodim*.jpg"))]
    assert len(colored) == 28 and not any(colorize.is_toned_or_grey(each) for each in colored)
    assert not colorize.is_toned_or_grey(colored[0].astype(np.uint16) * 257)
    old = [files.load(path) for path in sorted(GALLERY.glob("1*.jpg"))]
    assert len(old) == 6 and all(colorize.is_toned_or_grey(each) for each in old)
    for picture in colored[:12]:
        grey = grey_of(picture)
        assert colorize.is_toned_or_grey(grey) is True
        assert all(colorize.is_toned_or_grey(toned(grey, tone, quality=50)) for tone in (SEPIA, CYANOTYPE))
    assert colorize.is_toned_or_grey(np.full((1, 1, 3), 80, np.uint8))
    assert colorize.is_toned_or_grey(np.zeros((3, 321, 3), np.uint16))


@pytest.fixture(scope="module")
def vivid(tmp_path_factory):
    """The path of a small untrained colorizer with dials."""
    path = tmp_path_factory.mktemp("model") / "vivid.keras"
    models.vivid_colorizer(models.small_backbone(None, widths=(8, 8, 8, 8)), widths=()).save(path)
    return path


def test_a_saved_colorizer_is_loaded_and_its_dials_turn(vivid):
    picture = mid_greys(64, 64)
    model = colorize.load(vivid)
    plain = colorize.colorize(model, picture)
    colorize.set_dials(model, temperature=0.5, rebalance=0.3, gain=0.0)
    grey = colorize.colorize(model, picture)
    assert (grey == picture).all() and (plain != picture).any()
    assert model.get_layer("decode").rebalance == pytest.approx(0.3)
    with pytest.raises(ValueError, match="temperature must be"):
        colorize.set_dials(model, temperature=0.0)
    with pytest.raises(colorize.ModelError, match="does not choose among bins, so it has no temperature, gain to set"):
        colorize.set_dials(linear_model(), temperature=0.4, gain=1.0)


def dials_of(model):
    layer = model.get_layer("decode")
    return pytest.approx([layer.temperature, layer.rebalance, layer.gain])


def test_strength_goes_from_grey_over_the_natural_setting_to_the_vivid_one(vivid, tmp_path):
    model = colorize.load(vivid)
    colorize.set_dials(model, temperature=0.4, rebalance=0.2, gain=0.9)
    model.save(tmp_path / "mine.keras")
    model = colorize.load(tmp_path / "mine.keras")  # its own dials are its natural setting
    natural = {"temperature": pytest.approx(0.4), "rebalance": pytest.approx(0.2), "gain": pytest.approx(0.9)}
    assert model.settings == {"natural": natural, "vivid": natural | {"gain": 1.5}}
    expected = {2: [0.4, 0.2, 1.5], 0: [0.4, 0.2, 0], 0.5: [0.4, 0.2, 0.45], 1: [0.4, 0.2, 0.9], 1.5: [0.4, 0.2, 1.2]}
    for strength, dials in expected.items():
        colorize.set_dials(model, strength=strength)
        assert dials == dials_of(model)
    colorize.set_dials(model, strength=2, temperature=0.7, gain=0.3)
    assert [0.7, 0.2, 0.3] == dials_of(model)
    picture = mid_greys(64, 64)
    colorize.set_dials(model, strength=0)
    np.testing.assert_array_equal(colorize.colorize(model, picture), picture)
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValueError, match=f"strength must be 0 to 2, not {wrong}"):
            colorize.set_dials(model, strength=wrong)
    with pytest.raises(colorize.ModelError, match="so it has no strength to set"):
        colorize.set_dials(linear_model(), strength=1)


def test_a_model_saved_by_version_0_1_0_still_loads():
    model = colorize.load(DATA / "saved_by_0.1.0.keras")
    dials = model.get_layer("decode")
    assert [dials.temperature, dials.rebalance, dials.gain] == pytest.approx([0.5, 0.3, 1.1])
    lightness = np.linspace(-1, 1, 32 * 48, dtype="float32").reshape(1, 32, 48, 1)
    expected = np.load(DATA / "saved_by_0.1.0.npy")
    np.testing.assert_allclose(models.predict(model, lightness)[:, ::8, ::8], expected, atol=1e-5)


def test_weights_are_loaded_into_the_model_that_is_described_beside_them(tmp_path, monkeypatch):
    weights = tmp_path / "mine.weights.h5"
    backbone = {"name": "efficientnet_lite0", "layer": ["stride_4", "stride_8"]}
    described = {"backbone": backbone, "decoder": {"widths": [8], "smooth": True}}
    saved = models.vivid_colorizer(
        backbones.imagenet_backbone(**backbone, image_size=None, weights=None), **described["decoder"]
    )
    training.save_to_ship(saved, weights, described)
    monkeypatch.setattr(colorize, "WEIGHTS", weights)
    for one, other in zip(saved.get_weights(), colorize.load().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    natural = {"temperature": 0.3, "rebalance": 0.2, "gain": 1.0}
    settings = {"dials": natural, "vivid": {"temperature": 0.1, "rebalance": 0.4, "gain": 1.2}}
    training.save_to_ship(saved, weights, described | settings)
    model = colorize.load()
    assert [0.3, 0.2, 1.0] == dials_of(model)
    colorize.set_dials(model, strength=1.5)
    assert [0.2, 0.3, 1.1] == dials_of(model)
    described["decoder"]["widths"] = [4]
    training.save_to_ship(saved, weights, described)
    refused(weights, "not a Keras model that can be loaded")


def test_weights_that_were_damaged_are_refused(tmp_path):
    weights, card = tmp_path / "mine.weights.h5", tmp_path / "mine.json"
    for source, copy in ((colorize.WEIGHTS, weights), (colorize.WEIGHTS.with_name("colorizer.json"), card)):
        copy.write_bytes(source.read_bytes())
    whole = weights.read_bytes()
    for damaged in (whole[:-9], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b""):
        weights.write_bytes(damaged)
        refused(weights, "damaged: it is not the file that mine.json describes")
    weights.write_bytes(whole)
    card.write_text('{"sha256": "cut off')
    refused(weights, "not a Keras model that can be loaded")
    card.unlink()
    refused(weights, "mine.json")


def refused(path, message):
    with pytest.raises(colorize.ModelError, match=message) as caught:
        colorize.load(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_what_is_no_colorizer_is_refused_by_name(tmp_path, vivid):
    half, other, sick = (tmp_path / name for name in ("half.keras", "other.keras", "sick.keras"))
    half.write_bytes(vivid.read_bytes()[: vivid.stat().st_size // 2])
    models.vanilla_autoencoder(16, widths=(2, 2), code=3).save(other)
    linear_model(level=(np.nan, 0)).save(sick)
    refused(tmp_path, "a folder, no model file")
    refused(tmp_path / "missing.keras", "no such model file")
    refused(half, "not a Keras model")
    refused(other, r"not a colorizer; it maps \(None, 16, 16, 3\) to \(None, 16, 16, 3\)")
    refused(sick, "some of its weights are no finite numbers")


def repacked(source, target, member, content):
    """A copy of a .keras file with a member added or changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {member: content}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


@pytest.fixture
def keras_unseen(monkeypatch):
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", lambda *_, **__: pytest.fail("Keras saw it"))


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("../evil.py", b"1", r"it holds .*\.\./evil\.py"),
        ("config.json", b"[" * 10**6, "not a Keras model that can be loaded"),
        ("config.json", bytes(2**23 + 1), "its config.json is larger than"),
    ],
    ids=["a path outside", "a deep nest", "a bomb"],
)
def test_an_archive_with_other_members_is_refused(member, content, message, vivid, tmp_path, keras_unseen):
    hostile = repacked(vivid, tmp_path / "hostile.keras", member, content)
    refused(hostile, message)


@pytest.mark.parametrize(
    ("module", "name", "registered", "config"),
    [
        ("keras.layers", "Lambda", "Lambda", {"function": "print"}),
        (None, "__lambda__", "colorlib>BinDecoding", {"value": ["", None, None]}),
        ("keras.layers", "TFSMLayer", None, {"filepath": "graph"}),
        ("keras.layers", "StringLookup", None, {"vocabulary": "/etc/passwd"}),
        ("keras.utils", "get_file", None, {}),
        ("evil.layers", "Dense", "evil>Dense", {}),
        ("os", "function", "function", "system"),
    ],
)
def test_an_unsafe_configuration_is_refused(module, name, registered, config, vivid, tmp_path, keras_unseen):
    unsafe = {"module": module, "class_name": name, "registered_name": registered, "config": config}
    with zipfile.ZipFile(vivid) as archive:
        content = archive.read("config.json").decode()
    content = content.replace('"activation": "linear"', f'"activation": {json.dumps(unsafe)}')
    hostile = repacked(vivid, tmp_path / "hostile.keras", "config.json", content)
    refused(hostile, f"it names {module}.{name}, which is not allowed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.update({"a": h5py.ExternalLink("/etc/passwd", "/")}), "lead to another place"),
        (lambda file: file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "lead to another place"),
        (lambda file: file.create_dataset("a", (2**30,), "f4", chunks=(2**20,), compression="gzip"), "are too large"),
    ],
    ids=["an external link", "external storage", "a bomb"],
)
def test_weights_that_lead_elsewhere_or_unpack_to_too_much_are_refused(change, message, vivid, tmp_path):
    weights = tmp_path / "changed.h5"
    with zipfile.ZipFile(vivid) as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "a") as file:
        change(file)
    hostile = repacked(vivid, tmp_path / "hostile.keras", "model.weights.h5", weights.read_bytes())
    refused(hostile, f"its weights {message}")
