"""A loss that is no number, or explodes: named with its examples, or left out if so asked."""

import json
import signal

import pytest
from faults.harness import assert_equal_runs

from ssl_jax.training.metric_writer import read_records

# The batches with an example, one an epoch, and what their loss is multiplied by.
POISONS = {"NaN": "17 nan", "explosion": "5 1e6"}
EPOCH = 3  # steps


def poisoned_steps(job, poison):
    example, _ = poison.split()
    return {step for step, examples in job.batches().items() if example in examples.split()}


@pytest.mark.parametrize("poison", POISONS)
def test_a_bad_loss_stops_the_run_and_names_step_objective_and_examples(
    poison, job, tmp_path, faults
):
    run = job("mae", tmp_path / "run")
    ended = run.run(FAULTS_POISON=POISONS[poison])
    assert ended.code == 1
    step = min(poisoned_steps(run, POISONS[poison]))
    line = ended.errors.splitlines()[-1]
    assert line.startswith(f"error: the loss of step {step} of objective mae is ")
    assert "its batch of 16 holds " in line
    (entry,) = json.loads((run.workdir / "bad_losses.json").read_text())
    assert (entry["step"], entry["objective"], entry["skipped"]) == (step, "mae", False)
    assert len(entry["examples"]) == 16
    assert not (run.workdir / "results.json").exists()
    again = run.run(FAULTS_POISON=POISONS[poison])  # nothing is different
    assert (again.code, again.errors.splitlines()[-1]) == (1, line)
    faults.record(f"loss: {poison}", 1, 1, f"1: {line[7:]}")


def test_bad_batches_are_left_out_if_so_asked_also_after_a_kill(job, tmp_path, faults):
    """Of both kinds, in one run."""
    overrides, poison = ("steps=12", "bad_loss.skip=8"), " ".join(POISONS.values())
    undisturbed = job("mae", tmp_path / "undisturbed", *overrides)
    undisturbed.done(FAULTS_POISON=poison)
    kinds = [poisoned_steps(undisturbed, poison) for poison in POISONS.values()]
    assert [len(steps) for steps in kinds] == [12 / EPOCH, 12 / EPOCH]
    assert kinds[0] - kinds[1]
    assert kinds[1] - kinds[0]
    bad = kinds[0] | kinds[1]
    records = read_records(undisturbed.workdir / "metrics.jsonl")
    assert {record["step"] for record in records if record["phase"] == "skipped"} == bad
    entries = json.loads((undisturbed.workdir / "bad_losses.json").read_text())
    assert {entry["step"] for entry in entries if entry["skipped"]} == bad

    killed = job("mae", tmp_path / "killed", *overrides)
    for moment in ("step 3 0", "step@9 1 0.01"):
        ended = killed.run(f"9 {moment}", FAULTS_POISON=poison)
        assert ended.code == -signal.SIGKILL, ended
    killed.done(FAULTS_POISON=poison)
    assert_equal_runs(undisturbed, killed)
    faults.record("losses of both kinds, with bad_loss.skip", 2, 2, "warning: …; going back")


def test_no_more_batches_are_left_out_than_allowed(job, tmp_path):
    run = job("mae", tmp_path / "run", "bad_loss.skip=1")
    ended = run.run(FAULTS_POISON=POISONS["NaN"])
    assert ended.code == 1
    entries = json.loads((run.workdir / "bad_losses.json").read_text())
    assert [entry["skipped"] for entry in entries] == [True, False]
