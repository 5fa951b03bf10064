"""What is measured on a CPU: whole training steps, features, views, and the loop around a step."""

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.preparing.build import build
from data_pipelines.preparing.published import published_dataset
from ssl_jax.augment import Augmentation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import make_data_mesh, replicate, shard
from ssl_jax.models import resnet
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config
from ssl_jax.runs.restoring import initialise_state
from ssl_jax.training import loop, steps
from ssl_jax.training.metric_accumulator import MetricAccumulator
from ssl_jax.training.metric_writer import MetricWriter
from ssl_jax.training.shutdown import ShutdownSignal
from ssl_jax.training.state import TrainState

__all__ = ["WORKLOADS", "Workload"]

_CONFIGS = Path(__file__).parents[2] / "configs" / "pretrain"
_LOOP_STEPS = 20


@dataclass(frozen=True)
class Workload:
    """Something to measure.

    Attributes:
        title: What it is, for the table.
        images: Number of images of a repetition.
        prepare: Prepares it, and returns a function that does it once and waits for the result.
        baseline: Name of the workload that it is compared with; empty for that of a rival.
    """

    title: str
    images: int
    prepare: Callable[[], Callable[[], None]]
    baseline: str = ""


def _prepare_step(file: str, batch_size: int) -> Callable[[], None]:
    """Prepare the training step of a config at its own size, with its views, in float32."""
    config = load_config(str(_CONFIGS / file), [f"batch_size={batch_size}", "precision=float32"])
    dataset = published_dataset(config.data.name, tuple(config.data.bands), "")
    objective = parts.make_objective(ModelCard.for_run(config, dataset))
    optimizer, schedule = parts.make_optimizer(config, 10**6, 10**4, objective)
    mesh = make_data_mesh()
    generator = np.random.default_rng(0)
    shape, dtype = (batch_size, *dataset.image_shape), dataset.image_dtype
    batch = {
        "image": generator.integers(0, 3000, shape).astype(dtype),
        "index": np.arange(batch_size, dtype=np.int32),
    }
    variables = jax.jit(objective.init)(jax.random.key(0), batch)
    state = TrainState.create(variables, optimizer)
    step = steps.make_train_step(objective, optimizer, schedule, mesh, 0)
    return _repeat_step(step, replicate(state, mesh), shard(batch, mesh), 1)


def _repeat_step(step: steps.TrainStep, state: Any, batch: Any, times: int) -> Callable[[], None]:
    current = [state]  # each step is given the state of the last one, and its memory

    def repeat() -> None:
        for _ in range(times):
            current[0], metrics = step(current[0], batch)
        jax.block_until_ready((current[0], metrics))

    return repeat


def _prepare_features(batch_size: int, size: int) -> Callable[[], None]:
    """Prepare the features of random images by a ResNet-50."""
    network = resnet.resnet50()
    images = jax.random.uniform(jax.random.key(0), (batch_size, size, size, 4))
    variables = jax.jit(network.init)(jax.random.key(1), images)
    apply = jax.jit(network.apply)
    return lambda: _wait_for(apply(variables, images))


def _wait_for(result: Any) -> None:
    jax.block_until_ready(result)


def _prepare_views(batch_size: int, size: int) -> Callable[[], None]:
    """Prepare SimCLR's views of random images in red, green and blue, with values in 0..1."""
    views = Augmentation.simclr(size, rgb=(0, 1, 2))
    images = jax.random.uniform(jax.random.key(0), (batch_size, size, size, 3))
    keys = jax.random.split(jax.random.key(1), batch_size)
    augment = jax.jit(jax.vmap(views))
    return lambda: _wait_for(augment(keys, images))


@dataclass(frozen=True)
class _SmallRun:
    """A run of a small ViT on demo tiles, whose steps are short.

    Attributes:
        run: Its parts.
        state: Its first state.
        step: Its training step.
        folder: A folder for its dataset and its log, deleted with this process.
    """

    run: parts.Run
    state: TrainState
    step: steps.TrainStep
    folder: tempfile.TemporaryDirectory[str]


def _make_small_run() -> _SmallRun:
    folder = tempfile.TemporaryDirectory()
    config = load_config(str(_CONFIGS / "mae_vitb_ben4.py"), [])
    config.data.update(name="demo_tiles/small", data_dir=folder.name, train="train", threads=2)
    config.model.backbone.update(name="vit_ti", patch_size=12)
    config.model.decoder.update(dim=96, depth=2, heads=4)
    config.probe = ConfigDict()
    config.every.update(log=10, save=0, probe=0)
    config.batch_size, config.epochs, config.steps = 64, 0.0, 10**6
    config.schedule.warmup_epochs = 0.0
    build(config.data.name, folder.name)
    run = parts.assemble_run(config)
    state = jax.jit(functools.partial(initialise_state, run))(jax.random.key(0))
    step = steps.make_train_step(run.objective, run.optimizer, run.schedule, run.mesh, 0)
    return _SmallRun(run, replicate(state, run.mesh), step, folder)


def _prepare_bare_steps() -> Callable[[], None]:
    """Prepare steps of a small run on a batch that stays the same."""
    small = _make_small_run()
    batch = shard(next(small.run.make_loader().batches(0)), small.run.mesh)
    return _repeat_step(small.step, small.state, batch, _LOOP_STEPS)


def _prepare_loop() -> Callable[[], None]:
    """Prepare the same steps in the training loop, with the loader and the log."""
    small = _make_small_run()
    current = [small.state]

    def repeat() -> None:
        start = int(current[0].step)
        end = start + _LOOP_STEPS
        with MetricWriter(
            Path(small.folder.name), start, end, small.run.config.batch_size
        ) as writer:
            current[0] = loop.train(
                current[0],
                steps=end,
                train_step=small.step,
                batches=small.run.make_loader().batches(start),
                mesh=small.run.mesh,
                intervals=small.run.intervals,
                accumulator=MetricAccumulator(writer, small.run.intervals.log, end, 1e9, {}),
                evaluations=(),
                save=lambda state: None,
                writer=writer,
                stop=ShutdownSignal(),
            )

    return repeat


WORKLOADS: Mapping[str, Workload] = {
    "mae": Workload(
        "MAE, ViT-B/8 at 120 px, training step",
        16,
        functools.partial(_prepare_step, "mae_vitb_ben4.py", 16),
    ),
    "simclr": Workload(
        "SimCLR, ResNet-50 at 120 px, training step",
        16,
        functools.partial(_prepare_step, "simclr_resnet50_ben4.py", 16),
    ),
    "features": Workload(
        "ResNet-50 features at 64 px", 64, functools.partial(_prepare_features, 64, 64)
    ),
    "views": Workload("SimCLR's views at 120 px", 64, functools.partial(_prepare_views, 64, 120)),
    "loop": Workload(
        "loop, logging and loader over the bare step", 64 * _LOOP_STEPS, _prepare_loop, "bare"
    ),
    "bare": Workload("the bare step", 64 * _LOOP_STEPS, _prepare_bare_steps),
}
