"""The protocol's scores, held against published values, identities and worked examples."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from numpy.testing import assert_allclose, assert_array_equal
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from colorlib import __main__ as cli
from colorlib import color
from colorlib.data import files
from colorlib.scoring import baselines, scores


@pytest.fixture(scope="module")
def truth():
    """Eight 48x48 crops of photographs, uint8 (8, 48, 48, 3)."""
    names = ("coffee", "astronaut", "chelsea", "rocket")
    photographs = [getattr(skimage.data, name)() for name in names]
    return np.stack([p[top : top + 192 : 4, 100:292:4] for p in photographs for top in (20, 100)])


@pytest.fixture(scope="module")
def dulled(truth):
    """The same with ab at 0.6 and a warm cast."""
    lightness, ab = color.from_uint8(truth)
    return color.render(lightness, 0.6 * ab + np.float32([0.02, 0.05]))[0]


def flat(rgb, count=1, side=16):
    """`count` pictures of one color."""
    return np.broadcast_to(np.uint8(rgb), (count, side, side, 3))


def test_ciede2000_matches_the_34_published_pairs():
    rows = pd.read_csv(Path(__file__).parent / "data" / "ciede2000_sharma2005.csv").to_numpy()
    assert len(rows) == 34
    assert_allclose(scores.deltaE_ciede2000(rows[:, :3], rows[:, 3:6]), rows[:, 6], atol=1e-4)


def test_per_picture_matches_scikit_image_picture_by_picture(dulled, truth):
    frame = scores.per_picture(dulled, truth)
    for row, predicted, true in zip(frame.itertuples(), dulled, truth, strict=True):
        difference = scores.deltaE_ciede2000(rgb2lab(true), rgb2lab(predicted))
        assert row.ciede2000 == pytest.approx(difference.mean(), abs=2e-3)
        squared = ((predicted.astype(float) - true) ** 2).mean()
        assert row.psnr == pytest.approx(10 * np.log10(255**2 / squared), abs=1e-4)
        gap = ((rgb2lab(predicted) - rgb2lab(true))[..., 1:] ** 2).sum(-1)
        assert row.ab_rmse == pytest.approx(np.sqrt(gap.mean()), abs=2e-3)
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "win_size": 11}
        similarity = structural_similarity(predicted, true, channel_axis=-1, **window)
        assert row.ssim == pytest.approx(similarity, abs=1e-6)


def test_truth_against_itself_is_perfect(truth):
    frame = scores.per_picture(truth, truth, prior=np.ones(261))
    perfect = {"ab_rmse": 0, "ciede2000": 0, "psnr": scores.PSNR_CEILING}
    perfect |= dict.fromkeys(["ssim", "auc", "auc_rebalanced", "sign_agreement"], 1)
    for name, value in perfect.items():
        assert_allclose(frame[name], value, atol=1e-6, err_msg=name)
    found = scores.summary(frame)
    for name in ("colorfulness_ratio", "variety_ratio"):
        assert found[name] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert scores.ab_wasserstein(truth, truth) == 0


def test_auc_counts_shares_at_151_thresholds(dulled, truth):
    distance = np.linalg.norm((rgb2lab(dulled[:1]) - rgb2lab(truth[:1]))[..., 1:], axis=-1)
    shares = [(distance <= t).mean() for t in range(151)]
    auc = scores.per_picture(dulled[:1], truth[:1], only=["auc"]).auc[0]
    assert auc == pytest.approx(np.trapezoid(shares) / 150, abs=1e-4)
    # Blue against yellow is 234 Lab units apart: beyond every threshold.
    assert scores.per_picture(flat((0, 0, 255)), flat((255, 255, 0)), only=["auc"]).auc[0] == 0


def test_rebalanced_auc_is_plain_under_an_equal_prior_and_follows_rare_colors_otherwise(dulled, truth):
    equal = scores.per_picture(dulled, truth, prior=np.full(261, 1 / 261))
    assert_allclose(equal.auc_rebalanced, equal.auc, atol=1e-9)
    # Three quarters of grey predicted right, a quarter of red predicted grey; red a tenth as common as grey.
    true, predicted = flat((119, 119, 119)).copy(), flat((119, 119, 119))
    true[:, :8, :8] = (200, 60, 60)
    prior = np.ones(261)
    prior[color.nearest_bin(color.rgb_to_lab(true[0, 0, 0] / 255)[1:])] = 0.1
    found = scores.per_picture(predicted, true, prior=prior, only=["auc", "auc_rebalanced"])
    missed = 4 * (1 - found.auc[0])  # by each red pixel
    assert found.auc_rebalanced[0] == pytest.approx(1 - missed * 2.5 / (0.75 + 2.5), abs=1e-6)


def test_colorfulness_of_the_rocket_is_the_published_formulas():
    assert scores.colorfulness(skimage.data.rocket()[None])[0] == pytest.approx(38.56, abs=0.005)
    assert scores.colorfulness(flat((90, 90, 90)))[0] == 0


def test_variety_counts_effective_bins():
    frame = scores.per_picture(flat((200, 60, 60)), flat((60, 200, 60)), only=["variety"])
    assert frame.variety[0] == 1
    halves = flat((200, 60, 60)).copy()
    halves[:, 8:] = (60, 60, 200)
    assert scores.per_picture(halves, halves, only=["variety"]).variety[0] == pytest.approx(2)


def test_blots_are_changes_of_color_that_no_edge_explains():
    step = np.where(np.arange(64) < 32, 0, 40).astype(np.float32)
    lightness, flat = np.full((64, 64), 60, np.float32), np.zeros((64, 64), np.float32)
    colors = np.broadcast_to(step, (64, 64))

    def share(*lab):
        return scores.per_picture(rendered := color.to_uint8(color.lab_to_rgb(np.stack(lab, -1)))[None], rendered)[
            "blots"
        ][0]

    # Blurred, a step of 40 is 40 / (1.5 sqrt(2 pi)) = 10.6 a pixel at its place, and above 1.5 within 3 pixels of it.
    assert share(lightness, colors, flat) == pytest.approx(6 / 64, abs=1 / 64)
    assert share(lightness + colors / 2, colors, flat) < 0.04  # at an edge, but for its tails
    assert share(lightness + colors / 2, flat, flat) == 0


def test_sign_agreement_and_its_best_constant():
    # Blue sky (a > b) over green grass (b > a), a quarter and three quarters; grey counts as a.
    true = flat((60, 160, 60)).copy()
    true[:, :4] = (80, 120, 220)
    assert scores.best_constant_sign_agreement(true) == 0.75
    for rgb, share in (((60, 160, 60), 0.75), ((80, 120, 220), 0.25), ((128, 128, 128), 0.25)):
        assert scores.per_picture(flat(rgb), true, only=["sign_agreement"]).sign_agreement[0] == share


@pytest.mark.parametrize(
    ("rgb", "sepia", "blue"),
    [
        ((112, 66, 20), 1, 0),  # sepia, hue 65 degrees
        ((135, 206, 235), 0, 1),  # sky blue, 235
        ((128, 128, 129), 0, 0),  # 290 degrees, but this is grey
    ],
)
def test_known_colors_are_sepia_blue_or_neither(rgb, sepia, blue):
    columns = ["sepia", "sepia_true", "blue", "blue_true"]
    found = scores.per_picture(flat(rgb), flat((90, 90, 90)), only=columns)
    assert found.to_numpy().tolist() == [[sepia, 0, blue, 0]]


def test_the_wasserstein_distance_matches_sorting_every_pixel(dulled, truth):
    total = 0
    for angle in np.arange(64) * np.pi / 64:
        direction = np.cos(angle), np.sin(angle)
        along = [np.sort((rgb2lab(pictures)[..., 1:] @ direction).ravel()) for pictures in (dulled, truth)]
        total += np.abs(along[0] - along[1]).mean() / 64
    assert total > 3
    assert scores.ab_wasserstein(dulled, truth) == pytest.approx(total, abs=0.01)


def test_summary_gives_ratios_of_means_with_their_own_interval(dulled, truth):
    frame = scores.per_picture(dulled, truth)
    found = scores.summary(frame)
    ratio = frame.colorfulness.mean() / frame.colorfulness_true.mean()
    assert found["colorfulness_ratio"]["mean"] == pytest.approx(ratio)
    assert found["variety_ratio"]["mean"] == pytest.approx(frame.variety.mean() / frame.variety_true.mean())
    # Numerator and denominator are resampled together: tighter than either alone.
    width = {name: (s["high"] - s["low"]) / s["mean"] for name, s in found.items()}
    assert 0 < width["colorfulness_ratio"] < 0.5 * width["colorfulness"]


def test_the_interval_holds_the_true_mean_95_times_in_100():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        found = scores.summary(pd.DataFrame({"x": rng.normal(10, 2, 60)}))["x"]
        held += found["low"] <= 10 <= found["high"]
    assert 182 <= held <= 197  # 190 expected, 3 either side of it a standard error


def test_clipping_is_what_the_gamut_took(truth):
    assert scores.clipping(*color.from_uint8(truth)) == {"clipped_share": 0, "clip_dl": 0}
    half = np.zeros((1, 16, 16, 2), np.float32)
    half[:, :8] = (0, 1)  # b* = 128 at L* = 50: no such color
    taken = scores.clipping(np.zeros((1, 16, 16, 1), np.float32), half)
    lab = rgb2lab(np.clip(color.lab_to_rgb(np.array([[[50.0, 0, 128]]])), 0, 1))
    assert taken["clipped_share"] == 0.5
    assert taken["clip_dl"] == pytest.approx(abs(lab[0, 0, 0] - 50) / 2, abs=1e-3)


def test_matching_gain_restores_the_truths_colorfulness(truth):
    lightness, ab = color.from_uint8(truth)
    gain = scores.matching_gain(lightness, ab * np.float32(0.4), truth)
    assert gain == pytest.approx(2.5, rel=0.01)
    pictures = color.render(lightness, ab * np.float32(0.4 * gain))[0]
    assert scores.colorfulness(pictures).mean() == pytest.approx(scores.colorfulness(truth).mean(), rel=1.1e-3)
    assert scores.matching_gain(lightness, ab, np.zeros_like(truth)) == 0
    with pytest.raises(ValueError, match=r"no gain up to 64 gives the colorfulness of the truth, \d+\.\d"):
        scores.matching_gain(lightness, np.zeros_like(ab), truth)


def test_baselines_are_grey_the_mean_and_the_mean_of_each_lightness():
    dark, light = color.from_uint8(flat((90, 30, 30)))[0], color.from_uint8(flat((120, 160, 250)))[0]
    train = np.concatenate([flat((90, 30, 30)), flat((120, 160, 250))])
    wanted = color.from_uint8(train)[1][:, 0, 0]
    fitted = baselines.fit(train)
    assert_array_equal(fitted["grey"](dark), np.zeros((1, 16, 16, 2)))
    assert_allclose(fitted["mean ab"](light)[0, 3, 3], wanted.mean(0), atol=1e-6)
    for lightness, ab in ((dark, wanted[0]), (light, wanted[1])):
        assert_allclose(fitted["mean ab by lightness"](lightness)[0, 3, 3], ab, atol=2e-2)
    middle = fitted["mean ab by lightness"]((dark + light) / 2)  # a lightness never seen
    assert_allclose(middle[0, 3, 3], wanted.mean(0), atol=2e-2)


@pytest.mark.parametrize(
    ("predicted", "true", "options", "message"),
    [
        (flat(0, 2), flat(0, 3), {}, r"\(2, 16, 16, 3\) and true ones \(3, 16, 16, 3\) differ in shape"),
        (flat(0) / 255, flat(0), {}, "must be 8-bit sRGB .* not float64"),
        (flat(0, side=10), flat(0, side=10), {}, "below the 11 pixels of SSIM's window"),
        (flat(0), flat(0), {"prior": np.ones(313)}, "the prior must be 261 shares"),
    ],
)
def test_bad_pictures_raise(predicted, true, options, message):
    with pytest.raises(ValueError, match=message):
        scores.per_picture(predicted, true, **options)


@pytest.mark.parametrize("other", [np.ones(4), pd.Series(np.ones(3), ["a", "b", "c"])])
def test_scores_of_different_pictures_are_not_paired(other):
    with pytest.raises(ValueError, match="same pictures in the same order"):
        scores.paired_difference(np.ones(3), other)


@pytest.fixture
def pair(tmp_path, dulled, truth):
    """Two folders of two pictures: a prediction of 48x48 and one of 48x32."""
    for folder, pictures in (("predicted", dulled), ("true", truth)):
        (tmp_path / folder).mkdir()
        files.save(pictures[0], tmp_path / folder / "a.png")
        files.save(pictures[1][:, :32], tmp_path / folder / "b.png")
    return tmp_path / "predicted", tmp_path / "true"


def folders(predicted, truth):
    return scores.one_by_one(*cli._pairs(predicted, truth)[:2])


def test_folders_are_paired_by_their_paths_without_suffix(pair, dulled, truth):
    for folder in pair:
        (folder / "1950").mkdir()
        (folder / "b.png").rename(folder / "1950" / "a.png")
    frame, whole, skipped = folders(*pair)
    assert list(frame.index) == ["1950/a.png", "a.png"] and skipped == []
    assert frame.loc["a.png"].to_dict() == scores.per_picture(dulled[:1], truth[:1]).iloc[0].to_dict()
    pixels = [np.concatenate([p[1, :, :32].reshape(-1, 3), p[0].reshape(-1, 3)]) for p in (dulled, truth)]
    assert whole["ab_wasserstein"] == pytest.approx(scores.ab_wasserstein(*pixels), rel=1e-6)


def test_curve_point_agrees_with_the_whole_protocol(dulled, truth):
    point = scores.curve_point(dulled, truth)
    found = scores.summary(scores.per_picture(dulled, truth))
    for name in ("ciede2000", "colorfulness_ratio", "variety_ratio"):
        assert point[name] == pytest.approx(found[name]["mean"])
    assert point["ab_wasserstein"] == scores.ab_wasserstein(dulled, truth)
