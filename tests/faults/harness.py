"""Runs in processes of their own, faults in them, and comparison with uninterrupted runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax_environment
import numpy as np
from orbax.checkpoint import v1 as ocp
from waiting import TIMEOUT_SECONDS

from ssl_jax.checkpoints import finding, loading

# A kill can leave incomplete entries in the compilation cache.
CACHE = Path(f"{jax_environment.CACHE}_of_killed_runs")
CONFIG = "tests/faults/configs/traced.py"


@dataclass
class Job:
    """A run that is started, interrupted, and resumed by the same command.

    Attributes:
        kind: Kind of config, see `make_small_config`.
        workdir: Workdir of the run.
        data_dir: Folder of the tiny datasets.
        overrides: Overrides of config fields, such as `steps=10`.
        devices: Number of simulated devices.
        cache: Folder of the compilation cache.
        trace: File with the trace of the run, see `configs/traced.py`.
    """

    kind: str
    workdir: Path
    data_dir: Path
    overrides: Sequence[str] = ()
    devices: int = 1
    cache: Path = CACHE
    trace: Path = field(init=False)

    def __post_init__(self) -> None:
        self.trace = self.workdir.with_name(self.workdir.name + ".trace")

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "ssl_jax.train", "--config", f"{CONFIG}:{self.kind}"),
            *("--workdir", str(self.workdir)),
            *(f"--config.{override}" for override in self.overrides),
        ]

    def make_environment(self, send: str = "", **variables: str) -> dict[str, str]:
        """Return the environment variables of the process; see `start`."""
        return {
            **os.environ,
            **jax_environment.make_environment(self.devices, self.cache),
            "PYTHONPATH": f"{os.getcwd()}{os.pathsep}{Path('tests/helpers').resolve()}",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "FAULTS_TRACE": str(self.trace),
            "FAULTS_DATA": str(self.data_dir),
            **({"FAULTS_SEND": send} if send else {}),
            **variables,
        }

    def start(self, send: str = "", **variables: str) -> subprocess.Popen:
        """Start the run in a session of its own.

        Args:
            send: A signal to send in a phase, see `configs/traced.py`.
            variables: Additional environment variables.
        """
        return subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.make_environment(send, **variables),
        )

    def run(self, send: str = "", **variables: str) -> "EndedProcess":
        """Start the run and wait for its end."""
        previous_lines = len(self.read_trace())
        process = self.start(send, **variables)
        try:
            output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
        return EndedProcess(process.returncode, output, errors, self.read_trace()[previous_lines:])

    def run_to_completion(self, **variables: str) -> "Job":
        """Run to the end, and check that the exit code is 0."""
        ended = self.run(**variables)
        assert ended.code == 0, ended.errors
        return self

    def read_trace(self) -> list[str]:
        """Read the lines of the trace, of all processes of the run."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def copy(self, workdir: Path) -> "Job":
        """Copy the workdir and the trace, and return the job of the copy."""
        copy = replace(self, workdir=workdir)
        shutil.copytree(self.workdir, copy.workdir)
        shutil.copy(self.trace, copy.trace)
        return copy

    def read_batches(self) -> dict[int, str]:
        """Read the examples of each step; checks that a repeated step has the same examples."""
        batches: dict[int, str] = {}
        for line in self.read_trace():
            if line.startswith("main step "):
                _, _, step, examples = line.split(maxsplit=3)
                assert batches.setdefault(int(step), examples) == examples, f"step {step}"
        return batches


@dataclass(frozen=True)
class EndedProcess:
    """A process that has ended.

    Attributes:
        code: Exit code, or the negative number of the signal that killed the process.
        output: Text on stdout.
        errors: Text on stderr.
        trace: Lines of the trace.
    """

    code: int
    output: str
    errors: str
    trace: list[str]

    @property
    def phase(self) -> str:
        """The phase when the process ended; `imports` if the trace is empty."""
        last = {"main": "imports", "background": "idle"}
        for line in self.trace:
            thread, phase, *_ = line.split()
            last[thread] = phase  # a line "sent …" is of neither thread
        return last["main"] if last["background"] == "idle" else last["background"]

    @property
    def last_step(self) -> int:
        """The last training step that began; 0 if there is none."""
        steps = [int(line.split()[2]) for line in self.trace if line.startswith("main step ")]
        return steps[-1] if steps else 0


def run_with_mounts(
    script: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess:
    """Run a shell script that may mount file systems, which are unmounted when it ends."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


can_mount = bool(
    shutil.which("unshare")
    and not subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True
    ).returncode
)


def load_state(checkpoint: Path) -> dict:
    """Load the complete training state of a checkpoint as NumPy arrays."""
    metadata = ocp.checkpointables_metadata(checkpoint.resolve()).metadata["state"]
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
    return ocp.load_checkpointables(checkpoint.resolve(), {"state": empty})["state"]


def assert_equal_runs(uninterrupted: Job, resumed: Job) -> None:
    """Check that two runs are bitwise equal: state, position, log, data order, samples, results."""
    jobs = (resumed, uninterrupted)
    actual, expected = (finding.find_newest_checkpoint(job.workdir) for job in jobs)
    assert actual.name == expected.name
    jax.tree.map(np.testing.assert_array_equal, load_state(actual), load_state(expected))
    assert loading.load_position(actual) == loading.load_position(expected)
    assert loading.load_card(actual) == loading.load_card(expected)
    logs = [(job.workdir / "metrics.jsonl").read_bytes() for job in jobs]
    assert logs[0] == logs[1]
    assert resumed.read_batches() == uninterrupted.read_batches()
    with (
        np.load(resumed.workdir / "samples.npz") as actual_samples,
        np.load(uninterrupted.workdir / "samples.npz") as expected_samples,
    ):
        assert set(actual_samples) == set(expected_samples)
        for name in actual_samples:
            np.testing.assert_array_equal(actual_samples[name], expected_samples[name])
    results = [json.loads((job.workdir / "results.json").read_text()) for job in jobs]
    for name in ("status", "steps", "metrics", "train", "probe", "data"):
        assert results[0][name] == results[1][name], name
