"""A job of two processes on loopback, with two fake devices each: the losses, a death, a signal."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import compiling
import pytest
from faults.harness import CACHE
from small import assert_same_run, losses
from waiting import HANG, wait_for

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import loading

CONFIG = Path(__file__).parent / "configs" / "two_processes.py"


class Job:
    """The processes of one run.

    Args:
        workdir: of the run.
        data_dir: where the tiny datasets are.
        processes: how many there are.
        devices: of each of them.
        own: overrides that only the process of that number gets.
    """

    def __init__(self, workdir, data_dir, processes, devices, own=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, **compiling.environment(devices, CACHE)}
        self.processes = []
        for number in range(processes):
            cluster = {
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_PROCESS_COUNT": str(processes),
                "JAX_PROCESS_ID": str(number),
            }
            command = [sys.executable, "-m", "ssl_jax.train", f"--config={CONFIG}"]
            command += [f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"]
            self.processes.append(
                subprocess.Popen(
                    command + (own or {}).get(number, []),
                    env=environment | (cluster if processes > 1 else {}),
                    stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

    def ends(self):
        """Exit codes and what was said on stderr, once all have ended."""
        said = [process.communicate(timeout=HANG) for process in self.processes]
        return [process.returncode for process in self.processes], [text[1] for text in said]

    def reaches(self, checkpoint):
        """Wait until a bundle is complete."""
        wait_for((checkpoint / "manifest.json").exists, *self.processes)


@pytest.fixture(scope="module")
def alone(data_dir, tmp_path_factory):
    """The workdir of one process with four devices."""
    folder = tmp_path_factory.mktemp("alone")
    codes, said = Job(folder, data_dir, 1, 4).ends()
    assert codes == [0], said
    return folder


def test_two_processes_train_what_one_does(alone, data_dir, tmp_path, faults):
    codes, said = Job(tmp_path, data_dir, 2, 2).ends()
    assert codes == [0, 0], said
    assert_same_run(alone, tmp_path)
    faults.record("2 processes × 2 devices for 1 × 4", 1, 1, "nothing")


@pytest.mark.parametrize(("killed", "restart"), [(1, 1), (0, 2)])
def test_a_killed_process_ends_the_job_and_a_restart_goes_on(
    killed, restart, alone, data_dir, tmp_path, faults
):
    job = Job(tmp_path, data_dir, 2, 2)
    job.reaches(tmp_path / "checkpoints" / "8")
    job.processes[killed].kill()
    codes, said = job.ends()
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] != 0
    if killed == 1:
        assert codes[0] == STOPPED
        line = said[0].splitlines()[-1]
        assert line.startswith("error: process 1 of the 2 of this job has not been heard of for")
        assert "the same command goes on from the newest bundle" in line
    else:  # with the first process the job's own service goes, and jax speaks first
        assert "another task died" in said[1] or "does not answer" in said[1]
    fault = f"kill -9 of process {killed} of 2, on with {restart}"
    faults.record(fault, 1, 1, f"{codes[1 - killed]}: {said[1 - killed].splitlines()[-1]}")
    codes, said = Job(tmp_path, data_dir, restart, 4 // restart).ends()
    assert codes == [0] * restart, said
    assert_same_run(alone, tmp_path)
    assert len(losses(tmp_path)) == len(losses(alone))


def test_a_signal_to_one_process_stops_all_with_one_bundle(alone, data_dir, tmp_path, faults):
    job = Job(tmp_path, data_dir, 2, 2)
    job.reaches(tmp_path / "checkpoints" / "8")
    job.processes[1].send_signal(signal.SIGUSR1)
    codes, said = job.ends()
    assert codes == [STOPPED, STOPPED], said
    stopped_at = int(loading.find_newest_checkpoint(tmp_path).name)
    assert stopped_at % 8, "a bundle of the signal's own"
    codes, said = Job(tmp_path, data_dir, 1, 4).ends()
    assert codes == [0], said
    assert_same_run(alone, tmp_path)
    faults.record("SIGUSR1 to one process of 2", 1, 1, "75 from both: stopped as asked; …")


def test_a_process_that_fails_does_not_keep_the_others_waiting(data_dir, tmp_path, faults):
    mistaken = {1: ["--config.data.train=training"]}
    codes, said = Job(tmp_path, data_dir, 2, 2, mistaken).ends()
    assert codes == [STOPPED, 2]
    assert "no split 'training'" in said[1]
    assert "error: process 1 of the 2 of this job has ended with exit code 2" in said[0]
    faults.record("a mistake of one process of 2", 1, 1, f"75: {said[0].splitlines()[-1]}")
