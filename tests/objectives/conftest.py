"""Small networks and batches for testing objectives."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from jax.sharding import PartitionSpec as P

from ssl_jax import metrics
from ssl_jax.augment import Augmentation, Normalisation, SegmentationAugmentation
from ssl_jax.models.simclr import SimCLRModel
from ssl_jax.objectives import MAE, Classification, Segmentation, SimCLR

BANDS, SIZE, PATCH, CLASSES = 4, 8, 4, 5
NORMALISE = Normalisation((1e-4,) * BANDS, (0.0,) * BANDS, (3000.0,) * BANDS, (2000.0,) * BANDS)
NAMES = tuple(f"class {i}" for i in range(CLASSES))


class Backbone(nn.Module):
    norm: bool = True
    patch_size: int = PATCH

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        x = nn.Conv(6, (3, 3), strides=2)(image)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, axis_name="data", momentum=0.9)(x)
        return jnp.tanh(x).mean((1, 2))


class Head(nn.Module):
    features: int = CLASSES

    @nn.compact
    def __call__(self, x, train=False, keys=None):
        return nn.Dense(self.features)(x)


class Autoencoder(nn.Module):
    """Predicts hidden patches from the mean of the visible ones."""

    backbone: nn.Module

    @nn.compact
    def __call__(self, image, noise, mask_ratio, train=False, keys=None):
        p = self.backbone.patch_size
        patches = rearrange(image, "b (h p) (w q) c -> b (h w) (p q c)", p=p, q=p)
        num_visible = int(patches.shape[1] * (1 - mask_ratio))
        hidden = (noise.argsort(1).argsort(1) >= num_visible).astype(jnp.float32)
        visible = (patches * (1 - hidden)[..., None]).sum(1, keepdims=True) / num_visible
        token = nn.Dense(8)(visible) + self.backbone(image * 0, train=train).mean()
        position = self.param("pos", nn.initializers.normal(1.0), (1, patches.shape[1], 8))
        return nn.Dense(patches.shape[2])(jnp.tanh(token + position)), hidden


class Segmenter(nn.Module):
    outputs: int = CLASSES
    norm: bool = True

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        x = nn.Conv(6, (3, 3))(image)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, axis_name="data", momentum=0.9)(x)
        logits, auxiliary = nn.Dense(self.outputs)(x), nn.Dense(self.outputs)(jnp.tanh(x))
        return (logits, auxiliary) if train else logits


def make_objective(name, norm=True, **options):
    views = Augmentation(size=SIZE, horizontal_flip=True, brightness=0.5)  # quick to compile
    if name == "simclr":
        return SimCLR(SimCLRModel(Backbone(norm), Head(16)), views, NORMALISE, **options)
    if name == "mae":
        return MAE(Autoencoder(Backbone(norm)), views, NORMALISE, **options)
    if name == "segmentation":
        options = {"excluded": (1,)} | options
        outputs = CLASSES - len(options["excluded"])
        augment = SegmentationAugmentation(horizontal_flip=True, quarter_turns=True)
        return Segmentation(Segmenter(outputs, norm), NORMALISE, NAMES, augment, **options)
    defaults = {"frozen": False, "views": views, "evaluation_views": Augmentation.evaluation(SIZE)}
    return Classification(Backbone(norm), Head(), NORMALISE, NAMES, **(defaults | options))


def draw_batch(n=16, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, CLASSES, (n, size, size)).astype(np.uint8)
    mask[rng.random(mask.shape) < 0.2] = 255
    mask[: n // 4] = 255  # some devices have no labelled pixel at all
    return {
        "image": rng.integers(0, 10_000, (n, size, size, BANDS)).astype(np.uint16),
        "index": rng.permutation(100)[:n].astype(np.int32),
        "label": rng.integers(0, CLASSES, n).astype(np.int32),
        "labels": rng.integers(0, 2, (n, CLASSES)).astype(np.uint8),
        "mask": mask,
        "valid": np.ones(n, bool),
    }


def init(objective, batch):
    return jax.jit(objective.init)(jax.random.key(0), batch)


def map_over_devices(function, devices, in_specs):
    axis_types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((devices,), ("data",), axis_types, devices=jax.devices()[:devices])
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P()))


@functools.cache
def make_gradient_step(objective, devices):
    def step(variables, batch):
        def loss(params):
            loss, aux = objective.loss(variables | {"params": params}, batch, jax.random.key(1))
            return jax.lax.pmean(loss, "data"), aux

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, grads, aux["batch_stats"], metrics.reduce_over_devices(aux["accumulators"])

    return map_over_devices(step, devices, (P(), P("data")))


def compute_gradient(objective, variables, batch, devices=1):
    """Compute (loss, gradients, batch statistics, metrics) of a training step."""
    value, grads, stats, accumulators = make_gradient_step(objective, devices)(variables, batch)
    return value, grads, stats, objective.compute_metrics(metrics.to_host(accumulators))


def evaluate(objective, variables, batch, devices=1):
    def step(variables, batch):
        return metrics.reduce_over_devices(objective.evaluate(variables, batch))

    return metrics.to_host(map_over_devices(step, devices, (P(), P("data")))(variables, batch))


class Lab:
    """The functions above, for tests, which can't import a conftest."""

    make_objective, draw_batch = staticmethod(make_objective), staticmethod(draw_batch)
    init, map_over_devices = staticmethod(init), staticmethod(map_over_devices)
    compute_gradient, evaluate = staticmethod(compute_gradient), staticmethod(evaluate)
    normalise, classes, size = NORMALISE, CLASSES, SIZE


@pytest.fixture
def lab():
    return Lab
