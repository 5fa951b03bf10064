"""Damaged bundles, full disks, folders that can't be written: the newest sound bundle goes on."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from faults.harness import assert_equal_runs, can_mount, mounted

import ssl_jax
from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading

needs_mounts = pytest.mark.skipif(not can_mount, reason="a disk of its own needs user namespaces")


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    return job("mae", tmp_path_factory.mktemp("undisturbed") / "run").done()


@pytest.fixture(scope="module")
def stopped(job, tmp_path_factory):
    """A run of forty steps that was stopped at the 35th: its bundles are 30 and 35."""
    stopped = job("mae", tmp_path_factory.mktemp("stopped") / "run")
    assert stopped.run("15 step@35 1 0").code == 75
    checkpoints = stopped.workdir / "checkpoints"
    assert sorted(checkpoint.name for checkpoint in checkpoints.iterdir()) == ["30", "35"]
    return stopped


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def largest(checkpoint):
    return max((checkpoint / "state").rglob("*"), key=lambda path: path.stat().st_size)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, os.unlink])
def test_damage_to_any_file_is_noticed_and_named(damage, stopped, tmp_path, capfd, faults):
    names = [
        path.relative_to(stopped.workdir) for path in files(stopped.workdir / "checkpoints/35")
    ]
    tried = 0
    for number, name in enumerate(names):
        if damage is not os.unlink and not (stopped.workdir / name).stat().st_size:
            continue
        tried += 1
        workdir = tmp_path / str(number)
        shutil.copytree(stopped.workdir / "checkpoints", workdir / "checkpoints")
        damage(workdir / name)
        assert loading.find_newest_checkpoint(workdir).name == "30", name
        said = capfd.readouterr().err
        if not (damage is os.unlink and name.name == "manifest.json"):  # as if never finished
            assert f"bundle {workdir / 'checkpoints/35'} is damaged: " in said
            assert said.count("\n") == 1
    what = damage.__name__.replace("_", " ")
    faults.record(
        f"{what} of each file of the newest bundle", tried, tried, "warning: … is damaged"
    )


def test_any_changed_byte_of_the_manifest_is_no_crash(stopped, tmp_path):
    """It is noticed, or it says what it said (white space)."""
    shutil.copytree(stopped.workdir / "checkpoints", tmp_path / "checkpoints")
    manifest = tmp_path / "checkpoints/35/manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 7):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            manifest.write_bytes(changed)
            os.utime(manifest, ns=(position, 2 * position + bit))
            assert loading.find_newest_checkpoint(tmp_path).name in ("30", "35")


DAMAGES = {
    "array data cut short": lambda checkpoint: cut_in_half(largest(checkpoint)),
    "a bit of the array data": lambda checkpoint: flip_a_bit(largest(checkpoint)),
    "a bit of the metadata": lambda checkpoint: flip_a_bit(checkpoint / "state/_METADATA"),
    "a bit of the card": lambda checkpoint: flip_a_bit(checkpoint / "card/data.json"),
    "half a copy": lambda checkpoint: [path.unlink() for path in files(checkpoint)[::2]],
    "an unfinished save": lambda checkpoint: checkpoint.rename(
        f"{checkpoint}.orbax-checkpoint-tmp-1"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_with_a_damaged_bundle_ends_in_the_same_bits(
    damage, stopped, undisturbed, tmp_path, faults
):
    survivor = stopped.copy(tmp_path / "run")
    checkpoint = survivor.workdir / "checkpoints/35"
    DAMAGES[damage](checkpoint)
    ended = survivor.run()
    assert ended.code == 0, ended.errors
    assert next(line for line in ended.told if line.startswith("main step ")).split()[2] == "31"
    told = [line for line in ended.errors.splitlines() if "damaged" in line]
    assert all(f"bundle {checkpoint} is damaged" in line for line in told)
    assert len(told) == ("a bit" in damage or "cut" in damage)
    assert_equal_runs(undisturbed, survivor)
    faults.record(f"damaged: {damage}", 1, 1, told[0].split(": ", 2)[-1] if told else "nothing")


def test_evaluation_and_loading_take_the_sound_bundle(stopped, tmp_path, faults):
    damaged = stopped.copy(tmp_path / "run")
    flip_a_bit(largest(damaged.workdir / "checkpoints/35"))
    assert ssl_jax.load(damaged.workdir).card.step == 30
    process = subprocess.run(
        [sys.executable, "-m", "ssl_jax.evaluate", "--checkpoint", str(damaged.workdir)],
        env=damaged.environment(),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert f"bundle {damaged.workdir / 'checkpoints/35'} is damaged" in process.stderr
    faults.record("evaluate, load: newest bundle damaged", 2, 2, "warning: … is damaged; not used")


def test_a_bundle_asked_for_by_name_is_refused_when_damaged(stopped, tmp_path):
    damaged = stopped.copy(tmp_path / "run")
    checkpoint = damaged.workdir / "checkpoints/35"
    flip_a_bit(largest(checkpoint))
    with pytest.raises(UserError, match=r"is damaged \(state/.* is not what was written\)"):
        ssl_jax.load(checkpoint)


@needs_mounts
@pytest.mark.parametrize("step", [3, 12])
def test_a_disk_that_fills_up_stops_the_run_in_one_line(step, job, undisturbed, tmp_path, faults):
    """Before the first bundle, and after; room is made, and the same command goes on."""
    survivor = job("mae", tmp_path / "kept")
    on_disk = job("mae", tmp_path / "small" / "run")
    on_disk.told = survivor.told
    (tmp_path / "small").mkdir()
    command = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(on_disk.command)}"
    done = mounted(
        f"""
        mount -t tmpfs -o size=16m tmpfs small
        (sh -c {shlex.quote(command)}; echo $? > code) 2> errors &
        until grep -q '^main step {step} ' kept.told; do sleep 0.02; done
        dd if=/dev/zero of=small/ballast bs=4k 2> /dev/null
        wait
        rm small/ballast
        sh -c {shlex.quote(command)}
        echo rc=$?
        cp -a small/run kept
        """,
        tmp_path,
        on_disk.environment(),
    )
    errors = (tmp_path / "errors").read_text()
    assert (tmp_path / "code").read_text() == "2\n", errors
    assert errors.count("\n") == 1
    assert "No space left on device" in errors
    assert "rc=0" in done.stdout, done.stderr
    assert_equal_runs(undisturbed, survivor)
    faults.record(f"disk full from step {step} on", 1, 1, f"2: {errors.strip()}")


@needs_mounts
def test_nothing_but_the_line_is_said_of_many_arrays_on_a_full_disk(tmp_path):
    """Each of them fails in a thread of its own, most of them after the save was given up."""
    (tmp_path / "small").mkdir()
    (tmp_path / "saves.py").write_text(
        """
import jax
from pathlib import Path
from data_pipelines.errors import UserError
from ssl_jax.checkpoints.saving import Bundles
from ssl_jax.training.state import TrainState

params = {str(i): jax.random.normal(jax.random.key(i), (64, 300)) for i in range(60)}
for step in range(20):
    state = TrainState(jax.numpy.asarray(step), params, {}, {"mu": params})
    try:
        with Bundles(Path(f"small/{step}"), 2) as bundles:
            bundles.save(state, {}, {})
    except UserError as told:
        print(told)
"""
    )
    done = mounted(
        f"""
        mount -t tmpfs -o size=400k tmpfs small
        exec {sys.executable} saves.py
        """,
        tmp_path,
        {**os.environ, "PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"},
    )
    assert done.stdout.count("No space left on device") == done.stdout.count("\n") == 20
    assert done.stderr == ""


@needs_mounts
@pytest.mark.parametrize("begun", [False, True])
def test_a_workdir_that_cannot_be_written_is_refused_in_one_line(
    begun, job, stopped, undisturbed, tmp_path, faults
):
    run = stopped.copy(tmp_path / "run") if begun else job("mae", tmp_path / "run")
    run.workdir.mkdir(exist_ok=True)
    before = files(run.workdir)
    done = mounted(
        f"""
        mount --bind run run && mount -o remount,ro,bind run
        cd {shlex.quote(os.getcwd())}
        {shlex.join(run.command)}
        echo rc=$?
        """,
        tmp_path,
        run.environment(),
    )
    assert "rc=2" in done.stdout, done.stderr
    assert done.stderr == (
        f"error: workdir {run.workdir}: Read-only file system; expected a folder that can be "
        "written\n"
    )
    assert files(run.workdir) == before
    assert_equal_runs(undisturbed, run.done())
    which = "of a run under way" if begun else "that is new"
    faults.record(f"read-only workdir {which}", 1, 1, f"2: {done.stderr.strip()}")
