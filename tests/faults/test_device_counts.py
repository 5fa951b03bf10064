"""A run resumes on another number of devices with the same order of examples and losses."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from faults.harness import Job
from small_configs import read_losses

from ssl_jax.checkpoints import loading

# Runs with computations across devices (NT-Xent's negatives, batch norm, precomputed features), and
# the numbers of devices before and after the interruption.
RUNS = {
    "simclr": (("simclr",), [(8, 1), (8, 4), (1, 8)]),
    "mae": (("mae",), [(8, 2)]),
    "batch norm": (
        (
            *("simclr", "model.backbone.norm=batch", "model.projection.norm=batch"),
            "optimizer.learning_rate=0.001",  # larger steps amplify rounding errors
        ),
        [(8, 2)],
    ),
    "features": (("classification",), [(1, 8)]),
}


close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def interrupt_run(job, kind, workdir, devices, *overrides) -> Job:
    run = job(kind, workdir, "steps=20", "every.log=1", *overrides, devices=devices)
    assert run.run("15 step@12 1 0").code == 75
    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_run_resumes_on_other_devices(name, job, tmp_path, faults):
    (kind, *overrides), changes = RUNS[name]
    uninterrupted = job(
        kind, tmp_path / "uninterrupted", "steps=20", "every.log=1", *overrides, devices=8
    ).run_to_completion()
    interrupted = {
        devices: interrupt_run(job, kind, tmp_path / f"from{devices}", devices, *overrides)
        for devices in {before for before, _ in changes}
    }
    for before, after in changes:
        copy = interrupted[before].copy(tmp_path / f"from{before}_to{after}")
        run = dataclasses.replace(copy, devices=after).run_to_completion()
        assert run.read_batches() == uninterrupted.read_batches()
        np.testing.assert_allclose(
            read_losses(run.workdir), read_losses(uninterrupted.workdir), rtol=1e-5
        )
        actual, expected = (loading.load_variables(r.workdir) for r in (run, uninterrupted))
        jax.tree.map(close, actual, expected)
    which = ", ".join(f"{before} → {after}" for before, after in changes)
    faults.record(
        f"resumed on other devices ({name}): {which}", len(changes), len(changes), "nothing"
    )
