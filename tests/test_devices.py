"""The same training on one device and on several: two logical CPUs (TensorFlow), two processes (Keras on JAX)."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
# One notebook's worth of code; what differs between one device and several is said outside of it.
TRAINING = """
import json, sys
import keras, numpy as np
from colorlib import models, training
from colorlib.data import pipeline
{before}
folder, epochs, network = sys.argv[1], int(sys.argv[2]), sys.argv[3]
training.setup(0)
lab = np.random.default_rng(0).uniform(-0.5, 0.5, (72, 32, 32, 3)).astype("float32")
if network == "unet":
    model = models.unet(32, filters=4, downsamplings=4, dropout=0.0)
else:
    model = models.vivid_colorizer(models.small_backbone(32, widths=(4, 8, 8, 8)), widths=())
rate = keras.optimizers.schedules.CosineDecay(1e-3, 8 * epochs)
model.compile(training.TransferAdamW(rate), "mse")
checkpoint = training.Checkpoint(folder, {{"epochs": epochs}})
done = checkpoint.restore(model)
model.fit(
    pipeline.batches(lab[:64], batch_size=8, training=True, first_epoch=done), steps_per_epoch=8, epochs=epochs,
    initial_epoch=done, validation_data=pipeline.batches(lab[64:], batch_size=8), callbacks=[checkpoint, *{callbacks}],
    shuffle=False, verbose=0,
)
print(json.dumps(checkpoint.history))
"""
LOGICAL = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
SLOW = "[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: __import__('time').sleep(0.5))]"


def start(folder, *, epochs=3, network="vivid", before="", callbacks="[]", **environment):
    script = TRAINING.format(before=before, callbacks=callbacks)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(epochs), network],
        cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def losses(process):
    """The losses of all epochs of a training that ends well."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    history = json.loads(out.splitlines()[-1])
    return np.array([history["loss"], history["val_loss"]])


def on_two_processes(folder, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            folder, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", COLORLIB_DEVICES="all",
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address, KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(number), **options,
        )
        for number in range(2)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vivid", "unet"])
def test_two_logical_devices_of_tensorflow_learn_as_one(tmp_path, network):
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    one = losses(start(tmp_path / "one", network=network, **environment))
    two = losses(
        start(tmp_path / "two", network=network, before=LOGICAL, **environment, COLORLIB_DEVICES="all"),
    )
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
    assert one[0, 0] - one[0, -1] > 1e-3, "it learns at all"


@pytest.mark.slow
def test_two_processes_of_jax_learn_as_one(tmp_path):
    pytest.importorskip("jax")
    one = losses(start(tmp_path / "one", KERAS_BACKEND="jax", JAX_PLATFORMS="cpu"))
    for each in on_two_processes(tmp_path / "two"):
        np.testing.assert_allclose(losses(each), one, rtol=0, atol=1e-4)
    two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "COLORLIB_DEVICES": "all"}
    process = start(tmp_path / "three", KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", **two_devices)
    np.testing.assert_allclose(losses(process), one, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_and_all_go_on_after_the_last_epoch(tmp_path):
    pytest.importorskip("jax")
    victim = 0  # on which the others depend
    expected = losses(start(tmp_path / "one", epochs=6, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu"))
    both = on_two_processes(tmp_path / "two", epochs=6, callbacks=SLOW)
    while not (tmp_path / "two" / "epoch-002.weights.h5").exists():
        assert all(each.poll() is None for each in both)
        time.sleep(0.02)
    both[victim].send_signal(signal.SIGKILL)
    both[victim].communicate()
    _, error = both[1 - victim].communicate(timeout=150)
    # Where this one waits for the other's numbers, our line; where JAX's own watch is quicker, its line.
    ours = rf"process {1 - victim} of 2: another process of this training has ended .* start all of them again"
    assert both[1 - victim].returncode in (1, -signal.SIGABRT)
    assert re.search(f"{ours}|another task died", error), error[-3000:]
    again = on_two_processes(tmp_path / "two", epochs=6)
    for number, each in enumerate(again):
        out, error = each.communicate(timeout=300)
        assert each.returncode == 0, error[-3000:]
        assert bool(re.search("taken up after epoch [2-5]", out)) == (number == 0)
        history = json.loads(out.splitlines()[-1])
        np.testing.assert_allclose([history["loss"], history["val_loss"]], expected, rtol=0, atol=1e-4)


def test_devices_are_one_or_all():
    from colorlib import training

    with pytest.raises(ValueError, match="devices 'two': it is 'one' or 'all'"):
        training.setup(0, devices="two")
