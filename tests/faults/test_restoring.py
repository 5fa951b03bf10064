"""A checkpoint suffices on its own: read-only, on one device, without the dataset or ssl_jax."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from faults.harness import Job, can_mount, load_state, run_with_mounts

import ssl_jax
from ssl_jax.checkpoints import finding

LOAD = """
import sys
import jax, numpy as np, ssl_jax
assert jax.device_count() == 1
model = ssl_jax.load(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
"""
BLOCK_IMPORTS = "import sys; sys.modules['ssl_jax'] = sys.modules['data_pipelines'] = None"


@pytest.fixture(scope="module")
def checkpoint(job, data_dir, tmp_path_factory) -> Path:
    """The copied checkpoint of a run on eight devices; its workdir and datasets are deleted."""
    folder = tmp_path_factory.mktemp("restoring")
    shutil.copytree(data_dir, folder / "data")
    run = dataclasses.replace(
        job("simclr", folder / "run", "steps=5", devices=8), data_dir=folder / "data"
    ).run_to_completion()
    shutil.copytree(finding.find_newest_checkpoint(run.workdir), folder / "checkpoint")
    shutil.rmtree(run.workdir)
    shutil.rmtree(folder / "data")
    return folder / "checkpoint"


def run_script(script: str, checkpoint: Path, tmp_path: Path, *arguments: object) -> str:
    """Run a script on one device with `checkpoint` on a read-only disk; returns its output."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, tmp_path / "script.py", *arguments]
    process = run_with_mounts(
        f"""
        mount --bind {shlex.quote(str(checkpoint))} disk && mount -o remount,ro,bind disk
        touch disk/written 2> /dev/null && exit 1
        {shlex.join(map(str, command))}
        """,
        tmp_path,
        Job("simclr", tmp_path / "none", tmp_path).make_environment(),
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.skipif(not can_mount, reason="a read-only disk needs user namespaces")
def test_a_model_is_loaded_from_a_read_only_disk_on_one_device(checkpoint, tmp_path, faults):
    images = np.random.default_rng(0).integers(0, 4000, (3, 32, 32, 4)).astype(np.uint16)
    np.save(tmp_path / "images.npy", images)
    run_script(LOAD, checkpoint, tmp_path, "disk", tmp_path / "scores.npy", tmp_path / "images.npy")
    expected = ssl_jax.load(checkpoint)(images)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, rtol=1e-5, atol=1e-5)
    faults.record("checkpoint of 8 devices, read-only, no dataset, 1 device", 1, 1, "the model")


@pytest.mark.skipif(not can_mount, reason="a read-only disk needs user namespaces")
def test_plain_orbax_loads_a_checkpoint_as_in_the_readme(checkpoint, tmp_path, faults):
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    (snippet,) = (block for block in blocks if "orbax.checkpoint" in block)
    code, count = re.subn(r'(?m)^path = ".*?"', f'path = "{tmp_path}/disk"', snippet)
    assert count == 1
    leaves = "*(np.asarray(leaf) for leaf in jax.tree.leaves(checkpoint['state']))"
    script = f"{BLOCK_IMPORTS}\n{code}\nnp.savez({str(tmp_path / 'state.npz')!r}, {leaves})\n"
    run_script(
        f"{script}print(checkpoint['card'])\nprint(checkpoint['data'])", checkpoint, tmp_path
    )
    import jax

    with np.load(tmp_path / "state.npz") as arrays:
        actual = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]
    expected = jax.tree.leaves(load_state(checkpoint))
    assert len(actual) == len(expected)
    for array, expected_array in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    faults.record("checkpoint loaded by plain Orbax, without ssl_jax", 1, 1, "all arrays, the card")
