"""kill -9 at fifty moments, each followed by the same command: the bits of the undisturbed run."""

import collections
import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.harness import Ended, Job, assert_equal_runs

from ssl_jax import seal

STEPS = 200
KILLS = 25  # of each run


def moments(chance: random.Random, steps: int) -> list[str]:
    """When to kill: (phase, times it was come to, seconds since), at random; the end comes last."""

    def at(phase: str, times: int, seconds: float) -> str:
        return f"9 {phase} {chance.randint(1, times)} {chance.uniform(0, seconds):.5f}"

    under_way = [
        *(at("start", 1, 0.0), at("restore", 1, 0.5)),
        *(at("compile", 1, 4.0) for _ in range(4)),  # any moment of the seconds after
        *(at("step", 6, 0.05) for _ in range(4)),
        *(at("evaluation", 2, 0.02), at("probe", 1, 0.0)),
        *(at("save", 2, 0.01), at("write", 2, 0.01), at("write", 2, 0.2)),
        *(at("seal", 2, 0.001), at("seal", 2, 0.005), at("delete", 2, 0.0002)),
    ]
    chance.shuffle(under_way)
    last = [at(f"{phase}@{steps}", 1, 0.002) for phase in ("evaluation", "write", "seal")]
    return [*under_way, *last, at("finish", 1, 0.02)]


def killed(job: Job, seed: int) -> collections.Counter[str]:
    """Kill a run `KILLS` times, then let it end; the phases it was killed in."""
    chance = random.Random(seed)
    planned = moments(chance, STEPS)
    early = [None] * 2 + ["cold"] * (KILLS - 2 - len(planned))
    for kind in early:  # somewhere among the first, where they hold nothing up
        planned.insert(chance.randint(0, 10), kind)
    phases: collections.Counter[str] = collections.Counter()
    sound = -1
    for number, moment in enumerate(planned):
        if moment is None:
            ended = killed_after(job, chance.uniform(0.1, 2.0))
        elif moment == "cold":  # nothing is compiled yet, and what is being kept is cut off
            cold = job.workdir.with_name(f"{job.workdir.name}.xla{number}")
            moment = f"9 compile 1 {chance.uniform(0.5, 3.0)}"
            ended = job.run(moment, JAX_COMPILATION_CACHE_DIR=str(cold))
        else:
            ended = job.run(moment)
        assert ended.code == -signal.SIGKILL, (moment, ended)
        phases[ended.phase] += 1
        assert sound <= (sound := newest_sound(job)), (moment, ended)  # and was never deleted
    assert phases.total() == KILLS
    job.done()
    return phases


def newest_sound(job: Job) -> int:
    """The newest sound bundle's step; -1 if there is none yet."""
    bundles = [path for path in (job.workdir / "checkpoints").glob("*") if seal.is_sealed(path)]
    return max((int(path.name) for path in bundles if not seal.damage(path)), default=-1)


def killed_after(job: Job, seconds: float) -> Ended:
    lines = len(job.lines())
    process = job.start()
    time.sleep(seconds)
    process.kill()
    output, errors = process.communicate()
    return Ended(process.returncode, output, errors, job.lines()[lines:])


def test_a_run_killed_at_any_moment_ends_in_the_same_bits(job, tmp_path, faults):
    def both(kind: str, devices: int, seed: int) -> collections.Counter[str]:
        undisturbed, survivor = (
            job(kind, tmp_path / f"{kind}_{name}", f"steps={STEPS}", devices=devices)
            for name in ("undisturbed", "killed")
        )
        undisturbed.done()
        phases = killed(survivor, seed)
        assert_equal_runs(undisturbed, survivor)
        return phases

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(both, "simclr", 2, 1), pool.submit(both, "mae", 1, 2)]
        phases = sum((future.result() for future in found), collections.Counter())
    start = {"imports", "start", "restore", "compile"}
    assert phases.keys() >= start | {"step", "evaluation", "probe", "save"}, phases
    assert phases.keys() >= {"write", "seal", "finish"}, phases
    for phase, times in sorted(phases.items()):
        faults.record(f"kill -9 in phase {phase}", times, times, "nothing: it goes on")


def test_a_compiled_program_cut_off_by_a_kill_is_compiled_again(job, tmp_path, faults):
    whole = tmp_path / "xla"
    undisturbed = job("mae", tmp_path / "undisturbed", "steps=5", cache=whole).done()
    left = (0, 100, 10_000)  # bytes
    for size in left:
        cache = Path(shutil.copytree(whole, tmp_path / f"xla{size}"))
        for program in cache.glob("*-cache"):
            program.write_bytes(program.read_bytes()[:size])
        again = job("mae", tmp_path / f"again{size}", "steps=5", cache=cache).done()
        assert_equal_runs(undisturbed, again)
    faults.record("a compiled program cut off by a kill", len(left), len(left), "it is recompiled")
