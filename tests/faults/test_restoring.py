"""A bundle is of use on its own: read-only, on one device, without the dataset or this package."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from faults.harness import Job, can_mount, mounted, state_of

import ssl_jax
from ssl_jax.checkpoints import loading

LOAD = """
import sys
import jax, numpy as np, ssl_jax
assert jax.device_count() == 1
model = ssl_jax.load(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
"""
ALONE = "import sys; sys.modules['ssl_jax'] = sys.modules['data_pipelines'] = None"


@pytest.fixture(scope="module")
def checkpoint(job, data_dir, tmp_path_factory) -> Path:
    """A copy of the bundle alone of a run on eight devices; its workdir and datasets are gone."""
    folder = tmp_path_factory.mktemp("restoring")
    shutil.copytree(data_dir, folder / "data")
    run = dataclasses.replace(
        job("simclr", folder / "run", "steps=5", devices=8), data_dir=folder / "data"
    ).done()
    shutil.copytree(loading.find_newest_checkpoint(run.workdir), folder / "bundle")
    shutil.rmtree(run.workdir)
    shutil.rmtree(folder / "data")
    return folder / "bundle"


def told_by(script: str, checkpoint: Path, tmp_path: Path, *arguments: object) -> str:
    """What a script says that sees `checkpoint` on a read-only disk, and one device."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, tmp_path / "script.py", *arguments]
    done = mounted(
        f"""
        mount --bind {shlex.quote(str(checkpoint))} disk && mount -o remount,ro,bind disk
        touch disk/written 2> /dev/null && exit 1
        {shlex.join(map(str, command))}
        """,
        tmp_path,
        Job("simclr", tmp_path / "none", tmp_path).environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not can_mount, reason="a read-only disk needs user namespaces")
def test_a_model_is_loaded_from_a_read_only_disk_by_one_device(checkpoint, tmp_path, faults):
    images = np.random.default_rng(0).integers(0, 4000, (3, 32, 32, 4)).astype(np.uint16)
    np.save(tmp_path / "images.npy", images)
    told_by(LOAD, checkpoint, tmp_path, "disk", tmp_path / "answers.npy", tmp_path / "images.npy")
    expected = ssl_jax.load(checkpoint)(images)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, rtol=1e-5, atol=1e-5)
    faults.record("a bundle of 8 devices, read-only, no dataset, 1 device", 1, 1, "the model")


@pytest.mark.skipif(not can_mount, reason="a read-only disk needs user namespaces")
def test_plain_orbax_reads_a_bundle_as_the_readme_says(checkpoint, tmp_path, faults):
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    (snippet,) = (block for block in blocks if "orbax.checkpoint" in block)
    here, count = re.subn(r'(?m)^path = ".*?"', f'path = "{tmp_path}/disk"', snippet)
    assert count == 1
    leaves = "*(np.asarray(leaf) for leaf in jax.tree.leaves(bundle['state']))"
    script = f"{ALONE}\n{here}\nnp.savez({str(tmp_path / 'state.npz')!r}, {leaves})\n"
    told_by(f"{script}print(bundle['card'])\nprint(bundle['data'])", checkpoint, tmp_path)
    import jax

    with np.load(tmp_path / "state.npz") as found:
        read = [found[f"arr_{number}"] for number in range(len(found.files))]
    expected = jax.tree.leaves(state_of(checkpoint))
    assert len(read) == len(expected)
    for here, there in zip(read, expected, strict=True):
        np.testing.assert_array_equal(here, there)
    faults.record("a bundle read by plain Orbax, without ssl_jax", 1, 1, "all arrays, the card")
