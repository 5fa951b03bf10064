"""Evaluation of whole images in jobs of two processes, which share the blocks of the images."""

import json
import os
import subprocess
import sys

import jax_environment
import numpy as np
import pytest
from faults.cluster.cluster_job import ClusterJob, describe_process, find_free_port
from faults.harness import CACHE
from small_configs import make_small_config
from waiting import TIMEOUT_SECONDS

from data_pipelines.errors import STOPPED
from ssl_jax.checkpoints import finding
from ssl_jax.runs.training import train
from ssl_jax.training.metric_writer import read_records


def evaluate(workdir, file, processes, devices):
    """Run `ssl_jax.evaluate` in several processes, and return the metrics."""
    port = find_free_port()
    command = [sys.executable, "-m", "ssl_jax.evaluate", "--checkpoint", str(workdir)]
    started = [
        subprocess.Popen(
            [*command, "--json", str(file)],
            env={
                **os.environ,
                **jax_environment.make_environment(devices, CACHE),
                **(describe_process("user", port, processes, index) if processes > 1 else {}),
            },
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    for process in started:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0, errors
    return json.loads(file.read_text())


def test_metrics_are_equal_bit_for_bit_in_one_and_two_processes(data_dir, tmp_path, faults):
    config = make_small_config("segmentation", data_dir)
    config.evaluation = {"window": 32, "stride": 24, "flips": False}
    config.steps = 2
    train(config, tmp_path / "run")
    metrics = [
        evaluate(tmp_path / "run", tmp_path / f"{processes}.json", processes, devices)
        for processes, devices in ((1, 1), (2, 2))
    ]
    assert metrics[0] == metrics[1]
    faults.record("evaluation in 2 processes × 2 devices instead of 1 × 1", 1, 1, "nothing")


@pytest.mark.parametrize("group", [3])
def test_a_signal_to_one_process_stops_both_in_the_midst_of_an_evaluation(
    group, data_dir, tmp_path, faults
):
    """Whichever is ahead; the evaluation is repeated after the restart."""
    config = "two_processes.py:segmentation"
    variables = {"FAULTS_SIGNAL_IN_SWEEP": str(group)}
    codes, errors = ClusterJob(config, tmp_path, data_dir, variables=variables).wait()
    assert codes == [STOPPED, STOPPED], errors
    assert finding.find_newest_checkpoint(tmp_path).name == "2"
    codes, errors = ClusterJob(config, tmp_path, data_dir).wait()
    assert codes == [0, 0], errors
    records = read_records(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in records if r["phase"] == "evaluation"] == [2, 4]
    with np.load(tmp_path / "predictions.npz") as predictions:
        assert len(predictions["index"]) == 8
    faults.record(f"SIGUSR1 to one process of 2 at group {group} of an evaluation", 1, 1, "75")
