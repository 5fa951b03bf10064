"""SIGTERM and SIGUSR1 in any phase: the run saves within a step, exits with code 75 and resumes."""

import signal
import subprocess
import sys

import pytest
from faults.harness import Job, assert_equal_runs
from waiting import TIMEOUT_SECONDS, wait_for_file

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import finding, loading
from ssl_jax.training.metric_writer import read_records

# Names of phases for the table of faults, and moments as in $FAULTS_SEND. The run is resumed after
# each of them.
MOMENTS = {
    "mae": (
        ("compilation", "compile 1 0.3"),
        ("step", "step 3 0"),
        ("saving", "save 1 0"),
        ("writing the manifest", "manifest 1 0"),
        ("evaluation", "evaluation 1 0"),
        ("probe", "probe 1 0"),
        ("another step", "step 1 0"),
        ("step without an evaluation since", "step 1 0"),
        ("final evaluation", "evaluation@40 1 0"),
    ),
    "classification": (
        ("start-up, after imports", "restore 1 0"),
        ("feature extraction", "features 1 0"),
        ("step", "step 2 0.002"),
    ),
}


def read_metrics(run: Job, phase: str) -> list[dict[str, float]]:
    """Read the metrics of a phase from the log."""
    records = [r for r in read_records(run.workdir / "metrics.jsonl") if r["phase"] == phase]
    return [{name: r[name] for name in r if name not in ("step", "phase")} for r in records]


@pytest.mark.parametrize("kind", MOMENTS)
def test_a_signal_in_any_phase_saves_a_checkpoint_within_a_step(kind, job, tmp_path, faults):
    uninterrupted = job(kind, tmp_path / "uninterrupted").run_to_completion()
    resumed = job(kind, tmp_path / "signalled")
    last_step = 0
    for index, (phase, moment) in enumerate(MOMENTS[kind]):
        sent = (signal.SIGTERM, signal.SIGUSR1)[index % 2]
        ended = resumed.run(f"{int(sent)} {moment}")
        assert ended.code == STOPPED, ended
        assert f"run the same command again to resume in {resumed.workdir}\n" in ended.errors
        sent_at = next(i for i, line in enumerate(ended.trace) if line.startswith("sent "))
        steps_since = [line for line in ended.trace[sent_at:] if line.startswith("main step ")]
        assert len(steps_since) <= 1
        last_step = max(last_step, ended.last_step)
        assert int(finding.find_newest_checkpoint(resumed.workdir).name) == last_step
        evaluations = read_metrics(resumed, "evaluation")
        metrics = loading.load_card(resumed.workdir)["metrics"]
        assert metrics == (evaluations[-1] if evaluations else {})
        faults.record(f"{sent.name} in phase {phase}", 1, 1, f"{STOPPED}: interrupted; …")
    resumed.run_to_completion()
    assert_equal_runs(uninterrupted, resumed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_during_imports_ends_the_process_without_loss(number, job, tmp_path, faults):
    stopped = job("mae", tmp_path / "run", "steps=3")
    ended = stopped.run(f"{int(number)} start 1 0")
    assert ended.code == -number
    assert not stopped.workdir.exists()
    stopped.run_to_completion()
    faults.record(f"{number.name} during imports", 1, 1, f"{128 + number}: the shell's message")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("name", ["build", "study"])
def test_a_signal_while_data_is_prepared_leaves_no_incomplete_files(name, number, tmp_path, faults):
    data_dir, folder = tmp_path / "data", tmp_path / "study"
    command = {
        "build": ["data_pipelines.build", "demo_tiles/small", "--data_dir", str(data_dir)],
        "study": [
            *("ssl_jax.study", "--config", "configs/study/quickstart.py"),
            *("--workdir", str(folder), f"--config.data_dir={data_dir}"),
        ],
    }[name]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for_file(data_dir, "*.incomplete", process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
    assert process.returncode == STOPPED, errors
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []
    assert not list(folder.rglob("config.json"))
    line = errors.splitlines()[-1]
    faults.record(f"{number.name} while data is prepared ({name})", 1, 1, f"{STOPPED}: {line}")
