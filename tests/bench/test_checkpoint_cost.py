"""The cost of checkpoints: training waits for saves, and a resumed run restores its state."""

import dataclasses
import json
import time

import jax
import numpy as np
import pytest
from faults.harness import Job
from small_configs import make_small_config

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

# MAE with ViT-B takes 65 GFLOP per image, forward and backward. A batch of 4,096 images takes 266
# TFLOP, and eight A100 at 40 % of their 312 TFLOP/s take this long.
VIT_B_STEP_SECONDS = 0.27


def make_vit_b_state(data_dir) -> TrainState:
    """Create a state of `mae_vitb_ben4` with random numbers, which can't be compressed."""
    config = load_config("configs/pretrain/mae_vitb_ben4.py")
    card = ModelCard.for_run(config, open_dataset("demo_tiles/tiny", data_dir, config.data.bands))
    card = dataclasses.replace(card, image_shape=(120, 120, 4))
    goal = parts.make_objective(card)
    chain, _ = parts.make_optimizer(config, 1000 * 144, 590_326, goal)
    batch = {"image": np.zeros((1, 120, 120, 4), np.uint16), "index": np.zeros(1, np.int64)}

    def initialise() -> TrainState:
        params = goal.init(jax.random.key(0), batch)["params"]
        return TrainState(jax.numpy.zeros((), jax.numpy.int32), params, {}, chain.init(params))

    rng = np.random.default_rng(0)

    def randomise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.dtype != np.float32:
            return np.zeros(leaf.shape, leaf.dtype)
        return rng.random(leaf.shape, np.float32)

    return jax.tree.map(randomise, jax.eval_shape(initialise))


def test_training_waits_less_than_two_percent_for_checkpoints_of_vit_b(data_dir, tmp_path):
    state = replicate(make_vit_b_state(data_dir), make_data_mesh(jax.devices()[:1]))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    waits, writes = [], []
    with saving.Checkpointer(tmp_path / "checkpoints", keep=1) as checkpoints:
        for step in (1, 2, 3):
            at_step = state.replace(step=jax.numpy.asarray(step, jax.numpy.int32))
            start = time.perf_counter()
            checkpoints.save(at_step, {"step": step}, {"format": 1})
            waits.append(time.perf_counter() - start)
            checkpoints.wait()
            writes.append(time.perf_counter() - start)
    wait = max(waits[1:])  # the first one also initialises Orbax
    min_step = wait / 0.02 / INTERVAL
    print(
        f"\na state of {size / 1e9:.2f} GB: training waits {wait:.2f} s for a save "
        f"({waits[0]:.2f} s for the first), which is complete after {writes[-1]:.1f} s\n"
        f"with one save in {INTERVAL} steps this is less than 2 % if a step takes more than "
        f"{1000 * min_step:.0f} ms, and {wait / INTERVAL / VIT_B_STEP_SECONDS:.2%} at "
        f"{VIT_B_STEP_SECONDS} s per step"
    )
    assert size > 1.3e9
    assert wait < 0.02 * INTERVAL * VIT_B_STEP_SECONDS


def test_a_loop_that_saves_is_as_fast_as_one_that_does_not(data_dir, tmp_path):
    """It saves ten times as often as by default, so that the cost is a tenth of the difference."""
    steps, interval = 500, INTERVAL // 10
    seconds = {0: [], interval: []}
    for repeat in range(3):
        for save in seconds:
            config = make_small_config("mae", data_dir)
            config.steps = steps
            config.every.update(log=50, save=save)
            cost = train(config, tmp_path / f"{save}_{repeat}")["cost"]
            seconds[save].append(steps * config.batch_size / cost["examples_per_second"])
    without, with_saves = min(seconds[0]), min(seconds[interval])
    difference = (with_saves - without) / without
    print(
        f"\n{steps} steps of {1000 * without / steps:.1f} ms: {without:.2f} s without saves, "
        f"{with_saves:.2f} s with one in {interval} steps: {difference:.1%}; with one in "
        f"{INTERVAL} this is {difference / 10:.2%}"
    )
    assert difference / 10 < 0.02


@pytest.fixture(scope="module")
def interrupted_at_ten(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    overrides = ("steps=2000000", "every.evaluate=0", "every.probe=0", "every.log=50")
    run = Job("mae", folder / "ten", data_dir, overrides)
    assert run.run("15 step@10 1 0").code == 75
    return run


def advance_to_step(run: Job, workdir, step: int) -> Job:
    """Copy a run, and change the step of its newest checkpoint and the length of its log."""
    advanced = run.copy(workdir)
    config = config_from_json(json.loads((run.workdir / "config.json").read_text()))
    with saving.Checkpointer(workdir / "checkpoints", keep=1) as checkpoints:
        state, position = restore_or_initialise(parts.assemble_run(config), checkpoints)
        card = loading.load_card(checkpoints.newest)
        state = state.replace(step=jax.numpy.asarray(step, jax.numpy.int32))
        checkpoints.save(state, {**position, "step": step}, {**card, "step": step})
    first = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    records = [{**first, "step": logged} for logged in range(50, step + 1, 50)]
    log = "".join(json.dumps(record) + "\n" for record in [first, *records])
    (workdir / "metrics.jsonl").write_text(log)
    return advanced


def measure_start(run: Job) -> dict[str, float]:
    """Start a run, and return the seconds from the start to its phases and its second step."""
    previous_lines, times = len(run.read_trace()), {}
    process = run.start()
    start = time.perf_counter()
    try:
        while "second step" not in times:
            assert process.poll() is None, process.communicate()
            trace = run.read_trace()[previous_lines:]
            for phase in ("restore", "compile", "step"):
                if any(line.startswith(f"main {phase}") for line in trace):
                    times.setdefault(phase, time.perf_counter() - start)
            if sum(line.startswith("main step") for line in trace) > 1:
                times["second step"] = time.perf_counter() - start
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    return times


def test_a_run_resumes_within_five_seconds_at_any_step(interrupted_at_ten, tmp_path):
    seconds = {}
    for step in (10, 10**6):
        times = measure_start(advance_to_step(interrupted_at_ten, tmp_path / str(step), step))
        compiling = times["step"] - times["compile"]
        seconds[step] = times["second step"] - times["restore"] - compiling
        print(
            f"\nresumed at step {step:,}: {seconds[step]:.2f} s until the second step, without "
            f"{times['restore']:.2f} s of imports, which a new run needs too, and {compiling:.2f} "
            "s of compilation"
        )
    assert max(seconds.values()) < 5
    assert seconds[10**6] - seconds[10] < 1
