"""kill -9 at fifty moments, each followed by the same command: the bits of the undisturbed run.

With `--kills N` it is N of the fifty, chosen by the commit's hash, so that over time all are tried.
"""

import collections
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.harness import Ended, Job, assert_equal_runs

from ssl_jax.checkpoints import manifest

STEPS = 200
RUNS = {"simclr": (2, 1), "mae": (1, 2)}  # on how many devices, and the seed of its plan
EACH = 25  # kills of each run
ALL = EACH * len(RUNS)


def plan(kind: str) -> list[str]:
    """The moments to kill a run at, in their order: as in $FAULTS_SEND, `cold …` or `after …`."""
    chance = random.Random(RUNS[kind][1])

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
    last = [at(f"{phase}@{STEPS}", 1, 0.002) for phase in ("evaluation", "write", "seal")]
    planned = [*under_way, *last, at("finish", 1, 0.02)]
    early = ["after", "after", *["cold"] * (EACH - 2 - len(planned))]
    for word in early:  # somewhere among the first, where they hold nothing up
        planned.insert(chance.randint(0, 10), word)
    seconds = {"after": (0.1, 2.0), "cold": (0.1, 1.5)}
    return [
        f"{word} {chance.uniform(*seconds[word]):.5f}" if word in seconds else word
        for word in planned
    ]


def chosen(number: int, commit: str) -> dict[str, list[int]]:
    """Which moments of each run's plan to kill it at: `number` in all, by the commit's hash."""
    chance = random.Random(commit)
    shares = [number // 2, number - number // 2]
    return {
        kind: sorted(chance.sample(range(EACH), min(share, EACH)))
        for kind, share in zip(RUNS, shares, strict=True)
    }


def killed(job: Job, moments: Iterable[str]) -> collections.Counter[str]:
    """Kill a run at each of the moments, then let it end; the phases it was killed in."""
    phases: collections.Counter[str] = collections.Counter()
    sound = -1
    for number, moment in enumerate(moments):
        word, *rest = moment.split()
        if word == "after":
            ended = killed_after(job, float(rest[0]))
        elif word == "cold":  # nothing is compiled yet, and what is being kept is cut off
            cold = job.workdir.with_name(f"{job.workdir.name}.xla{number}")
            ended = job.run(f"9 compile 1 {rest[0]}", JAX_COMPILATION_CACHE_DIR=str(cold))
        else:
            ended = job.run(moment)
        assert ended.code == -signal.SIGKILL, (moment, ended)
        phases[ended.phase] += 1
        assert sound <= (sound := newest_sound(job)), (moment, ended)  # and was never deleted
    job.done()
    return phases


def newest_sound(job: Job) -> int:
    """The newest sound bundle's step; -1 if there is none yet."""
    checkpoints = [
        path for path in (job.workdir / "checkpoints").glob("*") if manifest.is_complete(path)
    ]
    return max(
        (int(path.name) for path in checkpoints if not manifest.find_corruption(path)), default=-1
    )


def killed_after(job: Job, seconds: float) -> Ended:
    lines = len(job.lines())
    process = job.start()
    time.sleep(seconds)
    process.kill()
    output, errors = process.communicate()
    return Ended(process.returncode, output, errors, job.lines()[lines:])


def test_a_run_killed_at_any_moment_ends_in_the_same_bits(job, tmp_path, faults, request):
    number = min(request.config.getoption("--kills", ALL), ALL)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    places = chosen(number, commit)

    def both(kind: str) -> collections.Counter[str]:
        undisturbed, survivor = (
            job(kind, tmp_path / f"{kind}_{name}", f"steps={STEPS}", devices=RUNS[kind][0])
            for name in ("undisturbed", "killed")
        )
        undisturbed.done()
        planned = plan(kind)
        phases = killed(survivor, [planned[place] for place in places[kind]])
        assert phases.total() == len(places[kind])
        assert_equal_runs(undisturbed, survivor)
        return phases

    with ThreadPoolExecutor(len(RUNS)) as pool:
        phases = sum(pool.map(both, RUNS), collections.Counter())
    if number == ALL:
        start = {"imports", "start", "restore", "compile"}
        assert phases.keys() >= start | {"step", "evaluation", "probe", "save"}, phases
        assert phases.keys() >= {"write", "seal", "finish"}, phases
    which = "; ".join(f"{kind} {' '.join(map(str, at))}" for kind, at in places.items())
    faults.record(f"kill -9 at these moments: {which}", number, number, "nothing: it goes on")
    for phase, times in sorted(phases.items()):
        faults.record(f"… of them in phase {phase}", times, times, "nothing: it goes on")


def test_over_many_commits_every_kill_is_tried():
    tried = set()
    for commit in map(str, range(100)):
        places = [(kind, place) for kind, at in chosen(8, commit).items() for place in at]
        assert len(set(places)) == 8
        tried.update(places)
    assert tried == {(kind, place) for kind in RUNS for place in range(EACH)}
    assert all(len(plan(kind)) == EACH for kind in RUNS)
    assert chosen(ALL, "any") == {kind: list(range(EACH)) for kind in RUNS}


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
