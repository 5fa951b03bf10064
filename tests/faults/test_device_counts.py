"""A run goes on with other devices: the same examples in the same order, the same losses."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from faults.harness import Job
from small import losses

from ssl_jax.checkpoints import loading

# What is computed over all devices: NT-Xent's negatives, batch norm, features computed once; and
# from how many devices to how many the run goes on.
RUNS = {
    "simclr": (("simclr",), [(8, 1), (8, 4), (1, 8)]),
    "mae": (("mae",), [(8, 2)]),
    "batch norm": (
        (
            *("simclr", "model.backbone.norm=batch", "model.projection.norm=batch"),
            "optimizer.learning_rate=0.001",  # a run that jumps about amplifies rounding
        ),
        [(8, 2)],
    ),
    "features": (("classification",), [(1, 8)]),
}


close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def stopped(job, kind, workdir, devices, *overrides) -> Job:
    run = job(kind, workdir, "steps=20", "every.log=1", *overrides, devices=devices)
    assert run.run("15 step@12 1 0").code == 75
    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_bundle_goes_on_with_other_devices(name, job, tmp_path, faults):
    (kind, *overrides), changes = RUNS[name]
    undisturbed = job(
        kind, tmp_path / "undisturbed", "steps=20", "every.log=1", *overrides, devices=8
    ).done()
    begun = {
        devices: stopped(job, kind, tmp_path / f"from{devices}", devices, *overrides)
        for devices in {before for before, _ in changes}
    }
    for before, after in changes:
        copy = begun[before].copy(tmp_path / f"from{before}_to{after}")
        run = dataclasses.replace(copy, devices=after).done()
        assert run.batches() == undisturbed.batches()
        np.testing.assert_allclose(losses(run.workdir), losses(undisturbed.workdir), rtol=1e-5)
        ours, theirs = (loading.load_variables(one.workdir) for one in (run, undisturbed))
        jax.tree.map(close, ours, theirs)
    which = ", ".join(f"{before} → {after}" for before, after in changes)
    faults.record(f"other devices ({name}): {which}", len(changes), len(changes), "nothing")
