"""Non-finite and exploding losses: reported with their examples, or skipped on request."""

import json
import signal

import pytest
from faults.harness import assert_equal_runs

from ssl_jax.training.metric_writer import read_records

# An example, which is in one batch per epoch, and the factor on the loss of that batch.
POISONS = {"NaN": "17 nan", "explosion": "5 1e6"}
STEPS_PER_EPOCH = 3


def find_poisoned_steps(job, poison):
    example, _ = poison.split()
    return {step for step, examples in job.read_batches().items() if example in examples.split()}


@pytest.mark.parametrize("poison", POISONS)
def test_a_bad_loss_stops_the_run_and_is_reported_with_step_objective_and_examples(
    poison, job, tmp_path, faults
):
    run = job("mae", tmp_path / "run")
    ended = run.run(FAULTS_POISON=POISONS[poison])
    assert ended.code == 1
    step = min(find_poisoned_steps(run, POISONS[poison]))
    line = ended.errors.splitlines()[-1]
    assert line.startswith(f"error: objective mae: the loss of step {step} is ")
    assert "its batch of 16 holds " in line
    (entry,) = json.loads((run.workdir / "bad_losses.json").read_text())
    assert (entry["step"], entry["objective"], entry["skipped"]) == (step, "mae", False)
    assert len(entry["examples"]) == 16
    assert not (run.workdir / "results.json").exists()
    again = run.run(FAULTS_POISON=POISONS[poison])  # with the same result
    assert (again.code, again.errors.splitlines()[-1]) == (1, line)
    faults.record(f"loss: {poison}", 1, 1, f"1: {line[7:]}")


def test_bad_batches_are_skipped_on_request_also_after_a_kill(job, tmp_path, faults):
    """NaN and exploding losses in one run."""
    overrides, poison = ("steps=12", "bad_loss.skip=8"), " ".join(POISONS.values())
    uninterrupted = job("mae", tmp_path / "uninterrupted", *overrides)
    uninterrupted.run_to_completion(FAULTS_POISON=poison)
    steps = [find_poisoned_steps(uninterrupted, poison) for poison in POISONS.values()]
    assert [len(steps_of_kind) for steps_of_kind in steps] == [12 / STEPS_PER_EPOCH] * 2
    assert steps[0] - steps[1]
    assert steps[1] - steps[0]
    bad_steps = steps[0] | steps[1]
    records = read_records(uninterrupted.workdir / "metrics.jsonl")
    assert {record["step"] for record in records if record["phase"] == "skipped"} == bad_steps
    entries = json.loads((uninterrupted.workdir / "bad_losses.json").read_text())
    assert {entry["step"] for entry in entries if entry["skipped"]} == bad_steps

    killed = job("mae", tmp_path / "killed", *overrides)
    for moment in ("step 3 0", "step@9 1 0.01"):
        ended = killed.run(f"9 {moment}", FAULTS_POISON=poison)
        assert ended.code == -signal.SIGKILL, ended
    killed.run_to_completion(FAULTS_POISON=poison)
    assert_equal_runs(uninterrupted, killed)
    faults.record("losses of both kinds, with bad_loss.skip", 2, 2, "warning: …; restarting")


def test_the_number_of_skipped_batches_is_limited(job, tmp_path):
    run = job("mae", tmp_path / "run", "bad_loss.skip=1")
    ended = run.run(FAULTS_POISON=POISONS["NaN"])
    assert ended.code == 1
    entries = json.loads((run.workdir / "bad_losses.json").read_text())
    assert [entry["skipped"] for entry in entries] == [True, False]
