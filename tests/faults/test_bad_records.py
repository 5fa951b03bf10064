"""Corrupt records in the datasets that the commands read."""

import json
import os
import socket
import subprocess
import sys

import jax_environment
import numpy as np
import pytest
from corruption import copy_dataset, corrupt_records
from faults.harness import CACHE
from small_configs import make_small_config, read_losses
from waiting import TIMEOUT_SECONDS, wait_for

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints.loading import load_variables
from ssl_jax.runs.training import train

TILES, SCENES = "demo_tiles/tiny", "demo_scenes/tiny"


def make_mae_arguments(folder):
    return [
        *("--config", "tests/helpers/small_configs.py:mae", f"--config.data.data_dir={folder}"),
        *("--config.data.threads=4", "--config.data.evaluation=train"),
        *("--config.every.save=2", "--config.steps=7"),
    ]


def start(command, devices, cluster=()):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **jax_environment.make_environment(devices, CACHE), **dict(cluster)},
    )


def run(command, devices=2):
    process = start(command, devices)
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_in_two_processes(command):
    """Run a job of two processes on loopback with one device each; returns the exit codes."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_PROCESS_COUNT": "2"}
    processes = [start(command, 1, {**job, "JAX_PROCESS_ID": str(n)}) for n in range(2)]
    errors = [process.communicate(timeout=TIMEOUT_SECONDS)[1] for process in processes]
    assert all("; skipping it" in text for text in errors), errors  # each reads some of them
    return [process.returncode for process in processes]


def load_results(workdir):
    return json.loads((workdir / "results.json").read_text())


def find_warnings(process):
    return [line for line in process.stderr.splitlines() if line.startswith("warning: file")]


@pytest.fixture
def tiles(data_dir, tmp_path):
    """A folder with corrupt tiles, their shard, and the indices of the corrupt records in it."""
    folder = tmp_path / "data"
    shard = copy_dataset(data_dir, TILES, folder)["train"]
    return folder, shard, corrupt_records(shard, TILES, folder, "train", [5, 6, 40])


def test_a_run_stops_at_a_corrupt_record_or_skips_it_reproducibly(tiles, tmp_path, faults):
    """With skipping from the second start on, after a kill, and in two processes."""
    folder, shard, indices = tiles
    runs = {name: tmp_path / name for name in ("stopped", "killed", "two")}
    command = ["ssl_jax.train", *make_mae_arguments(folder), "--workdir"]
    stopped = run([*command, runs["stopped"]])
    assert stopped.returncode == 2, stopped.stderr
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert f"file {shard}, record " in line
    assert "skip the record with --config.data.on_error=skip" in line
    assert "Traceback" not in stopped.stderr

    skip = "--config.data.on_error=skip"
    resumed = run([*command, runs["stopped"], skip])
    assert resumed.returncode == 0, resumed.stderr
    assert len(find_warnings(resumed)) == 3
    expected = load_results(runs["stopped"])
    skipped = expected["data"]["skipped"]
    assert skipped["count"] == 3
    assert [record["index"] for record in skipped["records"]] == sorted(indices)
    assert {record["file"] for record in skipped["records"]} == {str(shard)}

    killed = start([*command, runs["killed"], skip], devices=4)
    wait_for(lambda: list(runs["killed"].glob("checkpoints/[1-9]/manifest.json")), killed)
    killed.kill()
    killed.communicate()
    assert run([*command, runs["killed"], skip]).returncode == 0
    assert run_in_two_processes([*command, runs["two"], skip]) == [0, 0]
    for name in ("killed", "two"):
        results = load_results(runs[name])
        assert results["data"]["skipped"] == skipped
        np.testing.assert_allclose(read_losses(runs[name]), read_losses(runs["stopped"]), rtol=1e-5)
        assert results["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], rel=1e-5)
    faults.record("corrupt records", 1, 1, f"2: {line}")
    variants = "uninterrupted, killed and resumed, in two processes"
    warning = find_warnings(resumed)[0]
    faults.record(f"corrupt records, on_error=skip: {variants}", 3, 3, warning)


def test_precomputed_features_skip_the_same_records_as_features_of_each_step(
    data_dir, tmp_path, monkeypatch
):
    folder = tmp_path / "data"
    shard = copy_dataset(data_dir, SCENES, folder)["train"]
    subsets = [
        select_subset(open_dataset(SCENES, folder), f"all[5:5]{rest}").examples.rows
        for rest in ("", ".rest")
    ]
    bad = [int(rows[position]) for rows in subsets for position in (0, 3, -1)]
    corrupt_records(shard, SCENES, folder, "all", bad)
    config = make_small_config("classification", folder)
    config.data.on_error = "skip"
    once = train(config, tmp_path / "once")
    monkeypatch.setattr(
        "ssl_jax.runs.features.precompute_features", lambda run, variables, stop: run
    )
    each_step = train(config, tmp_path / "each_step")
    assert once["data"]["skipped"] == each_step["data"]["skipped"]
    assert once["data"]["skipped"]["count"] == len(bad)
    assert np.sum(once["confusion"]) == np.sum(each_step["confusion"]) == len(subsets[1]) - 3
    np.testing.assert_allclose(
        read_losses(tmp_path / "once"), read_losses(tmp_path / "each_step"), rtol=1e-5
    )
    actual, expected = (
        load_variables(tmp_path / name)["params"]["head"] for name in ("once", "each_step")
    )
    for name in actual:
        for leaf in actual[name]:
            np.testing.assert_allclose(actual[name][leaf], expected[name][leaf], atol=1e-5)


def test_evaluate_stops_or_skips_as_the_training_did(data_dir, tmp_path):
    folder = tmp_path / "data"
    shard = copy_dataset(data_dir, SCENES, folder)["train"]
    for on_error in ("stop", "skip"):
        config = make_small_config("classification", folder)
        config.steps, config.data.on_error = 1, on_error
        assert train(config, tmp_path / on_error)["data"]["skipped"]["count"] == 0
    corrupt_records(shard, SCENES, folder, "train", [0, 11])
    evaluate = ["ssl_jax.evaluate", "--split", "train", "--checkpoint"]
    stopped = run([*evaluate, tmp_path / "stop"])
    assert stopped.returncode == 2
    assert f"error: file {shard}, record " in stopped.stderr
    skipped = run([*evaluate, tmp_path / "skip"])
    assert skipped.returncode == 0, skipped.stderr
    assert len(find_warnings(skipped)) == 2
