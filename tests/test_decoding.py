"""Dials: what is decoded from kept logits is what the model says, and the chosen ones match the truth's colors."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from colorlib import color, decoding, models
from colorlib.scoring import scores

SETTING = {"temperature": 0.5, "rebalance": 0.4, "gain": 1.2}


@pytest.fixture
def colorizer():
    """A model whose logits have much to say: untrained ones are nearly equal, so nearly grey."""
    keras.utils.set_random_seed(0)
    model = models.vivid_colorizer(models.small_backbone(32, widths=(4, 8, 8, 8)), widths=())
    head = model.get_layer("logits")
    head.set_weights([100 * head.get_weights()[0], head.get_weights()[1]])
    model.get_layer("decode").prior = np.random.default_rng(0).dirichlet(np.full(261, 0.2))
    return model


@pytest.fixture
def lightness():
    return np.random.default_rng(1).uniform(-0.4, 0.4, (5, 32, 32, 1)).astype(np.float32)


def turn(colorizer, **setting):
    for name, value in setting.items():
        setattr(colorizer.get_layer("decode"), name, value)


def predict(colorizer, lightness, **setting):
    """The model's own pictures with these dials."""
    turn(colorizer, **setting)
    return color.render(lightness, keras.ops.convert_to_numpy(colorizer(lightness)))[0]


def test_decoded_logits_are_the_models_own_answer(colorizer, lightness):
    values = decoding.logits(colorizer, lightness)
    assert values.shape == (5, 8, 8, 261)
    ab = decoding.decode(colorizer, values, **SETTING, batch_size=2)
    layer = colorizer.get_layer("decode")
    assert [layer.temperature, layer.rebalance, layer.gain] == pytest.approx([0.5, 0.4, 1.2])
    assert_allclose(ab, keras.ops.convert_to_numpy(colorizer(lightness)), atol=1e-5)
    plain = decoding.decode(colorizer, values)
    turn(colorizer, temperature=1.0, rebalance=0.0, gain=1.0)
    assert_allclose(plain, keras.ops.convert_to_numpy(colorizer(lightness)), atol=1e-5)
    assert np.abs(ab - plain).max() > 0.05


def test_a_sweep_scores_each_setting_as_the_protocol_does(colorizer, lightness):
    truth = predict(colorizer, lightness[::-1], temperature=0.7, rebalance=0.0, gain=1.0)
    settings = [SETTING, {"temperature": 1.0}, {"gain": 0.5, "rebalance": 0.6}]
    points = decoding.sweep(colorizer, decoding.logits(colorizer, lightness), lightness, truth, settings)
    for setting, point in zip(settings, points, strict=True):
        assert point.items() >= setting.items()
        pictures = predict(colorizer, lightness, **{"temperature": 1.0, "rebalance": 0.0, "gain": 1.0} | setting)
        expected = scores.curve_point(pictures, truth)
        assert {name: point[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert len({point["ciede2000"] for point in points}) == 3


def test_choosing_finds_the_dials_a_truth_was_made_with(colorizer, lightness):
    truth = predict(colorizer, lightness, **SETTING)
    points = decoding.choose(colorizer, lightness, truth, temperatures=(0.8, 0.5, 0.3), rebalances=(0.0, 0.4))
    assert len(points) > 3
    layer = colorizer.get_layer("decode")
    assert [layer.temperature, layer.rebalance, layer.gain] == pytest.approx(list(SETTING.values()), rel=0.02)
    best = min(points, key=lambda point: point["ciede2000"])
    assert [best[name] for name in SETTING] == pytest.approx([layer.temperature, layer.rebalance, layer.gain])
    assert best["ciede2000"] < 0.3 < sorted(point["ciede2000"] for point in points)[1]
    for point in points:
        assert point["colorfulness_ratio"] == pytest.approx(1, abs=0.02)
        assert 0.5 <= point["gain"] <= 2
    made = scores.curve_point(color.render(lightness, keras.ops.convert_to_numpy(colorizer(lightness)))[0], truth)
    assert made["colorfulness_ratio"] == pytest.approx(1, abs=0.02)
    assert made["ciede2000"] == pytest.approx(best["ciede2000"], abs=1e-3)


def test_settings_that_need_too_much_gain_are_left_out(colorizer, lightness, capsys):
    truth = predict(colorizer, lightness, temperature=0.5, rebalance=0.0, gain=1.9)
    points = decoding.choose(colorizer, lightness, truth, temperatures=(1.0, 0.5), rebalances=(0.0,))
    assert [point["temperature"] for point in points] == [0.5]
    truth = predict(colorizer, lightness, temperature=0.5, rebalance=0.0, gain=0.4)
    (point,) = decoding.choose(colorizer, lightness, truth, temperatures=(0.5, 0.3), rebalances=(0.0,))
    assert "every setting needs a gain outside 0.5 to 2; taking the mildest, 0.4" in capsys.readouterr().out
    assert (point["temperature"], point["gain"]) == (0.5, pytest.approx(0.4, rel=0.02))
    with pytest.raises(ValueError, match="grey"):
        decoding.choose(colorizer, lightness, np.full_like(truth, 90))


def test_a_colorless_model_has_no_dials_to_choose(colorizer, lightness):
    truth = predict(colorizer, lightness, **SETTING)
    kernel, bias = colorizer.get_layer("logits").get_weights()
    grey = color.nearest_bin(np.zeros(2, np.float32))
    bias[grey] = 1e4
    colorizer.get_layer("logits").set_weights([0 * kernel, bias])
    with pytest.raises(ValueError, match="no temperature and rebalance reach the truth's colorfulness"):
        decoding.choose(colorizer, lightness, truth, temperatures=(1.0,), rebalances=(0.0,))


def point(temperature, ratio, ciede2000, blots):
    return {"temperature": temperature, "rebalance": 0.1, "gain": 1.0} | {
        "colorfulness_ratio": ratio, "ciede2000": ciede2000, "blots": blots, "blots_true": 0.02
    }  # fmt: skip


def test_the_natural_setting_is_colorful_without_blots_on_every_set(capsys):
    faces = [point(1, 0.7, 5, 0.00), point(0.5, 0.9, 7, 0.01), point(0.4, 0.95, 6, 0.01), point(0.2, 1, 5, 0.01)]
    varied = [point(1, 0.6, 9, 0.00), point(0.5, 0.7, 9, 0.01), point(0.4, 0.75, 9, 0.01), point(0.2, 1, 9, 0.03)]
    swept, least = {"faces": faces, "varied": varied}, {"faces": 0.85, "varied": 0.7}
    chosen = {"temperature": 0.4, "rebalance": 0.1, "gain": 1.0}
    assert decoding.natural(swept, least_ratio=least) == chosen
    assert not capsys.readouterr().out
    assert decoding.natural({"varied": varied[:1] + varied[3:]}, least_ratio=least) == chosen | {"temperature": 1}
    assert "no setting is both colorful enough and free of blots on every set" in capsys.readouterr().out
