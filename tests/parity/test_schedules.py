"""Learning rates step by step against the references' formulas and PyTorch's schedulers."""

import math

import jax
import numpy as np
import pytest
import torch
from deviation import deviation, expect_agreement

from ssl_jax.training import schedules

PEAK, STEPS, WARMUP = 0.3, 200, 30


def rates(schedule, steps=STEPS):
    """The learning rate of each step, as the optimizers ask for it."""
    return np.asarray(jax.vmap(schedule)(np.arange(steps, dtype=np.int32)), np.float64)


def of_mae(step, warmup, minimum):
    """`adjust_learning_rate` of facebookresearch/mae, its epochs being steps."""
    if step < warmup:
        return PEAK * step / warmup
    progress = (step - warmup) / (STEPS - warmup)
    return minimum + (PEAK - minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))


def of_simclr(step, warmup):
    """`learning_rate_schedule` of google-research/simclr, with TensorFlow's `cosine_decay`."""
    if step < warmup:
        return step / warmup * PEAK
    completed = min(step - warmup, STEPS - warmup) / (STEPS - warmup)
    return PEAK * 0.5 * (1 + math.cos(math.pi * completed))


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("minimum", [0.0, 1e-3])
def test_cosine_is_that_of_mae(warmup, minimum):
    ours = rates(schedules.cosine(PEAK, STEPS, warmup, minimum / PEAK))
    theirs = np.array([of_mae(step, warmup, minimum) for step in range(STEPS)])
    expect_agreement(f"cosine, MAE, {warmup=}", {"rate": ours}, {"rate": theirs}, 1e-6)


@pytest.mark.parametrize("warmup", [0, WARMUP])
def test_cosine_is_that_of_simclr(warmup):
    ours = rates(schedules.cosine(PEAK, STEPS, warmup))
    theirs = np.array([of_simclr(step, warmup) for step in range(STEPS)])
    expect_agreement(f"cosine, SimCLR, {warmup=}", {"rate": ours}, {"rate": theirs}, 1e-6)


def through_torch(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


@pytest.mark.parametrize("power", [0.9, 1.0])
def test_polynomial_is_torchs(power):
    theirs = through_torch(
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=STEPS, power=power)
    )
    ours = rates(schedules.polynomial(PEAK, STEPS, power=power))
    expect_agreement(f"polynomial, torch, {power=}", {"rate": ours}, {"rate": theirs}, 1e-6)


@pytest.mark.parametrize(("power", "minimum"), [(0.9, 1e-4), (1.0, 0.0)])
def test_polynomial_is_that_of_mmsegmentation(power, minimum):
    """`PolyLrUpdaterHook.get_lr` of mmcv 1, with which its recipes were trained."""
    coefficients = (1 - np.arange(STEPS) / STEPS) ** power
    theirs = (PEAK - minimum) * coefficients + minimum
    ours = rates(schedules.polynomial(PEAK, STEPS, 0, minimum / PEAK, power))
    expect_agreement(f"polynomial, mmcv 1, {power=}", {"rate": ours}, {"rate": theirs}, 1e-6)


def of_mmengine(warmup, power, minimum, start_factor=1e-6):
    """`LinearLR` until `warmup` and then `PolyLR`, both step on step as mmengine computes them.

    Each counts `end - begin - 1` steps: its last one has the final value.
    """
    found, rate = [], PEAK * start_factor
    for step in range(warmup):
        if step > 0:
            span = 1 - start_factor
            rate *= 1 + span / ((warmup - 1) * start_factor + (step - 1) * span)
        found.append(rate)
    rate = PEAK
    for step in range(STEPS - warmup):
        if step > 0:
            left = 1 - 1 / (STEPS - warmup - 1 - step + 1)
            rate = (rate - minimum) * left**power + minimum
        found.append(rate)
    return found


@pytest.mark.parametrize(("warmup", "power"), [(0, 0.9), (WARMUP, 1.0)])
def test_polynomial_is_that_of_mmengine_but_for_a_step(warmup, power):
    """mmengine's phases are a step shorter: ours lies within a step of its own slope of theirs."""
    ours = rates(schedules.polynomial(PEAK, STEPS, warmup, power=power))
    theirs = np.array(of_mmengine(warmup, power, 0.0))
    print(f"\npolynomial, mmengine, {warmup=}: {deviation(ours, theirs):.1e} of the peak")
    steepest = np.abs(np.diff(theirs)).max()
    assert np.abs(ours - theirs).max() <= 1.05 * steepest
