"""Jobs of several processes on loopback, each process with simulated devices of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax_environment
from faults.harness import CACHE
from waiting import TIMEOUT_SECONDS, wait_for

CONFIGS = Path(__file__).parents[1] / "configs"


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class ClusterJob:
    """The processes of one command.

    Args:
        config: File in `tests/faults/configs`.
        workdir: Workdir of the run or the study.
        data_dir: Folder of the tiny datasets.
        processes: Number of processes.
        devices: Number of devices of each process.
        command: The module that is run.
        overrides: Arguments of single processes, by process index.
        variables: Environment variables of all processes.
        launcher: Who started the processes: `srun` or, with this package's own variables, `user`.
    """

    def __init__(
        self,
        config: str,
        workdir: Path,
        data_dir: Path,
        processes: int = 2,
        devices: int = 2,
        command: str = "ssl_jax.train",
        overrides: Mapping[int, Sequence[str]] | None = None,
        variables: Mapping[str, str] | None = None,
        launcher: str = "user",
    ) -> None:
        port = find_free_port()
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", command, f"--config={CONFIGS}/{config}"),
                    *(f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"),
                    *(overrides or {}).get(index, ()),
                ],
                env={
                    **os.environ,
                    **jax_environment.make_environment(devices, CACHE),
                    **(variables or {}),
                    **(describe_process(launcher, port, processes, index) if processes > 1 else {}),
                    "FAULTS_PROCESS": str(index),
                },
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(processes)
        ]
        self.outputs: list[str] = []

    def wait(self) -> tuple[list[int], list[str]]:
        """Wait for the end of all processes, and return their exit codes and texts on stderr."""
        texts = [process.communicate(timeout=TIMEOUT_SECONDS) for process in self.processes]
        self.outputs = [output for output, _ in texts]
        return [process.returncode for process in self.processes], [errors for _, errors in texts]

    def wait_for_checkpoint(self, checkpoint: Path) -> None:
        """Wait until a checkpoint is complete."""
        wait_for((checkpoint / "manifest.json").exists, *self.processes)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes, as schedulers do."""
        for process in self.processes:
            process.send_signal(number)


def describe_process(launcher: str, port: int, count: int, index: int) -> dict[str, str]:
    """Return the environment variables by which a launcher tells a process its place in the job."""
    if launcher == "user":
        return {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_PROCESS_COUNT": str(count),
            "JAX_PROCESS_ID": str(index),
        }
    return {
        "SLURM_JOB_ID": str(port),  # from which the port is derived
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_TASKS_PER_NODE": str(count),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
        "SLURM_NODEID": "0",
    }
