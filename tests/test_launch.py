import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted([*Path("launch").glob("*.sh"), Path("launch/slurm.sbatch")])


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_is_sound_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_node_without_a_door_says_how_it_is_used():
    process = subprocess.run(["launch/node.sh"], capture_output=True, text=True)
    assert process.returncode == 2
    assert "node.sh train --config" in process.stderr
