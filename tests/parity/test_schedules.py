"""Learning rates of each step against formulas of the references and PyTorch's schedulers."""

import math

import jax
import numpy as np
import pytest
import torch
from relative_error import assert_agreement, relative_error

from ssl_jax.training import schedules

PEAK, STEPS, WARMUP = 0.3, 200, 30


def compute_rates(schedule, steps=STEPS):
    """Compute the learning rate of each step, as the optimizers do."""
    return np.asarray(jax.vmap(schedule)(np.arange(steps, dtype=np.int32)), np.float64)


def compute_mae_rate(step, warmup, minimum):
    """Reimplement `adjust_learning_rate` of facebookresearch/mae, with steps as epochs."""
    if step < warmup:
        return PEAK * step / warmup
    progress = (step - warmup) / (STEPS - warmup)
    return minimum + (PEAK - minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))


def compute_simclr_rate(step, warmup):
    """Reimplement `learning_rate_schedule` of google-research/simclr."""
    if step < warmup:
        return step / warmup * PEAK
    # TensorFlow's `cosine_decay`.
    completed = min(step - warmup, STEPS - warmup) / (STEPS - warmup)
    return PEAK * 0.5 * (1 + math.cos(math.pi * completed))


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("minimum", [0.0, 1e-3])
def test_cosine_is_that_of_mae(warmup, minimum):
    ours = compute_rates(schedules.cosine(PEAK, STEPS, warmup, minimum / PEAK))
    theirs = np.array([compute_mae_rate(step, warmup, minimum) for step in range(STEPS)])
    assert_agreement(f"cosine, MAE, {warmup=}", {"rate": ours}, {"rate": theirs}, 1e-6)


@pytest.mark.parametrize("warmup", [0, WARMUP])
def test_cosine_is_that_of_simclr(warmup):
    ours = compute_rates(schedules.cosine(PEAK, STEPS, warmup))
    theirs = np.array([compute_simclr_rate(step, warmup) for step in range(STEPS)])
    assert_agreement(f"cosine, SimCLR, {warmup=}", {"rate": ours}, {"rate": theirs}, 1e-6)


def compute_torch_rates(make_scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("power", [0.9, 1.0])
def test_polynomial_is_that_of_torch(power):
    theirs = compute_torch_rates(
        lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=STEPS, power=power)
    )
    ours = compute_rates(schedules.polynomial(PEAK, STEPS, power=power))
    assert_agreement(f"polynomial, torch, {power=}", {"rate": ours}, {"rate": theirs}, 1e-6)


@pytest.mark.parametrize(("power", "minimum"), [(0.9, 1e-4), (1.0, 0.0)])
def test_polynomial_is_that_of_mmsegmentation(power, minimum):
    """The reference is `PolyLrUpdaterHook.get_lr` of mmcv 1, which trained its recipes."""
    coefficients = (1 - np.arange(STEPS) / STEPS) ** power
    theirs = (PEAK - minimum) * coefficients + minimum
    ours = compute_rates(schedules.polynomial(PEAK, STEPS, 0, minimum / PEAK, power))
    assert_agreement(f"polynomial, mmcv 1, {power=}", {"rate": ours}, {"rate": theirs}, 1e-6)


def compute_mmengine_rates(warmup, power, minimum, start_factor=1e-6):
    """Compute mmengine's `LinearLR` until `warmup`, and then its `PolyLR`, step by step.

    Each lasts `end - begin - 1` steps: its last step has the final value.
    """
    rates, rate = [], PEAK * start_factor
    for step in range(warmup):
        if step > 0:
            span = 1 - start_factor
            rate *= 1 + span / ((warmup - 1) * start_factor + (step - 1) * span)
        rates.append(rate)
    rate = PEAK
    for step in range(STEPS - warmup):
        if step > 0:
            remaining = 1 - 1 / (STEPS - warmup - 1 - step + 1)
            rate = (rate - minimum) * remaining**power + minimum
        rates.append(rate)
    return rates


@pytest.mark.parametrize(("warmup", "power"), [(0, 0.9), (WARMUP, 1.0)])
def test_polynomial_is_within_one_step_of_that_of_mmengine(warmup, power):
    """As mmengine's phases are one step shorter, rates may differ by the change in a step."""
    ours = compute_rates(schedules.polynomial(PEAK, STEPS, warmup, power=power))
    theirs = np.array(compute_mmengine_rates(warmup, power, 0.0))
    print(f"\npolynomial, mmengine, {warmup=}: {relative_error(ours, theirs):.1e} of the peak")
    max_change = np.abs(np.diff(theirs)).max()
    assert np.abs(ours - theirs).max() <= 1.05 * max_change
