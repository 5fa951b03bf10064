import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = sorted([*Path("launch").glob("*.sh"), Path("launch/slurm.sbatch"), Path(".ci/run")])


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_is_sound_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_node_without_a_door_says_how_it_is_used():
    process = subprocess.run(["launch/node.sh"], capture_output=True, text=True)
    assert process.returncode == 2
    assert "node.sh train --config" in process.stderr


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (75, True), (138, True), (143, True)]
)
def test_slurm_queues_a_run_again_that_a_signal_ended(code, requeued, tmp_path):
    """Beside the real script stand programs of SLURM's names that say what SLURM's would."""
    programs = {
        "srun": f"exit {code}",
        "scontrol": f"echo $@ > {tmp_path}/asked",
        "python": f"echo {tmp_path}",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    process = subprocess.run(
        ["bash", "launch/slurm.sbatch", "train", "--config", "a.py", "--workdir", "w"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(tmp_path),
            "SLURM_SUBMIT_DIR": os.getcwd(),
            "SLURM_JOB_ID": "7",
        },
    )
    assert process.returncode == code
    assert (tmp_path / "asked").exists() == requeued
    if requeued:
        assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_the_newest_releases_are_asked_for_without_caps():
    def printed(what):
        command = [sys.executable, "launch/newest.py", what]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    asked = printed("requirements").splitlines()
    assert asked[: len(declared)] == [requirement.split(",<")[0] for requirement in declared]
    assert any(line.startswith("apache-beam") for line in asked)  # of an extra within the extra
    assert not any("<" in line or "ssl_jax" in line for line in asked)
    capped = [requirement for requirement in declared if "<" in requirement]
    assert capped
    for line, requirement in zip(printed("caps").splitlines(), capped, strict=True):
        assert line.split()[0] == requirement.split(">=")[0]
        assert "<" + requirement.split("<")[1] in line
