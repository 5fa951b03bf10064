"""Damaged records, met by the programs that a user starts."""

import json
import os
import socket
import subprocess
import sys

import compiling
import numpy as np
import pytest
from corruption import copy_of, damage
from faults.harness import CACHE
from small import losses, small
from waiting import HANG, wait_for

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints.loading import load_variables
from ssl_jax.runs.training import train

TILES, SCENES = "demo_tiles/tiny", "demo_scenes/tiny"


def tiny_mae(folder):
    return [
        *("--config", "tests/helpers/small.py:mae", f"--config.data.data_dir={folder}"),
        *("--config.data.threads=4", "--config.data.evaluation=train"),
        *("--config.every.save=2", "--config.steps=7"),
    ]


def start(command, devices, cluster=()):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **compiling.environment(devices, CACHE), **dict(cluster)},
    )


def run(command, devices=2):
    process = start(command, devices)
    out, err = process.communicate(timeout=HANG)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_in_two_processes(command):
    """Exit codes of a job on loopback, of one device a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_PROCESS_COUNT": "2"}
    processes = [start(command, 1, {**job, "JAX_PROCESS_ID": str(n)}) for n in range(2)]
    said = [process.communicate(timeout=HANG)[1] for process in processes]
    assert all("going on without it" in text for text in said), said  # each met some of them
    return [process.returncode for process in processes]


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def warnings(done):
    return [line for line in done.stderr.splitlines() if line.startswith("warning: file")]


@pytest.fixture
def tiles(data_dir, tmp_path):
    """A folder with damaged tiles; their shard, and the damaged records' places in it."""
    folder = tmp_path / "data"
    shard = copy_of(data_dir, TILES, folder)["train"]
    return folder, shard, damage(shard, TILES, folder, "train", [5, 6, 40])


def test_a_run_ends_at_a_damaged_record_or_skips_it_the_same_way_however_it_is_done(
    tiles, tmp_path, faults
):
    """Told to skip in the second go; killed and started again; in two processes."""
    folder, shard, numbers = tiles
    runs = {name: tmp_path / name for name in ("stopped", "killed", "two")}
    command = ["ssl_jax.train", *tiny_mae(folder), "--workdir"]
    stopped = run([*command, runs["stopped"]])
    assert stopped.returncode == 2, stopped.stderr
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert f"file {shard}, record " in line
    assert "--config.data.on_error=skip goes on without it" in line
    assert "Traceback" not in stopped.stderr

    skip = "--config.data.on_error=skip"
    went_on = run([*command, runs["stopped"], skip])
    assert went_on.returncode == 0, went_on.stderr
    assert len(warnings(went_on)) == 3
    expected = results(runs["stopped"])
    skipped = expected["data"]["skipped"]
    assert skipped["count"] == 3
    assert [record["index"] for record in skipped["records"]] == sorted(numbers)
    assert {record["file"] for record in skipped["records"]} == {str(shard)}

    killed = start([*command, runs["killed"], skip], devices=4)
    wait_for(lambda: list(runs["killed"].glob("checkpoints/[1-9]/manifest.json")), killed)
    killed.kill()
    killed.communicate()
    assert run([*command, runs["killed"], skip]).returncode == 0
    assert run_in_two_processes([*command, runs["two"], skip]) == [0, 0]
    for name in ("killed", "two"):
        found = results(runs[name])
        assert found["data"]["skipped"] == skipped
        np.testing.assert_allclose(losses(runs[name]), losses(runs["stopped"]), rtol=1e-5)
        assert found["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], rel=1e-5)
    faults.record("damaged records", 1, 1, f"2: {line}")
    ways = "at once, killed and gone on, in two processes"
    faults.record(f"damaged records, on_error=skip: {ways}", 3, 3, warnings(went_on)[0])


def test_features_computed_once_see_the_same_as_those_of_each_step(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shard = copy_of(data_dir, SCENES, folder)["train"]
    sides = [
        select_subset(open_dataset(SCENES, folder), f"all[5:5]{rest}").examples.rows
        for rest in ("", ".rest")
    ]
    bad = [int(rows[place]) for rows in sides for place in (0, 3, -1)]
    damage(shard, SCENES, folder, "all", bad)
    config = small("classification", folder)
    config.data.on_error = "skip"
    once = train(config, tmp_path / "once")
    monkeypatch.setattr(
        "ssl_jax.runs.features.precompute_features", lambda run, variables, stop: run
    )
    each_step = train(config, tmp_path / "each_step")
    assert once["data"]["skipped"] == each_step["data"]["skipped"]
    assert once["data"]["skipped"]["count"] == len(bad)
    assert np.sum(once["confusion"]) == np.sum(each_step["confusion"]) == len(sides[1]) - 3
    np.testing.assert_allclose(losses(tmp_path / "once"), losses(tmp_path / "each_step"), rtol=1e-5)
    ours, theirs = (
        load_variables(tmp_path / name)["params"]["head"] for name in ("once", "each_step")
    )
    for name in ours:
        for leaf in ours[name]:
            np.testing.assert_allclose(ours[name][leaf], theirs[name][leaf], atol=1e-5)


def test_evaluate_stops_or_leaves_out_as_the_checkpoint_was_trained(data_dir, tmp_path):
    folder = tmp_path / "data"
    shard = copy_of(data_dir, SCENES, folder)["train"]
    for on_error in ("stop", "skip"):
        config = small("classification", folder)
        config.steps, config.data.on_error = 1, on_error
        assert train(config, tmp_path / on_error)["data"]["skipped"]["count"] == 0
    damage(shard, SCENES, folder, "train", [0, 11])
    evaluate = ["ssl_jax.evaluate", "--split", "train", "--checkpoint"]
    stopped = run([*evaluate, tmp_path / "stop"])
    assert stopped.returncode == 2
    assert f"error: file {shard}, record " in stopped.stderr
    skipped = run([*evaluate, tmp_path / "skip"])
    assert skipped.returncode == 0, skipped.stderr
    assert len(warnings(skipped)) == 2
