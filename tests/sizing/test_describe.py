"""A description of a run agrees with published figures, with what is compiled and with itself."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small

from data_pipelines.errors import UserError
from ssl_jax import train
from ssl_jax.devices import mesh
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config
from ssl_jax.sizing.cost import count_bytes
from ssl_jax.sizing.describe import describe
from ssl_jax.sizing.display import print_description
from ssl_jax.training import loop
from ssl_jax.training.state import TrainState

FILES = sorted(
    str(path)
    for folder in ("pretrain", "transfer")
    for path in Path("configs", folder).glob("*.py")
)
MAE, SIMCLR = "configs/pretrain/mae_vitb_ben4.py", "configs/pretrain/simclr_resnet50_ben3.py"
UPERNET = "configs/transfer/potsdam_upernet.py"
OTHERS = [
    f"{UPERNET}:vit_b",
    "configs/transfer/nasc_finetune.py:resnet50",
    "configs/transfer/nasc_linear.py:resnet50",
]
RGB_224 = ("data.bands=red,green,blue", "augment.train.size=224")


@functools.cache
def described(file, *overrides, devices=8):
    return describe(load_config(file, [*overrides, "data.data_dir=nowhere"]), devices)


@pytest.fixture
def compiled():
    """The seconds XLA compiled for, each time it did."""
    seconds = []

    def note(event, duration, **_):
        if event.endswith("/backend_compile_duration"):
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seconds
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("file", [*FILES, *OTHERS])
def test_every_config_is_described_at_its_real_size_from_shapes_alone(file, capsys, compiled):
    before = len(jax.live_arrays())
    description = described.__wrapped__(file)  # made here, whichever tests came before
    assert len(jax.live_arrays()) == before
    assert not compiled
    print_description(description, teraflops=300.0)
    printed = capsys.readouterr().out
    assert f"{description.steps:,} steps" in printed
    assert f"{sum(description.parameters.values()):,}" in printed
    least, most = description.memory.total
    assert 0 < least <= most < 80 * 2**30  # of the GPU the recipes are for


@pytest.mark.parametrize(
    ("file", "overrides", "gigaflops"),
    [
        (MAE, (), 66.5),  # patch 8
        (MAE, ("model.backbone.patch_size=10",), 42.4),
        (MAE, ("model.backbone.patch_size=15",), 19.1),
        (MAE, (*RGB_224, "model.backbone.patch_size=16", "model.backbone.image_size=224"), 58.5),
        (SIMCLR, (), 15.2),
        (SIMCLR, RGB_224, 49.1),
    ],
)
def test_training_takes_the_arithmetic_that_is_published(file, overrides, gigaflops):
    arithmetic = described(file, *overrides).arithmetic
    assert 3 * sum(arithmetic.forward.values()) == pytest.approx(gigaflops * 1e9, rel=0.01)
    # The first layer needs no gradient of its input.
    assert sum(arithmetic.training.values()) == pytest.approx(gigaflops * 1e9, rel=0.015)


@pytest.mark.parametrize(("size", "gigaflops"), [(120, 23.7), (512, 431.0)])
def test_the_head_of_upernet_takes_the_arithmetic_that_is_published(size, gigaflops):
    forward = described(UPERNET, f"augment.train.size={size}").arithmetic.forward
    assert forward["head"] == pytest.approx(gigaflops * 1e9, rel=0.01)


def test_a_backbone_sees_a_whole_image_in_use_and_a_quarter_of_it_in_pretraining():
    arithmetic = described(MAE).arithmetic
    ratio = arithmetic.inference["backbone"] / arithmetic.forward["backbone"]
    assert 4 < ratio < 4.2  # more than 225 / 56, for attention is quadratic
    assert "decoder" not in arithmetic.inference


def test_length_and_batches_follow_from_the_published_examples():
    description = described(MAE)
    assert description.examples == 590_326
    assert description.steps == 800 * (590_326 // 4096)
    assert sum(description.parameters.values()) > 1e8
    assert described(MAE, devices=16).memory.batches * 2 == description.memory.batches
    with pytest.raises(UserError, match="7 devices"):
        described(MAE, devices=7)


def test_a_prepared_dataset_is_described_as_it_is(data_dir):
    description = describe(small("classification", data_dir))
    assert description.examples == description.evaluation == 40
    assert description.origin == f"as prepared in {data_dir}"


def test_examples_that_nobody_knows_are_asked_for():
    with pytest.raises(UserError, match="--examples N"):
        described(MAE, "data.train=all[not snow]")
    config = load_config(MAE, ["data.train=all[not snow]", "data.data_dir=nowhere"])
    assert describe(config, examples=528_619).examples == 528_619


def test_frozen_features_are_computed_once_and_not_at_every_step():
    description = described("configs/transfer/nasc_mlp.py")
    arithmetic = description.arithmetic
    assert description.precomputed
    assert "backbone" not in arithmetic.training
    steps = description.steps * 256 * sum(arithmetic.training.values())
    assert description.total_operations == steps + 20_000 * arithmetic.inference["backbone"]


def test_micro_batches_take_less_memory_and_more_arithmetic():
    whole, cut = described(MAE), described(MAE, "objective.accumulate=8")
    assert cut.memory.working[0] < whole.memory.working[0] / 4
    assert cut.memory.working[1] < whole.memory.working[1] / 4
    ratio = sum(cut.arithmetic.training.values()) / sum(whole.arithmetic.training.values())
    assert ratio == pytest.approx(4 / 3, rel=0.02)


@pytest.mark.parametrize("kind", ["mae", "simclr", "segmentation"])
def test_memory_is_near_what_is_compiled(kind, data_dir):
    """XLA's program for a CPU takes 0.98 to 1.4 times what is said of arithmetic left unfused."""
    batch_size = 256
    config = small(kind, data_dir)
    config.precision = "float32"
    run = parts.assemble_run(config)
    one = {name: np.asarray(value)[None] for name, value in run.source[0].items()}
    variables = jax.eval_shape(run.objective.init, jax.eval_shape(lambda: jax.random.key(0)), one)
    state = TrainState(
        step=jax.ShapeDtypeStruct((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=jax.eval_shape(run.optimizer.init, variables["params"]),
    )
    batch = {k: jax.ShapeDtypeStruct((batch_size, *v.shape[1:]), v.dtype) for k, v in one.items()}
    step = loop.make_train_step(
        run.objective, run.optimizer, run.schedule, mesh.make_data_mesh(), 0
    )
    compiled = step.lower(state, batch).compile().memory_analysis()

    config.batch_size = batch_size
    memory = describe(config, examples=batch_size).memory
    assert memory.parameters + memory.optimizer == count_bytes((state.params, state.opt_state))
    held = memory.parameters + memory.optimizer + memory.batch_stats + memory.batches / 2
    assert compiled.argument_size_in_bytes == pytest.approx(held, rel=0.01)
    least, most = (memory.gradients + working for working in memory.working)
    assert 0.9 * least < compiled.temp_size_in_bytes < 1.5 * most


def test_the_door_describes_without_a_workdir(capsys):
    arguments = ["--config", "configs/transfer/nasc_mlp.py", "--config.data.data_dir=nowhere"]
    assert train.main([*arguments, "--describe", "--tflops", "100"]) == 0
    printed = capsys.readouterr().out
    assert "4,000 examples, all[2:8]" in printed
    assert "at 100 TFLOP/s" in printed
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert "--workdir" in capsys.readouterr().err
