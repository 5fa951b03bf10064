"""What exactness costs: the training waits for a save, and a run that goes on makes a start."""

import dataclasses
import json
import time

import jax
import numpy as np
import pytest
from faults.harness import Job
from small import small

from data_pipelines.sources.opening import open_dataset
from ssl_jax.checkpoints import loading, saving
from ssl_jax.checkpoints.card import ModelCard, config_from_json
from ssl_jax.devices.mesh import make_data_mesh, replicate
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config
from ssl_jax.runs.restoring import restore_or_initialise
from ssl_jax.runs.training import train
from ssl_jax.training.loop import Intervals
from ssl_jax.training.state import TrainState

INTERVAL = Intervals().save

# MAE + ViT-B takes 65 GFLOP an image, forwards and backwards: a batch of 4,096 is 266 TFLOP, and
# eight A100s at 40 % of their 312 TFLOP/s take this long.
STEP_OF_VIT_B = 0.27  # seconds


def state_of_vit_b(data_dir) -> TrainState:
    """The state of `mae_vitb_ben4`, full of random numbers, which don't compress."""
    config = load_config("configs/pretrain/mae_vitb_ben4.py")
    card = ModelCard.for_run(config, open_dataset("demo_tiles/tiny", data_dir, config.data.bands))
    card = dataclasses.replace(card, image_shape=(120, 120, 4))
    goal = parts.make_objective(card)
    chain, _ = parts.make_optimizer(config, 1000 * 144, 590_326, goal)
    batch = {"image": np.zeros((1, 120, 120, 4), np.uint16), "index": np.zeros(1, np.int64)}

    def initial() -> TrainState:
        params = goal.init(jax.random.key(0), batch)["params"]
        return TrainState(jax.numpy.zeros((), jax.numpy.int32), params, {}, chain.init(params))

    chance = np.random.default_rng(0)

    def filled(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.dtype != np.float32:
            return np.zeros(leaf.shape, leaf.dtype)
        return chance.random(leaf.shape, np.float32)

    return jax.tree.map(filled, jax.eval_shape(initial))


def test_training_waits_less_than_two_percent_for_bundles_of_vit_b(data_dir, tmp_path):
    state = replicate(state_of_vit_b(data_dir), make_data_mesh(jax.devices()[:1]))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    waits, writes = [], []
    with saving.Checkpointer(tmp_path / "checkpoints", keep=1) as checkpoints:
        for step in (1, 2, 3):
            at_step = state.replace(step=jax.numpy.asarray(step, jax.numpy.int32))
            began = time.perf_counter()
            checkpoints.save(at_step, {"step": step}, {"format": 1})
            waits.append(time.perf_counter() - began)
            checkpoints.wait()
            writes.append(time.perf_counter() - began)
    wait = max(waits[1:])  # the first one also sets Orbax up
    needed = wait / 0.02 / INTERVAL
    print(
        f"\na state of {size / 1e9:.2f} GB: training waits {wait:.2f} s for a save "
        f"({waits[0]:.2f} s for the first), which is written and sealed after {writes[-1]:.1f} s\n"
        f"at one in {INTERVAL} steps that is under 2 % where a step takes more than "
        f"{1000 * needed:.0f} ms; {wait / INTERVAL / STEP_OF_VIT_B:.2%} at {STEP_OF_VIT_B} s a step"
    )
    assert size > 1.3e9
    assert wait < 0.02 * INTERVAL * STEP_OF_VIT_B


def test_a_loop_that_saves_is_as_fast_as_one_that_does_not(data_dir, tmp_path):
    """Saved ten times as often as by default: a tenth of the difference is what saving costs."""
    steps, interval = 500, INTERVAL // 10
    seconds = {0: [], interval: []}
    for repeat in range(3):
        for save in seconds:
            config = small("mae", data_dir)
            config.steps = steps
            config.every.update(log=50, save=save)
            cost = train(config, tmp_path / f"{save}_{repeat}")["cost"]
            seconds[save].append(steps * config.batch_size / cost["examples_per_second"])
    without, with_saves = min(seconds[0]), min(seconds[interval])
    difference = (with_saves - without) / without
    print(
        f"\n{steps} steps of {1000 * without / steps:.1f} ms: {without:.2f} s without saves, "
        f"{with_saves:.2f} s with one in {interval}: {difference:.1%}; at one in {INTERVAL} that "
        f"is {difference / 10:.2%}"
    )
    assert difference / 10 < 0.02


@pytest.fixture(scope="module")
def stopped_at_ten(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    overrides = ("steps=2000000", "every.evaluate=0", "every.probe=0", "every.log=50")
    run = Job("mae", folder / "ten", data_dir, overrides)
    assert run.run("15 step@10 1 0").code == 75
    return run


def at_step(run: Job, workdir, step: int) -> Job:
    """As `run` were it further: its newest bundle and its log are those of `step`."""
    later = run.copy(workdir)
    config = config_from_json(json.loads((run.workdir / "config.json").read_text()))
    with saving.Checkpointer(workdir / "checkpoints", keep=1) as checkpoints:
        state, position = restore_or_initialise(parts.assemble_run(config), checkpoints)
        card = loading.load_card(checkpoints.newest)
        state = state.replace(step=jax.numpy.asarray(step, jax.numpy.int32))
        checkpoints.save(state, {**position, "step": step}, {**card, "step": step})
    first = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    records = [{**first, "step": number} for number in range(50, step + 1, 50)]
    log = "".join(json.dumps(record) + "\n" for record in [first, *records])
    (workdir / "metrics.jsonl").write_text(log)
    return later


def seconds_to_steps(run: Job) -> dict[str, float]:
    """Start a run: when, in seconds from its start, it came to its phases and its second step."""
    lines, times = len(run.lines()), {}
    process = run.start()
    began = time.perf_counter()
    try:
        while "second step" not in times:
            assert process.poll() is None, process.communicate()
            told = run.lines()[lines:]
            for phase in ("restore", "compile", "step"):
                if any(line.startswith(f"main {phase}") for line in told):
                    times.setdefault(phase, time.perf_counter() - began)
            if sum(line.startswith("main step") for line in told) > 1:
                times["second step"] = time.perf_counter() - began
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    return times


def test_a_run_goes_on_within_five_seconds_however_far_it_was(stopped_at_ten, tmp_path):
    taken = {}
    for step in (10, 10**6):
        times = seconds_to_steps(at_step(stopped_at_ten, tmp_path / str(step), step))
        compiling = times["step"] - times["compile"]
        taken[step] = times["second step"] - times["restore"] - compiling
        print(
            f"\nfrom step {step:,}: {taken[step]:.2f} s until steps are taken, beside "
            f"{times['restore']:.2f} s of Python's imports, which a run from step 0 has too, and "
            f"{compiling:.2f} s of compiling"
        )
    assert max(taken.values()) < 5
    assert taken[10**6] - taken[10] < 1
