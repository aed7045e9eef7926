"""Trains colorizers on a GPU with Keras on JAX, from arrays: no TensorFlow is needed there.

The same builder, loss, optimizer and degradations as in 12_the_colorizer.ipynb; only the batches are drawn on the GPU.
"""

import fcntl
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
import cv2
import jax
import jax.numpy as jnp
import keras
import numpy as np

from colorlib import color, training
from colorlib.models import aging, backbones, losses, vivid
from colorlib.scoring import scores

DATA = Path(os.environ.get("ARRAYS", "data/gpu/arrays"))
OUT = Path(os.environ.get("RESULTS", "data/gpu/results"))
TAPS = ["stride_4", "stride_8", "stride_16", "stride_32"]
SETS = ("faces", "flowers", "landscapes", "varied", "more")
LEAST_RATIO = {"varied": 0.7, "more": 0.7}
STRETCH = int(os.environ.get("STRETCH", 50))
BATCH, RATE = int(os.environ.get("BATCH", 64)), 1.5e-3
WORKERS, JOBS, PROBES = 6, os.environ.get("JOBS"), Path(os.environ.get("PROBES", "data/gpu/probe.jsonl"))
DEAR = ("wider decoder", "bins at stride 2")  # which take longer, too
SETTINGS = [
    (t, r, g) for t in (1.0, 0.6, 0.38, 0.25, 0.15) for r in (0.0, 0.1, 0.15, 0.2, 0.3, 0.4) for g in (1.0, 1.1)
]
GAINS = [(1.0, 0.0, round(g / 10, 1)) for g in range(8, 31)]
VARIANTS = {
    "base": {},
    "mixed sizes 64 to 128 px": {"sizes": (64, 96, 128)},
    "dull pictures dropped": {"dull": 15.0},
    "sets sampled equally": {"equal": True},
    "wider decoder": {"widths": (256, 192, 128)},
    "global feature": {"global": True},
    "bins at stride 2": {"taps": ["stride_2", *TAPS], "widths": (192, 128, 96, 64)},
    "class weights to the power 0.25": {"power": 0.25},
    "auxiliary L1 of 0.1": {"l1": 0.1},
}


def shifted_depthwise(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """A depthwise convolution as a sum of shifted products, which XLA fuses; cuDNN's is slow."""
    strides = strides[0] if isinstance(strides, tuple | list) else strides
    k, (height, width) = kernel.shape[0], inputs.shape[1:3]
    out = [-(-side // strides) for side in (height, width)]
    pads = [max((o - 1) * strides + k - side, 0) for o, side in zip(out, (height, width), strict=True)]
    x = jnp.pad(inputs, ((0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)))
    total = 0
    for i in range(k):
        for j in range(k):
            part = x[:, i : i + (out[0] - 1) * strides + 1 : strides, j : j + (out[1] - 1) * strides + 1 : strides]
            total = total + part * kernel[i, j, :, 0]
    return total


def pictures(split):
    """{set: uint8 (N, 128, 128, 3)} of the packed pictures."""
    found = {}
    for path in sorted(DATA.glob("part*.npz")):
        part = np.load(path)
        for name in part.files:
            if name.startswith(f"{split}-") and name.endswith("-lengths"):
                ends = np.cumsum(part[name])
                blob = part[name.replace("-lengths", "-blob")]
                pieces = np.split(blob, ends[:-1])
                with ThreadPoolExecutor(16) as pool:
                    decoded = list(pool.map(lambda piece: cv2.imdecode(piece, cv2.IMREAD_COLOR)[..., ::-1], pieces))
                found.setdefault(name.split("-")[1], []).append(np.stack(decoded))
    return {name: np.concatenate(parts) for name, parts in sorted(found.items())}


def arrays():
    """Decodes all once; the workers map the file into memory."""
    train, validation = pictures("train"), pictures("validation")
    np.save(DATA / "train.npy", np.concatenate(list(train.values())))
    np.save(DATA / "owner.npy", np.repeat(np.arange(len(train)), [len(each) for each in train.values()]))
    np.savez(DATA / "validation.npz", **validation)
    every = np.load(DATA / "train.npy", mmap_mode="r")
    colorful = np.concatenate([scores.colorfulness(every[i : i + 500]) for i in range(0, len(every), 500)])
    np.save(DATA / "colorful.npy", colorful)
    step = max(1, len(every) // 3000)
    np.save(DATA / "prior.npy", losses.bin_prior(color.lab_of(np.ascontiguousarray(every[::step]))[..., 1:]))
    print({name: len(each) for name, each in train.items()}, "dull", float((colorful < 15).mean()), flush=True)


def build(options, kind="vivid"):
    """The colorizer, or its twin that regresses, with a variant's options."""
    backbone = backbones.imagenet_backbone(
        "efficientnet_lite0",
        image_size=None,
        layer=options.get("taps", TAPS),
        trainable=True,
        weights=os.environ.get("LITE0", "imagenet"),
    )
    if options.get("global"):
        *fine, deep = backbone.outputs
        mean = keras.ops.mean(deep, axis=(1, 2), keepdims=True)
        backbone = keras.Model(
            backbone.input, [*fine, keras.layers.Concatenate()([deep, mean + 0 * deep])], name="backbone"
        )
    make = vivid.vivid_colorizer if kind == "vivid" else vivid.regression_colorizer
    return make(backbone, widths=options.get("widths", (192, 128, 96)))


def drawn(options, seed, steps):
    """The pictures of each step (steps, BATCH): each epoch is a permutation, the same for all variants of a seed."""
    owner, rng = np.load(DATA / "owner.npy"), np.random.default_rng(seed)
    pool = np.arange(len(owner))
    if options.get("dull"):
        pool = pool[np.load(DATA / "colorful.npy") >= options["dull"]]
    count = steps * BATCH
    if options.get("equal"):
        which, place = rng.integers(owner.max() + 1, size=count), rng.random(count)
        parts = [pool[owner[pool] == i] for i in range(owner.max() + 1)]
        order = np.choose(which, [part[(place * len(part)).astype(int)] for part in parts])
    else:
        order = np.concatenate([rng.permutation(pool) for _ in range(math.ceil(count / len(pool)))])[:count]
    return order.reshape(steps, BATCH).astype(np.int32)


def crop(lab, key, size):
    """`pipeline.flip_and_crop`, to another size: a square of 72-100 % of the side, flipped in half of the pictures."""
    flip, share, top, left = jax.random.uniform(key, (4, lab.shape[0]))
    share = 1 - 0.28 * share
    top, left = top * (1 - share), left * (1 - share)
    starts, ends = jnp.where(flip < 0.5, left, left + share), jnp.where(flip < 0.5, left + share, left)

    def weights(start, end):
        at = (start[:, None] + (end - start)[:, None] * jnp.linspace(0, 1, size)) * (lab.shape[1] - 1)
        return jnp.maximum(0, 1 - jnp.abs(at[..., None] - jnp.arange(lab.shape[1])))

    exact = jax.lax.Precision.HIGHEST
    rows = jnp.einsum("bij,bjkc->bikc", weights(top, top + share), lab, precision=exact)
    return jnp.einsum("blk,bikc->bilc", weights(starts, ends), rows, precision=exact)


class Run:
    """One training: a model, its optimizer, and compiled stretches of steps."""

    def __init__(self, options, seed, kind="vivid", stretch=STRETCH):
        keras.utils.set_random_seed(seed)
        self.options, self.seed, self.kind, self.stretch = options, seed, kind, stretch
        self.colorizer = build(options, kind)
        core = vivid.bin_logits(self.colorizer) if kind == "vivid" else self.colorizer
        true = keras.Input((None, None, 2), name="ab")
        seen = aging.OldPhotograph(seed, dtype="float32")([self.colorizer.input, true])
        self.model = keras.Model([self.colorizer.input, true], core(seen))
        self.optimizer = training.TransferAdamW(RATE, use_ema=True, ema_momentum=0.999)
        self.optimizer.build(self.model.trainable_variables)
        self.rate_at = [v is self.optimizer._learning_rate for v in self.optimizer.variables].index(True)
        self.state = [
            [v.value for v in vs]
            for vs in (self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables)
        ]
        self.train = jax.device_put(np.load(DATA / "train.npy"))
        weights = None
        if power := options.get("power"):
            prior = np.load(DATA / "prior.npy")
            weights = losses.rebalancing_weights(prior) ** power
            weights = weights / (prior * weights).sum()
        self.loss = losses.BinCrossEntropy(weights)
        self.compiled = {}

    def _loss(self, trained, others, lightness, ab):
        out, others = self.model.stateless_call(trained, others, [lightness, ab], training=True)
        if self.kind != "vivid":
            return jnp.mean(jnp.square(out - ab)), others
        loss = self.loss(ab, out)
        if weight := self.options.get("l1"):
            mean = jax.nn.softmax(out) @ jnp.asarray(color.bins())
            stride = ab.shape[1] // out.shape[1]
            small = keras.ops.average_pool(color.AB_SCALE * ab, stride, stride)
            loss = loss + weight * jnp.mean(jnp.abs(mean - small)) / color.BIN_SIZE
        return loss, others

    def _steps(self, state, chosen, rates, key, train, size):
        def step(state, given):
            trained, others, kept = state
            chosen, rate, key = given
            lab = color.rgb_to_lab(jnp.take(train, chosen, axis=0).astype("float32") / 255)
            lightness, ab = color.split(crop(lab, key, size))
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            (loss, others), gradients = gradient(trained, others, lightness, ab)
            kept = list(kept)
            kept[self.rate_at] = rate
            trained, kept = self.optimizer.stateless_apply(kept, gradients, trained)
            return [trained, others, kept], loss

        keys = jax.random.split(key, len(rates))
        return jax.lax.scan(step, state, (chosen, rates, keys))

    def go(self, chosen, rates, first):
        """Trains a stretch; returns the mean loss."""
        sizes = self.options.get("sizes", (96,))
        size = sizes[np.random.default_rng((self.seed, first)).integers(len(sizes))]
        if size not in self.compiled:
            self.compiled[size] = jax.jit(lambda *given: self._steps(*given, size), donate_argnums=0)
        key = jax.random.key(1000 * self.seed + first)
        self.state, loss = self.compiled[size](self.state, jnp.asarray(chosen), jnp.asarray(rates), key, self.train)
        return loss.mean()

    def warm(self):
        """Compiles all sizes and returns the seconds that a stretch takes, without changing the state."""
        seconds = []
        zeros = np.zeros((self.stretch, BATCH), np.int32)
        for size in self.options.get("sizes", (96,)):
            self.compiled[size] = jax.jit(lambda *given, size=size: self._steps(*given, size), donate_argnums=0)
            for again in range(2):
                copy = jax.tree.map(jnp.copy, self.state)
                with open(OUT / "timing", "w") as lock:
                    if again:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    start = time.time()
                    jax.block_until_ready(
                        self.compiled[size](
                            copy, jnp.asarray(zeros), jnp.zeros(self.stretch), jax.random.key(0), self.train
                        )
                    )
                    took = time.time() - start
            seconds.append(took)
        return float(np.mean(seconds))

    def all(self, pictures=None, seconds=None, report=lambda *_: None):
        """Trains on so many pictures, or so many seconds: warm-up, then cosine. Returns the losses of stretches."""
        steps = pictures // BATCH if pictures else 200_000
        chosen = drawn(self.options, self.seed, steps)
        curve, start = [], time.time()
        for first in range(0, steps - self.stretch + 1, self.stretch):
            part = slice(first, first + self.stretch)
            done = first / steps if pictures else (time.time() - start) / seconds
            if done >= 1:
                break
            rate = RATE * min((first + 1) / 300, 0.5 * (1 + math.cos(math.pi * done)))
            curve.append(float(self.go(chosen[part], np.full(self.stretch, rate, np.float32), first)))
            self.done = first + self.stretch
            report(self.done, curve[-1])
        return curve

    def weights(self, *, average):
        """Trained weights of the colorizer, its own or their moving average."""
        if average:
            averages = self.optimizer._model_variables_moving_average
            places = [[v is a for v in self.optimizer.variables].index(True) for a in averages]
            return [self.state[2][place] for place in places]
        return self.state[0]


def delta_e(one, two):
    """CIEDE2000 of Lab arrays (..., 3), kL = kC = kH = 1 (Sharma, Wu and Dalal 2005)."""
    l1, a1, b1 = jnp.moveaxis(one, -1, 0)
    l2, a2, b2 = jnp.moveaxis(two, -1, 0)
    mean7 = ((jnp.hypot(a1, b1) + jnp.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - jnp.sqrt(mean7 / (mean7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = jnp.hypot(a1, b1), jnp.hypot(a2, b2)
    h1, h2 = jnp.arctan2(b1, a1) % (2 * jnp.pi), jnp.arctan2(b2, a2) % (2 * jnp.pi)
    grey = c1 * c2 == 0
    dh = h2 - h1
    dh = jnp.where(dh > jnp.pi, dh - 2 * jnp.pi, jnp.where(dh < -jnp.pi, dh + 2 * jnp.pi, dh))
    dh = jnp.where(grey, 0, dh)
    big = 2 * jnp.sqrt(c1 * c2) * jnp.sin(dh / 2)
    total = h1 + h2
    mean_h = jnp.where(
        jnp.abs(h1 - h2) <= jnp.pi, total / 2, jnp.where(total < 2 * jnp.pi, total / 2 + jnp.pi, total / 2 - jnp.pi)
    )
    mean_h = jnp.where(grey, total, mean_h)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * jnp.cos(mean_h - jnp.pi / 6)
        + 0.24 * jnp.cos(2 * mean_h)
        + 0.32 * jnp.cos(3 * mean_h + jnp.pi / 30)
        - 0.2 * jnp.cos(4 * mean_h - 63 * jnp.pi / 180)
    )
    turn = jnp.deg2rad(60.0) * jnp.exp(-(((jnp.rad2deg(mean_h) - 275) / 25) ** 2))
    rc = 2 * jnp.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    sl = 1 + 0.015 * (mean_l - 50) ** 2 / jnp.sqrt(20 + (mean_l - 50) ** 2)
    sc, sh = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    x, y, z = (l2 - l1) / sl, (c2 - c1) / sc, big / sh
    return jnp.sqrt(jnp.maximum(x * x + y * y + z * z - jnp.sin(turn) * rc * y * z, 0))


def blots(lab):
    """PROTOCOL's blots of Lab (N, H, W, 3): shares (N,)."""
    k = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    k = k / k.sum()
    x = jnp.moveaxis(lab, -1, 1).reshape(-1, *lab.shape[1:3])
    x = jnp.pad(x, ((0, 0), (6, 6), (6, 6)), mode="reflect")
    x = sum(w * x[:, i : i + lab.shape[1], :] for i, w in enumerate(k))
    x = sum(w * x[:, :, i : i + lab.shape[2]] for i, w in enumerate(k))
    p = jnp.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    d, s = p[:, :, 2:] - p[:, :, :-2], p[:, 2:] - p[:, :-2]
    gx = (d[:, :-2] + 2 * d[:, 1:-1] + d[:, 2:]) / 8
    gy = (s[:, :, :-2] + 2 * s[:, :, 1:-1] + s[:, :, 2:]) / 8
    square = (gx**2 + gy**2).reshape(len(lab), 3, *lab.shape[1:3])
    return ((square[:, 0] < 0.7**2) & (square[:, 1] + square[:, 2] > 1.5**2)).mean((1, 2))


def colorfulness(rgb):
    """Hasler and Suesstrunk's, of sRGB in [0, 1] (N, H, W, 3)."""
    r, g, b = jnp.moveaxis(rgb * 255, -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    return jnp.sqrt(rg.var((1, 2)) + yb.var((1, 2))) + 0.3 * jnp.hypot(rg.mean((1, 2)), yb.mean((1, 2)))


def evaluate(run, average=True, settings=SETTINGS):
    """Sweeps the dials on validation pictures: {set: rows of CIEDE2000, ratio and blots, and the truth's blots}."""
    for variable, value in zip(run.model.trainable_variables, run.weights(average=average), strict=True):
        variable.assign(value)
    model = run.colorizer
    prior = jnp.asarray(np.load(DATA / "prior.npy"), jnp.float32)
    mixed = jnp.log((1 - 1e-3) * prior + 1e-3 / len(prior))
    enlarge = model.get_layer("ab")
    head = vivid.bin_logits(model) if run.kind == "vivid" else keras.Model(model.input, enlarge.input)
    trained, others = [v.value for v in head.trainable_variables], [v.value for v in head.non_trainable_variables]

    @jax.jit
    def forward(rgb):
        lab = color.rgb_to_lab(rgb.astype("float32") / 255)
        return lab, head.stateless_call(trained, others, color.split(lab)[0], training=False)[0]

    @jax.jit
    def score(lab, out, temperature, rebalance, gain):
        if run.kind == "vivid":
            out = jax.nn.softmax((out - rebalance * mixed) / temperature) @ jnp.asarray(color.bins() / color.AB_SCALE)
        ab = enlarge(gain * out)
        rgb = jnp.round(jnp.clip(color.lab_to_rgb(color.merge(lab[..., :1] / 50 - 1, ab)), 0, 1) * 255) / 255
        made = color.rgb_to_lab(rgb)
        return delta_e(lab, made).mean((1, 2)), colorfulness(rgb), blots(made)

    @jax.jit
    def truth(rgb):
        x = rgb.astype("float32") / 255
        return (
            colorfulness(x),
            blots(color.rgb_to_lab(x)),
            delta_e(color.rgb_to_lab(x), color.rgb_to_lab(x) * jnp.array([1.0, 0, 0])).mean(),
        )

    report = {}
    for name, rgb in np.load(DATA / "validation.npz").items():
        rgb = jnp.asarray(rgb)
        colorful, blotted, grey = truth(rgb)
        lab, out = forward(rgb)
        rows = []
        for setting in settings:
            e, c, b = score(lab, out, *setting)
            rows.append([float(e.mean()), float(c.mean() / colorful.mean()), float(b.mean())])
        report[name] = {"truth_blots": float(blotted.mean()), "grey": float(grey), "rows": rows}
    return report


def natural(report, settings=SETTINGS):
    """The natural setting: (score, setting). Missing a bound costs: 20 a unit of ratio, 1 a percent of blots."""
    best = None
    for i in range(len(settings)):
        total, miss = 0.0, 0.0
        for name, found in report.items():
            e, ratio, blot = found["rows"][i]
            total += e / len(report)
            miss += max(0, LEAST_RATIO.get(name, 0.85) - ratio) * 20 + max(0, blot - found["truth_blots"]) * 100
        value = total + miss / len(report)
        if best is None or value < best[0]:
            best = (value, i, total)
    return best


def one(variant, seed, pictures):
    """Trains one candidate; writes its sweep of the dials on validation."""
    start = time.time()
    kind = "regression" if variant == "l2" else "vivid"
    run = Run(VARIANTS.get(variant, {}), seed, kind)
    curve = run.all(pictures)
    trained = time.time() - start
    settings = SETTINGS if kind == "vivid" else GAINS
    result = {
        "variant": variant,
        "seed": seed,
        "pictures": run.done * BATCH,
        "curve": curve,
        "parameters": run.colorizer.count_params(),
        "settings": settings,
        "average": evaluate(run, settings=settings),
    }
    if variant == "base":
        result["last"] = evaluate(run, average=False)
    result["score"], at, result["ciede2000"] = natural(result["average"], settings)
    result["seconds"] = time.time() - start
    (OUT / f"candidate-{variant.replace(' ', '-')}-{seed}.json").write_text(json.dumps(result))
    print(
        f"{variant:34} {seed} score {result['score']:.3f} ciede {result['ciede2000']:.3f} at {settings[at]} "
        f"loss {np.mean(curve[-5:]):.4f} trained {trained:.0f} all {result['seconds']:.0f} s",
        flush=True,
    )


def probe():
    """Times a stretch."""
    start = time.time()
    seconds = Run({}, 0).warm()
    setup = {"shift": os.environ.get("SHIFT", "0"), "policy": keras.config.dtype_policy().name}
    setup["speed"] = int(os.environ.get("STRETCH", 50)) * BATCH / seconds
    print(setup, f"ready in {time.time() - start:.0f} s", jax.devices(), flush=True)
    with open(OUT / "probe.jsonl", "a") as file:
        file.write(json.dumps(setup) + "\n")


def save(run, name):
    """Writes the moving average of the trained weights, half precision."""
    weights = [np.asarray(w, np.float16) for w in run.weights(average=True)]
    np.savez(OUT / f"{name}.npz", **{f"{i:03}": w for i, w in enumerate(weights)})


def long(kind, seed, deadline, name, variants):
    """Trains until 40 s before the deadline, and writes weights and a sweep of the dials."""
    start, options = time.time(), {}
    for each in filter(None, variants.split("+")):
        options |= VARIANTS[each]
    run = Run(options, seed, kind)
    told = [time.time()]

    def report(done, loss):
        if time.time() - told[0] > 30:
            told[0] = time.time()
            print(f"{name} {done} steps, loss {loss:.4f}, {time.time() - start:.0f} s", flush=True)
            save(run, name)

    curve = run.all(seconds=deadline - time.time() - 40, report=report)
    save(run, name)
    settings = SETTINGS if kind == "vivid" else GAINS
    result = {
        "variants": variants,
        "kind": kind,
        "seed": seed,
        "steps": run.done,
        "batch": BATCH,
        "rate": RATE,
        "curve": curve[:: max(1, len(curve) // 300)],
        "minutes": (time.time() - start) / 60,
        "device": jax.devices()[0].device_kind,
        "policy": keras.config.dtype_policy().name,
        "settings": settings,
        "validation": evaluate(run, settings=settings),
    }
    (OUT / f"{name}.json").write_text(json.dumps(result))
    value, at, total = natural(result["validation"], settings)
    print(f"{name}: {run.done * BATCH} pictures, score {value:.3f} ciede {total:.3f} at {settings[at]}", flush=True)
    for each, found in result["validation"].items():
        print(
            each,
            [round(x, 3) for x in found["rows"][at]],
            round(found["truth_blots"], 4),
            round(found["grey"], 2),
            flush=True,
        )


def race(jobs, workers, deadline):
    """Runs commands side by side; returns when all are done, or kills what is left at the deadline."""
    waiting, running = list(jobs), []
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(subprocess.Popen([sys.executable, "-m", "notebooks.runner.gpu", *map(str, waiting.pop(0))]))
        running = [each for each in running if each.poll() is None]
        if time.time() > deadline:
            for each in running:
                each.kill()
            return
        time.sleep(0.2)


def choose():
    """The variants better than base by more than the spread of seeds, on the mean of their common seeds."""
    found = {}
    for path in OUT.glob("candidate-*.json"):
        result = json.loads(path.read_text())
        found.setdefault(result["variant"], {})[result["seed"]] = result["score"]
    pairs = [scores[0] - scores[1] for scores in found.values() if {0, 1} <= set(scores)]
    spread = math.sqrt(np.mean(np.square(pairs)) / 2) if pairs else 0.1
    chosen = []
    for name, seeds in found.items():
        both = set(seeds) & set(found.get("base", {}))
        gain = np.mean([found["base"][seed] - seeds[seed] for seed in both]) if both else 0
        least = max(spread, 0.1 if name in DEAR else 0)
        print(f"{name:34} gain {gain:.3f} of {seeds}, spread {spread:.3f}", flush=True)
        if name in VARIANTS and name != "base" and gain > least:
            chosen.append(name)
    return "+".join(chosen)


def main(seconds):
    """Candidates, then both long runs, in so many seconds; the probe chose how to compute."""
    start = time.time()
    arrays()
    while time.time() - start < 60 and len(PROBES.read_text().splitlines() if PROBES.exists() else []) < 4:
        time.sleep(0.5)
    setups = [json.loads(line) for line in PROBES.read_text().splitlines()]
    # Half precision only where it pays well.
    best = max(setups, key=lambda setup: setup["speed"] / (1.3 if "16" in setup["policy"] else 1))
    os.environ |= {"SHIFT": best["shift"], "POLICY": best["policy"]}
    jobs = [("one", name, seed) for seed in (0, 1) for name in VARIANTS] + [("one", "base", 2)]
    jobs = (
        [("one", "l2", seed) for seed in (0, 1, 2)] + jobs
        if not JOBS
        else [("one", *job.split(":")) for job in JOBS.split(",")]
    )
    share = 0.36 * seconds
    pictures = min(144_000, int(0.75 * share * best["speed"] / len(jobs)) // 3200 * 3200) if not JOBS else 64
    print(f"{time.time() - start:.0f} s: {best}, {pictures} pictures each", flush=True)
    race([(*job, pictures) for job in jobs], WORKERS, start + share + 45)
    variants = choose()
    print(f"{time.time() - start:.0f} s: chosen {variants!r}", flush=True)
    deadline = start + seconds
    race([("long", kind, 0, deadline, kind, variants) for kind in ("vivid", "regression")], 2, deadline + 12)
    print(f"{time.time() - start:.0f} s", flush=True)
    found = {path.name: json.loads(path.read_text()) for path in OUT.glob("candidate-*.json")}
    (OUT / "candidates.json").write_text(json.dumps(found))
    for path in OUT.glob("candidate-*.json"):
        path.unlink()


if __name__ == "__main__":
    if os.environ.get("SHIFT") == "1":
        keras.src.backend.nn.depthwise_conv = shifted_depthwise
    keras.config.set_dtype_policy(os.environ.get("POLICY", "float32"))
    OUT.mkdir(parents=True, exist_ok=True)
    command, *rest = sys.argv[1:]
    if command == "arrays":
        arrays()
    elif command == "probe":
        probe()
    elif command == "one":  # VARIANT SEED PICTURES
        one(rest[0], int(rest[1]), int(rest[2]))
    elif command == "long":  # KIND SEED DEADLINE NAME VARIANT+VARIANT
        long(rest[0], int(rest[1]), float(rest[2]), *rest[3:])
    elif command == "main":  # SECONDS
        main(float(rest[0]))
