"""Studies in jobs of two processes: a failure in one, and a signal to one that waits."""

import json
import signal
import socket
import time
from functools import partial

from corruption import copy_dataset, corrupt_records
from faults.cluster.cluster_job import ClusterJob
from waiting import wait_for

from data_pipelines.errors import STOPPED

TILES = "demo_tiles/tiny"


def make_study(workdir, data_dir, *arguments, processes=2, **variables):
    return ClusterJob(
        "three_runs.py",
        workdir,
        data_dir,
        processes,
        command="ssl_jax.study",
        overrides={0: arguments},
        variables=variables,
    )


def test_after_a_failure_in_one_process_the_study_goes_on_in_both(data_dir, tmp_path, faults):
    folder, workdir = tmp_path / "corrupt", tmp_path / "study"
    shard = copy_dataset(data_dir, TILES, folder)["train"]
    corrupt_records(shard, TILES, folder, "train", [5])
    job = make_study(workdir, data_dir, FAULTS_CORRUPT=str(folder))
    codes, errors = job.wait()
    assert codes == [1, 1], errors
    failure = (workdir / "first" / "failure.txt").read_text()
    assert shard.name in failure
    assert failure.count("\n") == 1
    assert job.outputs[0].count("first: FAILED: ") == 1
    assert "FAILED" not in job.outputs[1]
    assert not (workdir / "first" / "results.json").exists()
    for run in ("second", "third"):
        assert json.loads((workdir / run / "results.json").read_text())["status"] == "done"
    faults.record("a flipped bit read by one process of 2, in a study", 1, 1, f"1: {failure}")


def test_a_process_that_waits_for_another_ends_after_a_signal(data_dir, tmp_path, faults):
    """Process 1 hangs, and still sends heartbeats; process 0 waits for it in a collective."""
    job = make_study(tmp_path, data_dir, FAULTS_SLEEP="1 12")
    job.wait_for_checkpoint(tmp_path / "first" / "checkpoints" / "8")
    wait_for(lambda: job.processes[1].stdout.readline() == "sleeping\n", *job.processes)
    time.sleep(3)  # until process 0 waits
    job.processes[0].send_signal(signal.SIGTERM)
    began = time.monotonic()
    codes, errors = job.wait()
    assert time.monotonic() - began < 60  # 30 on an idle machine
    assert codes == [STOPPED, STOPPED]
    line = errors[0].splitlines()[-1]
    assert line.startswith("error: a signal asked to stop, but this process waits for another one")
    assert f"the newest checkpoint is {tmp_path}/first/checkpoints/8;" in line
    assert "process 0 (of 2, counted from 0) was stopped by a signal" in errors[1].splitlines()[-1]
    faults.record("SIGTERM to a process that waits in a collective", 1, 1, f"75: {line}")


def test_a_run_in_progress_on_another_node_is_left_to_it(data_dir, tmp_path, faults):
    """Two jobs train runs of one study, in a folder without locks of the operating system."""
    start = partial(make_study, tmp_path, data_dir, processes=1, FAULTS_NO_LOCKS="1")
    other = start("--only=second", FAULTS_SLEEP="0 12")
    other.wait_for_checkpoint(tmp_path / "second" / "checkpoints" / "8")

    job = start()
    codes, errors = job.wait()
    assert codes == [0], errors
    owner = f"process {other.processes[0].pid} on {socket.gethostname()}"
    assert f"second: running elsewhere: workdir {tmp_path}/second: another" in job.outputs[0]
    assert f"is training in it ({owner})" in job.outputs[0]
    assert errors[0].count("has no locks (Function not implemented)") == 1
    assert f"running elsewhere: second: by {owner}" in errors[0].splitlines()[-1]
    assert {path.parent.name for path in tmp_path.glob("*/results.json")} == {"first"}
    assert not list(tmp_path.glob("*/failure.txt"))

    refused = start("--only=third")
    assert refused.wait() == (
        [2],
        [
            "error: --only third: needs second, which is not done (running elsewhere by "
            f"{owner}); wait for it\n"
        ],
    )

    other.processes[0].kill()
    other.wait()
    codes, errors = start().wait()
    assert codes == [0], errors
    assert len(list(tmp_path.glob("*/results.json"))) == 3
    faults.record("a run in progress on another node, without flock", 1, 1, job.outputs[0])
