"""Corrupt checkpoints, full disks, read-only folders: runs resume from a valid checkpoint."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from faults.harness import assert_equal_runs, can_mount, run_with_mounts

import ssl_jax
from data_pipelines.errors import UserError
from ssl_jax.checkpoints import finding

needs_mounts = pytest.mark.skipif(
    not can_mount, reason="mounting file systems needs user namespaces"
)


@pytest.fixture(scope="module")
def uninterrupted(job, tmp_path_factory):
    return job("mae", tmp_path_factory.mktemp("uninterrupted") / "run").run_to_completion()


@pytest.fixture(scope="module")
def interrupted(job, tmp_path_factory):
    """A run of forty steps that was interrupted at the 35th; its checkpoints are 30 and 35."""
    interrupted = job("mae", tmp_path_factory.mktemp("interrupted") / "run")
    assert interrupted.run("15 step@35 1 0").code == 75
    checkpoints = interrupted.workdir / "checkpoints"
    assert sorted(checkpoint.name for checkpoint in checkpoints.iterdir()) == ["30", "35"]
    return interrupted


def list_files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def find_largest_file(checkpoint):
    return max((checkpoint / "state").rglob("*"), key=lambda path: path.stat().st_size)


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("corrupt", [flip_bit, cut_in_half, os.unlink])
def test_corruption_of_any_file_is_detected_and_reported(
    corrupt, interrupted, tmp_path, capfd, faults
):
    names = [
        path.relative_to(interrupted.workdir)
        for path in list_files(interrupted.workdir / "checkpoints/35")
    ]
    tried = 0
    for index, name in enumerate(names):
        if corrupt is not os.unlink and not (interrupted.workdir / name).stat().st_size:
            continue
        tried += 1
        workdir = tmp_path / str(index)
        shutil.copytree(interrupted.workdir / "checkpoints", workdir / "checkpoints")
        corrupt(workdir / name)
        assert finding.find_newest_checkpoint(workdir).name == "30", name
        errors = capfd.readouterr().err
        # Without manifest, the checkpoint is incomplete rather than corrupt.
        if not (corrupt is os.unlink and name.name == "manifest.json"):
            assert f"checkpoint {workdir / 'checkpoints/35'} is corrupt: " in errors
            assert errors.count("\n") == 1
    fault = corrupt.__name__.replace("_", " ")
    faults.record(
        f"{fault} of each file of the newest checkpoint", tried, tried, "warning: … is corrupt"
    )


def test_changes_of_the_manifest_cause_no_crash(interrupted, tmp_path):
    """They are detected, or they do not change its meaning (white space)."""
    shutil.copytree(interrupted.workdir / "checkpoints", tmp_path / "checkpoints")
    manifest = tmp_path / "checkpoints/35/manifest.json"
    original = manifest.read_bytes()
    for position in range(len(original)):
        for bit in (0, 7):
            changed = bytearray(original)
            changed[position] ^= 1 << bit
            manifest.write_bytes(changed)
            os.utime(manifest, ns=(position, 2 * position + bit))
            assert finding.find_newest_checkpoint(tmp_path).name in ("30", "35")


CORRUPTIONS = {
    "truncated array data": lambda checkpoint: cut_in_half(find_largest_file(checkpoint)),
    "a bit of the array data": lambda checkpoint: flip_bit(find_largest_file(checkpoint)),
    "a bit of the metadata": lambda checkpoint: flip_bit(checkpoint / "state/_METADATA"),
    "a bit of the card": lambda checkpoint: flip_bit(checkpoint / "card/data.json"),
    "half a copy": lambda checkpoint: [path.unlink() for path in list_files(checkpoint)[::2]],
    "an unfinished save": lambda checkpoint: checkpoint.rename(
        f"{checkpoint}.orbax-checkpoint-tmp-1"
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_run_with_a_corrupt_checkpoint_resumes_to_equal_results(
    corruption, interrupted, uninterrupted, tmp_path, faults
):
    resumed = interrupted.copy(tmp_path / "run")
    checkpoint = resumed.workdir / "checkpoints/35"
    CORRUPTIONS[corruption](checkpoint)
    ended = resumed.run()
    assert ended.code == 0, ended.errors
    assert next(line for line in ended.trace if line.startswith("main step ")).split()[2] == "31"
    warnings = [line for line in ended.errors.splitlines() if "corrupt" in line]
    assert all(f"checkpoint {checkpoint} is corrupt" in line for line in warnings)
    assert len(warnings) == ("a bit" in corruption or "truncated" in corruption)
    assert_equal_runs(uninterrupted, resumed)
    seen = warnings[0].split(": ", 2)[-1] if warnings else "nothing"
    faults.record(f"corrupt checkpoint: {corruption}", 1, 1, seen)


def test_evaluate_and_load_use_the_newest_valid_checkpoint(interrupted, tmp_path, faults):
    corrupt_run = interrupted.copy(tmp_path / "run")
    flip_bit(find_largest_file(corrupt_run.workdir / "checkpoints/35"))
    assert ssl_jax.load(corrupt_run.workdir).card.step == 30
    process = subprocess.run(
        [sys.executable, "-m", "ssl_jax.evaluate", "--checkpoint", str(corrupt_run.workdir)],
        env=corrupt_run.make_environment(),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert f"checkpoint {corrupt_run.workdir / 'checkpoints/35'} is corrupt" in process.stderr
    faults.record(
        "evaluate, load: newest checkpoint corrupt", 2, 2, "warning: … is corrupt; skipped"
    )


def test_an_explicitly_named_corrupt_checkpoint_is_refused(interrupted, tmp_path):
    corrupt_run = interrupted.copy(tmp_path / "run")
    checkpoint = corrupt_run.workdir / "checkpoints/35"
    flip_bit(find_largest_file(checkpoint))
    with pytest.raises(UserError, match=r"is corrupt \(state/.* does not match its checksum\)"):
        ssl_jax.load(checkpoint)


@needs_mounts
@pytest.mark.parametrize("step", [3, 12])
def test_a_full_disk_stops_the_run_with_one_line(step, job, uninterrupted, tmp_path, faults):
    """Before and after the first checkpoint; with free space again, the same command resumes."""
    resumed = job("mae", tmp_path / "kept")
    on_disk = job("mae", tmp_path / "small" / "run")
    on_disk.trace = resumed.trace
    (tmp_path / "small").mkdir()
    command = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(on_disk.command)}"
    process = run_with_mounts(
        f"""
        mount -t tmpfs -o size=16m tmpfs small
        (sh -c {shlex.quote(command)}; echo $? > code) 2> errors &
        until grep -q '^main step {step} ' kept.trace; do sleep 0.02; done
        dd if=/dev/zero of=small/ballast bs=4k 2> /dev/null
        wait
        rm small/ballast
        sh -c {shlex.quote(command)}
        echo rc=$?
        cp -a small/run kept
        """,
        tmp_path,
        on_disk.make_environment(),
    )
    errors = (tmp_path / "errors").read_text()
    assert (tmp_path / "code").read_text() == "2\n", errors
    assert errors.count("\n") == 1
    assert "No space left on device" in errors
    assert "rc=0" in process.stdout, process.stderr
    assert_equal_runs(uninterrupted, resumed)
    faults.record(f"disk full from step {step} on", 1, 1, f"2: {errors.strip()}")


@needs_mounts
def test_many_arrays_on_a_full_disk_cause_a_single_message(tmp_path):
    """Each array fails in a thread of its own, most of them after the save has been abandoned."""
    (tmp_path / "small").mkdir()
    (tmp_path / "saves.py").write_text(
        """
import jax
from pathlib import Path
from data_pipelines.errors import UserError
from ssl_jax.checkpoints.saving import Checkpointer
from ssl_jax.training.state import TrainState

params = {str(i): jax.random.normal(jax.random.key(i), (64, 300)) for i in range(60)}
for step in range(20):
    state = TrainState(jax.numpy.asarray(step), params, {}, {"mu": params})
    try:
        with Checkpointer(Path(f"small/{step}"), 2) as checkpoints:
            checkpoints.save(state, {}, {})
    except UserError as error:
        print(error)
"""
    )
    process = run_with_mounts(
        f"""
        mount -t tmpfs -o size=400k tmpfs small
        exec {sys.executable} saves.py
        """,
        tmp_path,
        {**os.environ, "PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"},
    )
    assert process.stdout.count("No space left on device") == process.stdout.count("\n") == 20
    assert process.stderr == ""


@needs_mounts
@pytest.mark.parametrize("resume", [False, True])
def test_a_read_only_workdir_is_refused_with_one_line(
    resume, job, interrupted, uninterrupted, tmp_path, faults
):
    run = interrupted.copy(tmp_path / "run") if resume else job("mae", tmp_path / "run")
    run.workdir.mkdir(exist_ok=True)
    before = list_files(run.workdir)
    process = run_with_mounts(
        f"""
        mount --bind run run && mount -o remount,ro,bind run
        cd {shlex.quote(os.getcwd())}
        {shlex.join(run.command)}
        echo rc=$?
        """,
        tmp_path,
        run.make_environment(),
    )
    assert "rc=2" in process.stdout, process.stderr
    assert process.stderr == (
        f"error: workdir {run.workdir}: Read-only file system; expected a writable folder\n"
    )
    assert list_files(run.workdir) == before
    assert_equal_runs(uninterrupted, run.run_to_completion())
    which = "of an interrupted run" if resume else "of a new run"
    faults.record(f"read-only workdir {which}", 1, 1, f"2: {process.stderr.strip()}")
