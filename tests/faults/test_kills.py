"""kill -9 at fifty moments, each time resumed by the same command: bitwise equal results.

With `--kills N` only N of the fifty are tried, sampled by the hash of the commit, so that over many
commits all are tried.
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

from faults.harness import EndedProcess, Job, assert_equal_runs

from ssl_jax.checkpoints import manifest

STEPS = 200
RUNS = {"simclr": (2, 1), "mae": (1, 2)}  # number of devices, and the seed of the moments
KILLS_PER_RUN = 25
ALL_KILLS = KILLS_PER_RUN * len(RUNS)


def plan_moments(kind: str) -> list[str]:
    """Sample the moments at which a run is killed: as in $FAULTS_SEND, `cold …` or `after …`."""
    rng = random.Random(RUNS[kind][1])

    def sample(phase: str, max_occurrence: int, seconds: float) -> str:
        return f"9 {phase} {rng.randint(1, max_occurrence)} {rng.uniform(0, seconds):.5f}"

    moments = [
        *(sample("start", 1, 0.0), sample("restore", 1, 0.5)),
        *(sample("compile", 1, 4.0) for _ in range(4)),  # anywhere in the following seconds
        *(sample("step", 6, 0.05) for _ in range(4)),
        *(sample("evaluation", 2, 0.02), sample("probe", 1, 0.0)),
        *(sample("save", 2, 0.01), sample("write", 2, 0.01), sample("write", 2, 0.2)),
        *(sample("manifest", 2, 0.001), sample("manifest", 2, 0.005), sample("delete", 2, 0.0002)),
    ]
    rng.shuffle(moments)
    last = [sample(f"{phase}@{STEPS}", 1, 0.002) for phase in ("evaluation", "write", "manifest")]
    planned = [*moments, *last, sample("finish", 1, 0.02)]
    extra = ["after", "after", *["cold"] * (KILLS_PER_RUN - 2 - len(planned))]
    for word in extra:  # among the first, where they take the least time
        planned.insert(rng.randint(0, 10), word)
    seconds = {"after": (0.1, 2.0), "cold": (0.1, 1.5)}
    return [
        f"{word} {rng.uniform(*seconds[word]):.5f}" if word in seconds else word for word in planned
    ]


def sample_kills(number: int, commit: str) -> dict[str, list[int]]:
    """Sample `number` of the planned moments by the hash of a commit; returns their indices."""
    rng = random.Random(commit)
    counts = [number // 2, number - number // 2]
    return {
        kind: sorted(rng.sample(range(KILLS_PER_RUN), min(count, KILLS_PER_RUN)))
        for kind, count in zip(RUNS, counts, strict=True)
    }


def kill_repeatedly(job: Job, moments: Iterable[str]) -> collections.Counter[str]:
    """Kill a run at each of the moments, then complete it; returns the phases of the kills."""
    phases: collections.Counter[str] = collections.Counter()
    newest = -1
    for index, moment in enumerate(moments):
        word, *rest = moment.split()
        if word == "after":
            ended = kill_after(job, float(rest[0]))
        elif word == "cold":  # with an empty compilation cache, whose entries are cut short
            cache = job.workdir.with_name(f"{job.workdir.name}.xla{index}")
            ended = job.run(f"9 compile 1 {rest[0]}", JAX_COMPILATION_CACHE_DIR=str(cache))
        else:
            ended = job.run(moment)
        assert ended.code == -signal.SIGKILL, (moment, ended)
        phases[ended.phase] += 1
        # Valid checkpoints are never lost.
        assert newest <= (newest := find_newest_valid_step(job)), (moment, ended)
    job.run_to_completion()
    return phases


def find_newest_valid_step(job: Job) -> int:
    """Find the step of the newest valid checkpoint; -1 if there is none."""
    checkpoints = [
        path for path in (job.workdir / "checkpoints").glob("*") if manifest.is_complete(path)
    ]
    return max(
        (int(path.name) for path in checkpoints if not manifest.find_corruption(path)), default=-1
    )


def kill_after(job: Job, seconds: float) -> EndedProcess:
    previous_lines = len(job.read_trace())
    process = job.start()
    time.sleep(seconds)
    process.kill()
    output, errors = process.communicate()
    return EndedProcess(process.returncode, output, errors, job.read_trace()[previous_lines:])


def test_a_run_killed_at_any_moment_resumes_to_equal_results(job, tmp_path, faults, request):
    number = min(request.config.getoption("--kills", ALL_KILLS), ALL_KILLS)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    indices = sample_kills(number, commit)

    def compare_runs(kind: str) -> collections.Counter[str]:
        uninterrupted, resumed = (
            job(kind, tmp_path / f"{kind}_{name}", f"steps={STEPS}", devices=RUNS[kind][0])
            for name in ("uninterrupted", "killed")
        )
        uninterrupted.run_to_completion()
        moments = plan_moments(kind)
        phases = kill_repeatedly(resumed, [moments[i] for i in indices[kind]])
        assert phases.total() == len(indices[kind])
        assert_equal_runs(uninterrupted, resumed)
        return phases

    with ThreadPoolExecutor(len(RUNS)) as pool:
        phases = sum(pool.map(compare_runs, RUNS), collections.Counter())
    if number == ALL_KILLS:
        start = {"imports", "start", "restore", "compile"}
        assert phases.keys() >= start | {"step", "evaluation", "probe", "save"}, phases
        assert phases.keys() >= {"write", "manifest", "finish"}, phases
    which = "; ".join(f"{kind} {' '.join(map(str, at))}" for kind, at in indices.items())
    faults.record(f"kill -9 at these moments: {which}", number, number, "nothing: it resumes")
    for phase, times in sorted(phases.items()):
        faults.record(f"… of them in phase {phase}", times, times, "nothing: it resumes")


def test_over_many_commits_every_kill_is_tried():
    tried = set()
    for commit in map(str, range(100)):
        kills = [(kind, i) for kind, indices in sample_kills(8, commit).items() for i in indices]
        assert len(set(kills)) == 8
        tried.update(kills)
    assert tried == {(kind, i) for kind in RUNS for i in range(KILLS_PER_RUN)}
    assert all(len(plan_moments(kind)) == KILLS_PER_RUN for kind in RUNS)
    assert sample_kills(ALL_KILLS, "any") == {kind: list(range(KILLS_PER_RUN)) for kind in RUNS}


def test_a_cached_program_truncated_by_a_kill_is_recompiled(job, tmp_path, faults):
    complete = tmp_path / "xla"
    uninterrupted = job(
        "mae", tmp_path / "uninterrupted", "steps=5", cache=complete
    ).run_to_completion()
    sizes = (0, 100, 10_000)  # bytes
    for size in sizes:
        cache = Path(shutil.copytree(complete, tmp_path / f"xla{size}"))
        for program in cache.glob("*-cache"):
            program.write_bytes(program.read_bytes()[:size])
        again = job("mae", tmp_path / f"again{size}", "steps=5", cache=cache).run_to_completion()
        assert_equal_runs(uninterrupted, again)
    faults.record(
        "a cached program truncated by a kill", len(sizes), len(sizes), "it is recompiled"
    )
