"""The claims of the five published systems, what the second is built on, and two of ours, which result files decide."""

import collections

import numpy as np
import pandas as pd

from colorlib import evaluate, results

MARGIN = 0.5  # CIEDE2000 within which two models count as equal; a difference of 1 is just seen
LOW_VARIETY = 0.2  # the share of the test pictures, those of the fewest colors, that count as of low variety

# `variant`'s mean score less `against`'s, over the same pictures of the role; `expected`: "less", "more" or "equal".
# Against "truth", the score is that of the true pictures. `pictures` "low variety" takes those of the fewest colors.
Claim = collections.namedtuple(
    "Claim", "name says notebook role variant against score expected pictures", defaults=("all",)
)
CLAIMS = (
    Claim("C1", "on a backbone better than from scratch", "03", "faces", "transfer", "scratch", "ciede2000", "less"),
    Claim("C2", "faces fail on landscapes", "03", "landscapes", "scratch", "scratch-landscapes", "ciede2000", "more"),
    Claim("C2", "landscapes fail on faces", "03", "faces", "scratch-landscapes", "scratch", "ciede2000", "more"),
    Claim("C3", "sepia over everything", "04", "varied", "published", "truth", "sepia", "more"),
    Claim("C3", "also when mended", "04", "varied", "fusion", "truth", "sepia", "more"),
    Claim("C3", "bluish at low variety", "04", "varied", "published", "truth", "blue", "more", "low variety"),
    Claim("C3", "that too when mended", "04", "varied", "fusion", "truth", "blue", "more", "low variety"),
    Claim("C4", "color needs many epochs", "04", "varied", "fusion-last", "fusion-early", "colorfulness", "more"),
    Claim("C4", "a rate that stays makes color", "04", "varied", "fusion-last", "cut", "colorfulness", "more"),
    Claim("S2", "the embedding helps", "04", "varied", "fusion", "plain", "ciede2000", "less"),  # what 2 is built on
    Claim("C5", "own skips and a backbone equal", "05", "faces", "resnet", "skip", "ciede2000", "equal"),
    Claim("C5", "duller than the truth", "05", "faces", "skip", "truth", "colorfulness", "less"),
    Claim("C5", "for the scale is small", "05", "faces", "skip-published", "skip-scaled", "colorfulness", "less"),
    Claim("C5", "and is left so", "05", "faces", "skip-published-as-it-is", "skip-scaled", "colorfulness", "less"),
    *(
        Claim("C6", f"{loss} overfits after half the epochs", "07", "faces", loss, f"{loss}-half", "ciede2000", "more")
        for loss in ("l2", "l1", "huber-0.1", "perceptual")
    ),
    Claim("C7", "Huber more sepia than L2", "07", "faces", "huber-0.1", "l2", "sepia", "more"),
    Claim("C7", "Huber more sepia than L1", "07", "faces", "huber-0.1", "l1", "sepia", "more"),
    Claim("C7", "Huber duller than L2", "07", "faces", "huber-0.1", "l2", "colorfulness", "less"),
    Claim("C8", "flowers color faces more", "08", "faces", "unet-flowers", "unet-faces", "colorfulness", "more"),
    Claim("C8", "flowers vary faces more", "08", "faces", "unet-flowers", "unet-faces", "variety", "more"),
    Claim("C8", "flowers color flowers more", "08", "flowers", "unet-flowers", "unet-faces", "colorfulness", "more"),
    Claim("C8", "so does rebalancing faces", "08", "faces", "rebalanced-faces", "l2-faces", "colorfulness", "more"),
    Claim("C9", "a small set overfits", "06", "landscapes", "small", "small-best", "ciede2000", "more"),
    Claim("C9", "a large set does not", "06", "landscapes", "large", "large-best", "ciede2000", "equal"),
    *(
        Claim("C10", f"classes beat L2 with a gain, {role}", "09", role, "adjusted", "l2-gain", "ciede2000", "less")
        for role in ("faces", "flowers", "landscapes", "varied")
    ),
    *(
        Claim("C11", f"mended is better: {variant}, {notebook}", notebook, role, variant, against, "ciede2000", "less")
        for notebook, role, variant, against in (
            ("03", "faces", "scratch", "scratch-published"),
            ("03", "faces", "transfer", "transfer-published"),
            ("04", "varied", "fusion", "published"),
            ("05", "faces", "skip", "skip-published"),
            ("05", "faces", "resnet", "resnet-published"),
            ("06", "landscapes", "mended", "published"),
            ("07", "faces", "mended", "l2"),
        )
    ),
)


def table(folder):
    """Tests each claim whose runs lie below a folder: a DataFrame, one row a claim, with its effect and a verdict.

    The effect is the mean difference over the same test pictures, each averaged over the seeds, with its 95 % paired
    bootstrap interval and, after ±, the standard deviation over seeds. A claim "holds" or "fails" where the interval
    lies on one side; "equal" holds where it lies within MARGIN and fails where it lies outside. Raises ValueError as
    `results.load_results`, and where a role has two sets of pictures.
    """
    runs = collections.defaultdict(dict)
    for result in results.load_results(folder):
        data = result["data"]
        role = data.get("role") or data["name"].rpartition("-")[2]
        seeds = runs[result["experiment"][:2], role, result["variant"]]
        if (other := seeds.setdefault(result["seed"], result)) is not result:
            raise ValueError(f"{result['file']}: the same notebook, role, variant and seed as {other['file']}")
    rows = []
    for claim in CLAIMS:
        one = runs.get((claim.notebook, claim.role, claim.variant), {})
        other = one if claim.against == "truth" else runs.get((claim.notebook, claim.role, claim.against), {})
        seeds, frames = results.paired(one, other)
        if seeds:
            rows.append(_row(claim, seeds, *frames))
    return pd.DataFrame(rows, columns=["claim", "it says", "on", "test", "seeds", "effect", "verdict"])


def _row(claim, seeds, frames, others):
    column = f"{claim.score}_true" if claim.against == "truth" else claim.score
    gaps = np.array([frame[claim.score] - other[column] for frame, other in zip(frames, others, strict=True)])
    if claim.pictures == "low variety":
        variety = frames[0]["variety_true"].to_numpy()
        gaps = gaps[:, variety <= np.quantile(variety, LOW_VARIETY)]
    gap = evaluate.paired_difference(gaps.mean(0), np.zeros(gaps.shape[1]))
    effect = f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
    spread = f" ± {gaps.mean(1).std(ddof=1):.2f}" if len(seeds) > 1 else ""
    test = f"{claim.score}: {claim.variant} − {claim.against}, {claim.expected} expected"
    return {
        "claim": claim.name,
        "it says": claim.says,
        "on": claim.role + ("" if claim.pictures == "all" else f", {claim.pictures}"),
        "test": test,
        "seeds": len(seeds),
        "effect": effect + spread,
        "verdict": _verdict(claim.expected, gap["low"], gap["high"]),
    }


def _verdict(expected, low, high):
    if expected == "equal":
        holds, fails = -MARGIN < low and high < MARGIN, low > MARGIN or high < -MARGIN
    else:
        holds, fails = (high < 0, low > 0) if expected == "less" else (low > 0, high < 0)
    return "holds" if holds else "fails" if fails else "undecided"


def side_by_side(folders):
    """Joins the tables of several folders, title -> folder: a DataFrame, one row a claim, effect and verdict of each.

    The last column says whether the verdicts agree: "no" where one holds and another fails.
    """
    joined = None
    for title, folder in folders.items():
        found = table(folder)
        seeds = [f", {count} seed{'s' * (count > 1)}, " for count in found["seeds"]]
        found[title] = found["effect"] + seeds + found["verdict"]
        found = found[["claim", "it says", "test", title]]
        joined = found if joined is None else joined.merge(found, how="outer", on=["claim", "it says", "test"])
    order = {(claim.name, claim.says): place for place, claim in enumerate(CLAIMS)}
    joined = joined.fillna("–").iloc[
        np.argsort([order[key] for key in zip(joined["claim"], joined["it says"], strict=True)])
    ]
    verdicts = [{text.rpartition(", ")[2] for text in texts} for texts in joined[list(folders)].to_numpy()]
    joined["agree"] = ["no" if {"holds", "fails"} <= found else "yes" if len(found) == 1 else "" for found in verdicts]
    return joined.reset_index(drop=True)
