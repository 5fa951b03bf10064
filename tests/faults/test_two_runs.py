"""Two runs in one workdir: the second is refused unless the first has ended."""

import os
import socket

from faults.harness import assert_equal_runs
from waiting import wait_for


def test_a_second_run_in_a_workdir_is_refused_and_the_lock_of_a_dead_run_ignored(
    job, tmp_path, faults
):
    uninterrupted = job("mae", tmp_path / "uninterrupted", "steps=20").run_to_completion()
    run = job("mae", tmp_path / "run", "steps=20")
    first = run.start()
    try:
        wait_for((run.workdir / ".lock").exists, first)
        os.kill(first.pid, 19)  # SIGSTOP: keeps the process alive until the second run has tried
        second = run.run()
        assert second.code == 2
        owner = f"process {first.pid} on {socket.gethostname()}"
        line = f"error: workdir {run.workdir}: another process is training in it ({owner}); wait"
        assert second.errors.startswith(line)
        assert second.errors.count("\n") == 1
        assert not second.output
    finally:
        first.kill()
        first.communicate()
    assert (run.workdir / ".lock").exists()
    run.run_to_completion()
    assert not (run.workdir / ".lock").exists()
    assert_equal_runs(uninterrupted, run)
    faults.record("a second run in the workdir", 1, 1, f"2: {second.errors.strip()}")
    faults.record("the lock of a run ended by kill -9", 1, 1, "nothing: it resumes")
