"""SIGTERM and SIGUSR1 in any phase: a bundle within a step, exit code 75, and on by the command."""

import signal
import subprocess
import sys

import pytest
from faults.harness import Job, assert_equal_runs
from waiting import HANG, wait_for

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import loading
from ssl_jax.training.metric_writer import read_records

# In which phase, and where nothing else is under way; the run is started again after each.
MOMENTS = {
    "mae": (
        ("compilation", "compile 1 0.3"),
        ("step", "step 3 0"),
        ("saving", "save 1 0"),
        ("sealing", "seal 1 0"),
        ("evaluation", "evaluation 1 0"),
        ("probe", "probe 1 0"),
        ("step, again", "step 1 0"),
        ("step, without an evaluation since", "step 1 0"),
        ("final evaluation", "evaluation@40 1 0"),
    ),
    "classification": (
        ("start-up, after imports", "restore 1 0"),
        ("feature extraction", "features 1 0"),
        ("step", "step 2 0.002"),
    ),
}


def records(run: Job, phase: str) -> list[dict[str, float]]:
    """The figures of a phase in the log."""
    found = [r for r in read_records(run.workdir / "metrics.jsonl") if r["phase"] == phase]
    return [{name: r[name] for name in r if name not in ("step", "phase")} for r in found]


@pytest.mark.parametrize("kind", MOMENTS)
def test_a_signal_saves_a_bundle_within_a_step_wherever_it_comes(kind, job, tmp_path, faults):
    undisturbed = job(kind, tmp_path / "undisturbed").done()
    survivor = job(kind, tmp_path / "signalled")
    stood_at = 0
    for number, (phase, moment) in enumerate(MOMENTS[kind]):
        sent = (signal.SIGTERM, signal.SIGUSR1)[number % 2]
        ended = survivor.run(f"{int(sent)} {moment}")
        assert ended.code == STOPPED, ended
        assert f"the same command goes on in {survivor.workdir}\n" in ended.errors
        sent_at = next(i for i, line in enumerate(ended.told) if line.startswith("sent "))
        begun_since = [line for line in ended.told[sent_at:] if line.startswith("main step ")]
        assert len(begun_since) <= 1
        stood_at = max(stood_at, ended.last_step)
        assert int(loading.find_newest_checkpoint(survivor.workdir).name) == stood_at
        evaluations = records(survivor, "evaluation")
        figures = loading.load_card(survivor.workdir)["metrics"]
        assert figures == (evaluations[-1] if evaluations else {})
        faults.record(f"{sent.name} in phase {phase}", 1, 1, f"{STOPPED}: stopped as asked; …")
    survivor.done()
    assert_equal_runs(undisturbed, survivor)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_during_imports_is_a_plain_death_that_loses_nothing(number, job, tmp_path, faults):
    stopped = job("mae", tmp_path / "run", "steps=3")
    ended = stopped.run(f"{int(number)} start 1 0")
    assert ended.code == -number
    assert not stopped.workdir.exists()
    stopped.done()
    faults.record(f"{number.name} during imports", 1, 1, f"{128 + number}: the shell's word")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("door", ["build", "study"])
def test_a_signal_while_data_is_prepared_leaves_nothing_half_written(
    door, number, tmp_path, faults
):
    data_dir, folder = tmp_path / "data", tmp_path / "study"
    command = {
        "build": ["data_pipelines.build", "demo_tiles/small", "--data_dir", str(data_dir)],
        "study": [
            *("ssl_jax.study", "--config", "configs/study/quickstart.py"),
            *("--workdir", str(folder), f"--config.data_dir={data_dir}"),
        ],
    }[door]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: list(data_dir.rglob("*.incomplete")), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=HANG)
    finally:
        process.kill()
    assert process.returncode == STOPPED, errors
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []
    assert not list(folder.rglob("config.json"))
    line = errors.splitlines()[-1]
    faults.record(f"{number.name} while data is prepared ({door})", 1, 1, f"{STOPPED}: {line}")
