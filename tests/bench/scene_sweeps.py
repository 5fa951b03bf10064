"""Sweeps of images beside their network alone: `scene_sweeps.py NAME HEIGHT WIDTH WINDOW`.

NAME is `tiny`, `upernet` or `copy`, a network that does nothing. Prints JSON: windows per second of
the sweep and of the network, their seconds of all cores per window, and the peak of memory.
"""

import json
import resource
import statistics
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import models
from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.scenes import SweepPlan, Task, make_sweep
from ssl_jax.scenes.programs import make_network

OUTPUTS, BANDS = 5, 4


class Tiny(nn.Module):
    """Three convolutions."""

    @nn.compact
    def __call__(self, image):
        x = nn.relu(nn.Conv(16, (3, 3))(image))
        return nn.Conv(OUTPUTS, (1, 1))(nn.relu(nn.Conv(16, (3, 3))(x)))


class Image:
    """A large image, a few random rows that are repeated."""

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.rows = np.random.default_rng(0).integers(0, 256, (64, width, BANDS), np.uint8)

    def read(self, top, left, height, width):
        rows = np.arange(top, top + height) % 64
        return {"image": self.rows[rows, left : left + width]}

    def is_needed(self, top, left, height, width):
        return True


def finish(logits, pixels):
    """Make the layers of a map: the most probable class, and its probability in per cent."""
    odds = jnp.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)
    confidence = jnp.round(100 / odds).astype(jnp.uint8)
    return {"classes": logits.argmax(axis=-1).astype(jnp.uint8), "confidence": confidence}, ()


def make_logits(name):
    """Make a network's function from variables and images to logits, and its variables."""
    if name == "copy":
        return lambda variables, image: jnp.repeat(image[..., :1], OUTPUTS, -1).astype(float), {}
    model = Tiny() if name == "tiny" else models.UperNet(models.ResNet(), OUTPUTS)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 64, 64, BANDS), np.float32))
    return lambda variables, image: model.apply(variables, image.astype(float) / 255), variables


def measure(name, height, width, window, rounds=3):
    """Measure a sweep and the bare network on as many windows, in turn."""
    logits, variables = make_logits(name)
    plan = SweepPlan(height, width, window, window // 2, OUTPUTS)
    image, mesh = Image(height, width), make_data_mesh(jax.devices()[:1])
    tasks = [Task(image, block) for block in plan.blocks]
    sweep = make_sweep(logits, finish, mesh)
    network = make_network(logits, mesh, flips=False)
    group = jnp.zeros((plan.group_size, window, window, BANDS), np.uint8)
    places = jnp.ones((1, plan.group_size, 4), np.int32)
    windows = plan.num_rows * plan.num_columns

    def run_network():
        for _ in range(groups := -(-windows // plan.group_size)):
            jax.block_until_ready(network(variables, group, places))
        return groups * plan.group_size

    def run_sweep():
        assert sum(1 for _ in sweep(variables, plan, tasks)) == len(tasks)
        return windows

    measured = {"network": [], "sweep": []}
    for _ in range(rounds + 1):
        for run, values in zip((run_network, run_sweep), measured.values(), strict=True):
            start, cpu = time.perf_counter(), time.process_time()
            count = run()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            values.append((count / seconds, cpu / count))
    return {
        kind: [statistics.median(value) for value in zip(*values[1:], strict=True)]
        for kind, values in measured.items()
    } | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
