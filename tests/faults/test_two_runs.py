"""Two runs in one workdir: the second is refused, unless the first one is dead."""

import os

from faults.harness import assert_equal_runs
from waiting import wait_for


def test_a_second_run_in_a_workdir_is_refused_and_a_dead_one_is_not_in_the_way(
    job, tmp_path, faults
):
    undisturbed = job("mae", tmp_path / "undisturbed", "steps=20").done()
    run = job("mae", tmp_path / "run", "steps=20")
    first = run.start()
    try:
        wait_for((run.workdir / ".lock").exists, first)
        os.kill(first.pid, 19)  # SIGSTOP: alive, and not done before the second asks
        second = run.run()
        assert second.code == 2
        line = f"error: workdir {run.workdir}: another process is training in it; wait for it"
        assert second.errors.startswith(line)
        assert second.errors.count("\n") == 1
        assert not second.output
    finally:
        first.kill()
        first.communicate()
    assert (run.workdir / ".lock").exists()
    run.done()
    assert not (run.workdir / ".lock").exists()
    assert_equal_runs(undisturbed, run)
    faults.record("a second run in the workdir", 1, 1, f"2: {second.errors.strip()}")
    faults.record("the lock of a run killed by -9", 1, 1, "nothing: it goes on")
