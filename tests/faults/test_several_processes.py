"""Jobs of two processes on loopback, with two simulated devices each: losses, kills, signals."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax_environment
import pytest
from faults.harness import CACHE
from small_configs import assert_same_run, read_losses
from waiting import TIMEOUT_SECONDS, wait_for

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import loading

CONFIG = Path(__file__).parent / "configs" / "two_processes.py"


class Job:
    """The processes of one run.

    Args:
        workdir: Workdir of the run.
        data_dir: Folder of the tiny datasets.
        processes: Number of processes.
        devices: Number of devices of each process.
        overrides: Arguments of single processes, by process index.
    """

    def __init__(self, workdir, data_dir, processes, devices, overrides=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, **jax_environment.make_environment(devices, CACHE)}
        self.processes = []
        for index in range(processes):
            cluster = {
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_PROCESS_COUNT": str(processes),
                "JAX_PROCESS_ID": str(index),
            }
            command = [sys.executable, "-m", "ssl_jax.train", f"--config={CONFIG}"]
            command += [f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"]
            self.processes.append(
                subprocess.Popen(
                    command + (overrides or {}).get(index, []),
                    env=environment | (cluster if processes > 1 else {}),
                    stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

    def wait(self):
        """Wait for the end of all processes, and return their exit codes and texts on stderr."""
        outputs = [process.communicate(timeout=TIMEOUT_SECONDS) for process in self.processes]
        return [process.returncode for process in self.processes], [text[1] for text in outputs]

    def wait_for_checkpoint(self, checkpoint):
        """Wait until a checkpoint is complete."""
        wait_for((checkpoint / "manifest.json").exists, *self.processes)


@pytest.fixture(scope="module")
def single_process(data_dir, tmp_path_factory):
    """The workdir of a run in one process with four devices."""
    folder = tmp_path_factory.mktemp("single_process")
    codes, errors = Job(folder, data_dir, 1, 4).wait()
    assert codes == [0], errors
    return folder


def test_two_processes_repeat_the_run_of_one(single_process, data_dir, tmp_path, faults):
    codes, errors = Job(tmp_path, data_dir, 2, 2).wait()
    assert codes == [0, 0], errors
    assert_same_run(single_process, tmp_path)
    faults.record("2 processes × 2 devices instead of 1 × 4", 1, 1, "nothing")


@pytest.mark.parametrize(("killed", "restart"), [(1, 1), (0, 2)])
def test_a_killed_process_ends_the_job_and_a_restart_resumes_it(
    killed, restart, single_process, data_dir, tmp_path, faults
):
    job = Job(tmp_path, data_dir, 2, 2)
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
    codes, errors = Job(tmp_path, data_dir, restart, 4 // restart).wait()
    assert codes == [0] * restart, errors
    assert_same_run(single_process, tmp_path)
    assert len(read_losses(tmp_path)) == len(read_losses(single_process))


def test_a_signal_to_one_process_stops_all_with_one_checkpoint(
    single_process, data_dir, tmp_path, faults
):
    job = Job(tmp_path, data_dir, 2, 2)
    job.wait_for_checkpoint(tmp_path / "checkpoints" / "8")
    job.processes[1].send_signal(signal.SIGUSR1)
    codes, errors = job.wait()
    assert codes == [STOPPED, STOPPED], errors
    stopped_at = int(loading.find_newest_checkpoint(tmp_path).name)
    assert stopped_at % 8, "the signal saved no checkpoint"
    codes, errors = Job(tmp_path, data_dir, 1, 4).wait()
    assert codes == [0], errors
    assert_same_run(single_process, tmp_path)
    faults.record("SIGUSR1 to one process of 2", 1, 1, "75 from both: interrupted; …")


def test_a_failed_process_ends_the_others(data_dir, tmp_path, faults):
    overrides = {1: ["--config.data.train=training"]}
    codes, errors = Job(tmp_path, data_dir, 2, 2, overrides).wait()
    assert codes == [STOPPED, 2]
    assert "no split 'training'" in errors[1]
    assert "error: process 1 (of 2, counted from 0) has failed with exit code 2" in errors[0]
    faults.record("an error of one process of 2", 1, 1, f"75: {errors[0].splitlines()[-1]}")
