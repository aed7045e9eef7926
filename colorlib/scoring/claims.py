"""The claims of the five published systems, what the second is built on, and two of ours, decided by results."""

from pathlib import Path

import numpy as np
import pandas as pd

from colorlib.scoring import results, scores

MARGIN = 0.5  # CIEDE2000 within which two models count as equal; a difference of 1 is just seen
LOW_VARIETY = 0.2  # the share of the test pictures, those of the fewest colors, that count as of low variety
# A row a claim: `variant`'s mean score less `against`'s, over the same pictures of the role `on`, is expected to be
# "less" or "more" than 0, or "equal". Against "truth", the score is that of the true pictures. `pictures` "low variety"
# takes those of the fewest colors. `in_short` is the claim in plain words, on the one row that stands for it.
CLAIMS = pd.read_csv(Path(__file__).with_suffix(".csv"), dtype=str, keep_default_na=False)


def table(place):
    """Tests each claim whose runs are in a table, or in the tables below a folder: a DataFrame, one row a claim.

    The effect is the mean difference over the same test pictures, each averaged over the seeds, with its 95 % paired
    bootstrap interval over pictures and, after ±, the standard deviation over seeds. A claim "holds" or "fails" where
    the interval and the mean of every seed lie on one side; "equal" holds where they lie within MARGIN and fails where
    they lie beyond it. `backbone` is the pretrained network of the variant, if any.

    Raises ValueError as `results.load_results` and `results.paired`, and where a role has two sets of pictures.
    """
    found, rows = results.load_results(place), []
    found = found.assign(notebook=found["experiment"].str[:2])
    results.once(found, ["notebook", "role", "variant", "seed"])
    runs = dict(list(found.groupby(["notebook", "role", "variant"])))
    for claim in CLAIMS.to_dict("records"):
        one = runs.get((claim["notebook"], claim["on"], claim["variant"]))
        truth = claim["against"] == "truth"
        other = one if truth else runs.get((claim["notebook"], claim["on"], claim["against"]))
        if one is None or other is None:
            continue
        seeds, frames = results.paired(one, other)
        if seeds:
            rows.append(_row(claim, *frames) | {"backbone": one["backbone"].iloc[0]})
    return pd.DataFrame(
        rows, columns=["claim", "it says", "on", "test", "expected", "seeds", "effect", "verdict", "backbone"]
    )


def _row(claim, frames, others):
    score, on = claim["score"], claim["on"]
    column = f"{score}_true" if claim["against"] == "truth" else score
    gaps = np.array([frame[score] - other[column] for frame, other in zip(frames, others, strict=True)])
    if claim["pictures"] != "all":
        variety = frames[0]["variety_true"].to_numpy()
        gaps, on = gaps[:, variety <= np.quantile(variety, LOW_VARIETY)], f"{on}, {claim['pictures']}"
    gap, of_seeds = scores.paired_difference(gaps.mean(0), np.zeros(gaps.shape[1])), gaps.mean(1)
    decimals = results.SCORES.get(score, ("", 2))[1]
    spread = f" ± {of_seeds.std(ddof=1):.{decimals}f}" if len(of_seeds) > 1 else ""
    return {
        **{name: claim[name] for name in ("claim", "it says", "expected")},
        "on": on,
        "test": f"{score}: {claim['variant']} − {claim['against']}",
        "seeds": len(of_seeds),
        "effect": "{mean:+.{d}f} [{low:+.{d}f}, {high:+.{d}f}]".format(**gap, d=decimals) + spread,
        # A seed moves a mean by as much as some claims do, and the interval knows pictures only.
        "verdict": _verdict(claim["expected"], min(gap["low"], *of_seeds), max(gap["high"], *of_seeds)),
    }


def _verdict(expected, low, high):
    if expected == "equal":
        holds, fails = -MARGIN < low and high < MARGIN, low > MARGIN or high < -MARGIN
    else:
        holds, fails = (high < 0, low > 0) if expected == "less" else (low > 0, high < 0)
    return "holds" if holds else "fails" if fails else "undecided"


def side_by_side(places):
    """Joins the tables of several places, title -> place: a DataFrame, one row a claim, effect and verdict of each.

    The last column says whether the verdicts agree, "yes" or "no"; it is empty where one is undecided or missing.
    """
    shared = ["claim", "it says", "on", "test", "expected"]
    on = CLAIMS["on"].where(CLAIMS["pictures"] == "all", CLAIMS["on"] + ", " + CLAIMS["pictures"])
    test = CLAIMS["score"] + ": " + CLAIMS["variant"] + " − " + CLAIMS["against"]
    joined = CLAIMS.assign(on=on, test=test)[shared]
    for title, place in places.items():
        found = table(place)
        seeds = [f", {count} seed{'s' * (count > 1)}, " for count in found["seeds"]]
        found[title] = found["effect"] + seeds + found["verdict"]
        found = found.rename(columns={"verdict": f"verdict, {title}"})
        joined = joined.merge(found[[*shared, title, f"verdict, {title}"]], how="left", on=shared)
    joined = joined.dropna(subset=list(places), how="all").fillna("–")
    verdicts, decided = [f"verdict, {title}" for title in places], {"holds", "fails"}
    said = [set(row) for row in joined[verdicts].to_numpy()]
    joined["agree"] = ["" if row - decided else "yes" if len(row) == 1 else "no" for row in said]
    return joined.drop(columns=verdicts).reset_index(drop=True)
