import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = sorted([*Path("launch").glob("*.sh"), Path("launch/slurm.sbatch"), Path(".ci/run")])


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_has_valid_bash_syntax(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_node_without_a_command_prints_its_usage():
    process = subprocess.run(["launch/node.sh"], capture_output=True, text=True)
    assert process.returncode == 2
    assert "node.sh train --config" in process.stderr


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (75, True), (138, True), (143, True)]
)
def test_slurm_requeues_a_run_that_was_ended_by_a_signal(code, requeued, tmp_path):
    """Fake srun, scontrol and python on PATH replace the real ones."""
    programs = {
        "srun": f"exit {code}",
        "scontrol": f"echo $@ > {tmp_path}/scontrol_arguments",
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
    assert (tmp_path / "scontrol_arguments").exists() == requeued
    if requeued:
        assert (tmp_path / "scontrol_arguments").read_text() == "requeue 7\n"


def test_requirements_of_the_newest_releases_have_no_caps():
    def run_newest(subcommand):
        command = [sys.executable, "launch/newest.py", subcommand]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    uncapped = run_newest("requirements").splitlines()
    assert uncapped[: len(declared)] == [requirement.split(",<")[0] for requirement in declared]
    assert any(line.startswith("apache-beam") for line in uncapped)  # of a nested extra
    assert not any("<" in line or "ssl_jax" in line for line in uncapped)
    capped = [requirement for requirement in declared if "<" in requirement]
    assert capped
    for line, requirement in zip(run_newest("caps").splitlines(), capped, strict=True):
        assert line.split()[0] == requirement.split(">=")[0]
        assert "<" + requirement.split("<")[1] in line
