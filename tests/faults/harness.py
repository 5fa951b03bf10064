"""Runs as real processes, to which things are done, and the comparison with an undisturbed one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import compiling
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
from waiting import HANG

from ssl_jax.checkpoints import loading

CACHE = Path(f"{compiling.CACHE}_of_killed_runs")
CONFIG = "tests/faults/configs/traced.py"


@dataclass
class Job:
    """A run that is started, disturbed, and started again by the same command.

    Attributes:
        kind: of `small.small`.
        workdir: of the run.
        data_dir: of the tiny datasets.
        overrides: of the config, such as `steps=10`.
        devices: how many fake ones there are.
        cache: of compiled programs.
    """

    kind: str
    workdir: Path
    data_dir: Path
    overrides: Sequence[str] = ()
    devices: int = 1
    cache: Path = CACHE
    told: Path = field(init=False)

    def __post_init__(self) -> None:
        self.told = self.workdir.with_name(self.workdir.name + ".told")

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "ssl_jax.train", "--config", f"{CONFIG}:{self.kind}"),
            *("--workdir", str(self.workdir)),
            *(f"--config.{override}" for override in self.overrides),
        ]

    def environment(self, send: str = "", **more: str) -> dict[str, str]:
        """What its process finds in its environment; see `start`."""
        return {
            **os.environ,
            **compiling.environment(self.devices, self.cache),
            "PYTHONPATH": f"{os.getcwd()}{os.pathsep}{Path('tests/helpers').resolve()}",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "FAULTS_TOLD": str(self.told),
            "FAULTS_DATA": str(self.data_dir),
            **({"FAULTS_SEND": send} if send else {}),
            **more,
        }

    def start(self, send: str = "", **more: str) -> subprocess.Popen:
        """Start the run in a session of its own.

        Args:
            send: a signal it gets in a phase, see `configs/traced.py`.
            more: variables of its environment.
        """
        return subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.environment(send, **more),
        )

    def run(self, send: str = "", **more: str) -> "Ended":
        """Start the run and wait for its end."""
        lines = len(self.lines())
        process = self.start(send, **more)
        try:
            output, errors = process.communicate(timeout=HANG)
        finally:
            process.kill()
        return Ended(process.returncode, output, errors, self.lines()[lines:])

    def done(self, **more: str) -> "Job":
        """Run to the end, which must be a good one."""
        ended = self.run(**more)
        assert ended.code == 0, ended.errors
        return self

    def lines(self) -> list[str]:
        """What the run told so far, over all its processes."""
        return self.told.read_text().splitlines() if self.told.exists() else []

    def copy(self, workdir: Path) -> "Job":
        """The same run in a copy of its workdir."""
        copy = replace(self, workdir=workdir)
        shutil.copytree(self.workdir, copy.workdir)
        shutil.copy(self.told, copy.told)
        return copy

    def batches(self) -> dict[int, str]:
        """The examples of each step; the same ones each time the step was done."""
        batches: dict[int, str] = {}
        for line in self.lines():
            if line.startswith("main step "):
                _, _, step, examples = line.split(maxsplit=3)
                assert batches.setdefault(int(step), examples) == examples, f"step {step}"
        return batches


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code (negative: the signal), and all it said."""

    code: int
    output: str
    errors: str
    told: list[str]

    @property
    def phase(self) -> str:
        """What it was doing when it ended; `imports` before its first word."""
        last = {"main": "imports", "back": "idle"}
        for line in self.told:
            thread, phase, *_ = line.split()
            last[thread] = phase  # "sent" tells of none
        return last["main"] if last["back"] == "idle" else last["back"]

    @property
    def last_step(self) -> int:
        """The last training step it began; 0 if none."""
        steps = [int(line.split()[2]) for line in self.told if line.startswith("main step ")]
        return steps[-1] if steps else 0


def mounted(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a shell script that may mount disks, which are gone when it ends."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
    )


can_mount = bool(
    shutil.which("unshare")
    and not subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True
    ).returncode
)


def state_of(checkpoint: Path) -> dict:
    """The whole state of a bundle, on the host."""
    metadata = ocp.checkpointables_metadata(checkpoint.resolve()).metadata["state"]
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
    return ocp.load_checkpointables(checkpoint.resolve(), {"state": empty})["state"]


def assert_equal_runs(undisturbed: Job, survivor: Job) -> None:
    """The two ended with the same bits: state, position, log, data order, results."""
    ours, theirs = (loading.find_newest_checkpoint(job.workdir) for job in (survivor, undisturbed))
    assert ours.name == theirs.name
    jax.tree.map(np.testing.assert_array_equal, state_of(ours), state_of(theirs))
    assert loading.load_position(ours) == loading.load_position(theirs)
    assert loading.load_card(ours) == loading.load_card(theirs)
    logs = [(job.workdir / "metrics.jsonl").read_bytes() for job in (survivor, undisturbed)]
    assert logs[0] == logs[1]
    assert survivor.batches() == undisturbed.batches()
    with (
        np.load(survivor.workdir / "samples.npz") as here,
        np.load(undisturbed.workdir / "samples.npz") as there,
    ):
        assert set(here) == set(there)
        for name in here:
            np.testing.assert_array_equal(here[name], there[name])
    results = [
        json.loads((job.workdir / "results.json").read_text()) for job in (survivor, undisturbed)
    ]
    for name in ("status", "steps", "metrics", "train", "probe", "data"):
        assert results[0][name] == results[1][name], name
