"""Jobs of two processes on loopback, with two simulated devices each: losses, kills, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from faults.cluster.cluster_job import ClusterJob, describe_process, find_free_port
from small_configs import assert_same_run, read_losses
from waiting import TIMEOUT_SECONDS

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import finding
from ssl_jax.training.metric_writer import read_records


def make_run(workdir, data_dir, processes=2, **options):
    return ClusterJob("two_processes.py", workdir, data_dir, processes, 4 // processes, **options)


@pytest.fixture(scope="module")
def single_process(data_dir, tmp_path_factory):
    """The workdir of a run in one process with four devices."""
    folder = tmp_path_factory.mktemp("single_process")
    codes, errors = make_run(folder, data_dir, 1).wait()
    assert codes == [0], errors
    return folder


def test_two_processes_repeat_the_run_of_one(single_process, data_dir, tmp_path, faults):
    codes, errors = make_run(tmp_path, data_dir, launcher="srun").wait()
    assert codes == [0, 0], errors
    assert_same_run(single_process, tmp_path)
    faults.record("2 processes × 2 devices instead of 1 × 4", 1, 1, "nothing")


@pytest.mark.parametrize(("killed", "restart"), [(1, 1), (0, 2)])
def test_a_killed_process_ends_the_job_and_a_restart_resumes_it(
    killed, restart, single_process, data_dir, tmp_path, faults
):
    job = make_run(tmp_path, data_dir)
    job.wait_for_checkpoint(tmp_path / "checkpoints" / "8")
    job.processes[killed].kill()
    codes, errors = job.wait()
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] != 0
    if killed == 1:
        assert codes[0] == STOPPED
        line = errors[0].splitlines()[-1]
        assert line.startswith("error: process 1 (of 2, counted from 0) has sent no heartbeat for")
        assert "run the same command again to resume from the newest checkpoint" in line
    else:  # process 0 runs the coordination service, so that jax reports the error
        assert "another task died" in errors[1] or "does not answer" in errors[1]
    fault = f"kill -9 of process {killed} of 2, resumed with {restart}"
    faults.record(fault, 1, 1, f"{codes[1 - killed]}: {errors[1 - killed].splitlines()[-1]}")
    codes, errors = make_run(tmp_path, data_dir, restart).wait()
    assert codes == [0] * restart, errors
    assert_same_run(single_process, tmp_path)
    assert len(read_losses(tmp_path)) == len(read_losses(single_process))


def test_a_signal_to_one_process_stops_all_with_one_checkpoint(
    single_process, data_dir, tmp_path, faults
):
    job = make_run(tmp_path, data_dir)
    job.wait_for_checkpoint(tmp_path / "checkpoints" / "8")
    job.processes[1].send_signal(signal.SIGUSR1)
    codes, errors = job.wait()
    assert codes == [STOPPED, STOPPED], errors
    stopped_at = int(finding.find_newest_checkpoint(tmp_path).name)
    assert stopped_at % 8, "the signal saved no checkpoint"
    codes, errors = make_run(tmp_path, data_dir, 1).wait()
    assert codes == [0], errors
    assert_same_run(single_process, tmp_path)
    faults.record("SIGUSR1 to one process of 2", 1, 1, "75 from both: interrupted; …")


def test_a_failed_process_ends_the_others(data_dir, tmp_path, faults):
    overrides = {1: ["--config.data.train=training"]}
    codes, errors = make_run(tmp_path, data_dir, overrides=overrides).wait()
    assert codes == [STOPPED, 2]
    assert "no split 'training'" in errors[1]
    assert "error: process 1 (of 2, counted from 0) has failed with exit code 2" in errors[0]
    faults.record("an error of one process of 2", 1, 1, f"75: {errors[0].splitlines()[-1]}")


@pytest.mark.parametrize("finished", [True, False])
def test_processes_with_different_views_of_the_workdir_act_alike(
    finished, single_process, data_dir, tmp_path, faults
):
    """Process 1 does not see files that process 0 sees, as with a stale cache of NFS."""
    workdir = tmp_path / "run"
    shutil.copytree(single_process, workdir)
    hidden = "results.json"
    if not finished:
        (workdir / "results.json").unlink()
        for step in (48, 50):  # the next one has been evaluated
            shutil.rmtree(workdir / "checkpoints" / str(step))
        skipped = [{"step": 45, "loss": "nan", "objective": "mae", "examples": [], "skipped": True}]
        (workdir / "bad_losses.json").write_text(json.dumps(skipped))
        hidden = "results.json manifest.json metrics.jsonl bad_losses.json"
    codes, errors = make_run(workdir, data_dir, variables={"FAULTS_STALE": hidden}).wait()
    assert codes == [0, 0], errors
    if finished:
        assert_same_run(single_process, workdir)
    else:
        records = read_records(workdir / "metrics.jsonl")
        steps = [record["step"] for record in records if record["phase"] == "evaluation"]
        assert steps == [10, 20, 30, 40, 50]
        assert [record["step"] for record in records if record["phase"] == "skipped"] == [45]
    faults.record(f"process 1 does not see {hidden}", 1, 1, "nothing")


def test_processes_with_different_views_of_a_search_act_alike(data_dir, tmp_path, faults):
    rates = (0.01, 0.1)
    results = [
        {"learning_rate": rate, "metric": "top1", "figure": rate, "steps": 2, "seconds": 1.0}
        for rate in rates
    ]
    record = {"validation": "", "candidates": results}
    (tmp_path / "search.json").write_text(json.dumps(record))
    job = ClusterJob(
        "two_processes.py:search",
        tmp_path,
        data_dir,
        variables={"FAULTS_STALE": "search.json"},
    )
    codes, errors = job.wait()
    assert codes == [0, 0], errors
    assert json.loads((tmp_path / "results.json").read_text())["search"]["learning_rate"] == 0.1
    faults.record("process 1 does not see search.json", 1, 1, "nothing")


@pytest.mark.parametrize("launcher", ["user", "srun"])
def test_a_process_whose_others_do_not_come_ends_with_one_line(launcher, faults):
    port = find_free_port()
    script = "from ssl_jax.devices import cluster; cluster._JOIN_TIMEOUT = 3; cluster.join_job()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **describe_process(launcher, port + index, 2, index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)  # at different addresses, so that neither finds the other
    ]
    for index, process in enumerate(processes):
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == STOPPED
        assert errors.startswith(f"error: process {index} of 2, counted from 0: not all processes")
        assert errors.count("\n") == 1
    faults.record("a node that does not come", 2, 2, f"75: {errors}")
