"""Estimators against the printed example of Olofsson et al. (2014), scipy and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from ssl_jax.estimation.estimators import (
    Interval,
    Strata,
    bound_proportion,
    estimate_difference,
    estimate_ratio,
    estimate_share,
)

NORMAL, SCORE = Interval(method="normal"), Interval()
DRAWS = 2000

# Olofsson et al. 2014, section 5: deforestation, gain, stable forest, stable non-forest.
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
MATRIX = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
EXAMPLE = Strata(PIXELS / PIXELS.sum(), MATRIX.sum(1))
HECTARES = PIXELS.sum() * 30**2 / 10_000
PRINTED = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]


def accuracy(kind, counts, index, strata, interval):
    """Estimate an accuracy from (..., strata, references) counts, where strata are classes."""
    is_own = np.arange(counts.shape[-1]) == index
    hits = counts[..., index] * is_own
    if kind == "users":
        misses, possible = (counts.sum(-1) - counts[..., index]) * is_own, (is_own, is_own)
    else:
        misses, possible = counts[..., index] * ~is_own, (is_own, ~is_own)
    return estimate_ratio(strata, hits, misses, interval, possible=possible)


def test_areas_are_those_of_the_printed_example():
    for index, printed in enumerate(PRINTED):
        share = estimate_share(EXAMPLE, MATRIX[:, index], NORMAL)
        half = (share.upper - share.lower) / 2
        assert (round(float(share.value * HECTARES)), round(float(half * HECTARES))) == printed
    overall = estimate_share(EXAMPLE, np.diag(MATRIX), NORMAL)
    assert round(float(overall.value), 3) == 0.947


def test_accuracies_are_those_of_the_printed_example():
    """User's 0.88 ± 0.07, 0.73 ± 0.10, 0.93 ± 0.04, 0.96 ± 0.02; producer's as in equation 7."""
    users = [accuracy("users", MATRIX, index, EXAMPLE, NORMAL) for index in range(4)]
    assert [round(float(e.value), 2) for e in users] == [0.88, 0.73, 0.93, 0.96]
    half = [round(float(1.96 * e.standard_error), 2) for e in users]
    assert half == [0.07, 0.10, 0.04, 0.02]
    producers = [accuracy("producers", MATRIX, index, EXAMPLE, NORMAL) for index in range(4)]
    assert [round(float(e.value), 2) for e in producers] == [0.75, 0.85, 0.93, 0.96]
    sizes, shares = MATRIX.sum(1), MATRIX / MATRIX.sum(1, keepdims=True)
    for j, estimate in enumerate(producers):
        total = (PIXELS * shares[:, j]).sum()
        value, users_accuracy = PIXELS[j] * shares[j, j] / total, shares[j, j]
        variance = PIXELS[j] ** 2 * (1 - value) ** 2 * users_accuracy * (1 - users_accuracy)
        variance /= sizes[j] - 1
        others = PIXELS**2 * shares[:, j] * (1 - shares[:, j]) / (sizes - 1)
        variance += value**2 * np.delete(others, j).sum()
        assert estimate.standard_error == pytest.approx(np.sqrt(variance) / total, rel=1e-9)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_a_proportion_has_wilsons_limits_but_for_few_hits(n, share, confidence):
    hits = round(n * share)
    lower, upper = bound_proportion(np.array(hits), np.array(n), Interval(confidence))
    wilson = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    tolerance = 1e-4  # of the quantile 1.96
    assert lower <= wilson.low + tolerance
    assert upper >= wilson.high - tolerance
    if hits > 3:
        assert lower == pytest.approx(wilson.low, abs=tolerance)
    if n - hits > 3:
        assert upper == pytest.approx(wilson.high, abs=tolerance)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_limits_hold_the_estimate_and_are_shares(data):
    count = data.draw(st.integers(1, 4))
    sizes = np.array(data.draw(st.lists(st.integers(2, 60), min_size=count, max_size=count)))
    weights = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=count, max_size=count)))
    hits = np.array([data.draw(st.integers(0, int(size))) for size in sizes])
    misses = np.array([data.draw(st.integers(0, int(n - h))) for n, h in zip(sizes, hits)])  # noqa: B905
    strata = Strata(weights / weights.sum(), sizes)
    for estimate, lowest in (
        (estimate_share(strata, hits, SCORE), 0),
        (estimate_ratio(strata, hits, misses, SCORE), 0),
        (estimate_difference(strata, hits, misses, SCORE), -1),
    ):
        lower, upper = float(estimate.lower), float(estimate.upper)
        assert lowest - 1e-9 <= lower <= upper <= 1 + 1e-9
        if not np.isnan(estimate.value):
            assert lower - 1e-9 <= estimate.value <= upper + 1e-9


def test_a_ratio_over_everything_is_a_share():
    """What hits as a share of what hits or misses, if everything does: the same interval too."""
    hits = MATRIX[:, 1]
    ratio = estimate_ratio(EXAMPLE, hits, MATRIX.sum(1) - hits, SCORE)
    share = estimate_share(EXAMPLE, hits, SCORE)
    assert np.array(ratio) == pytest.approx(np.array(share), abs=1e-9)


def test_a_stratum_without_units_may_hold_all_or_nothing():
    strata = Strata(np.array([0.7, 0.3]), np.array([50, 0]))
    share = estimate_share(strata, np.array([25, 0]), SCORE, np.array([0.0, 0.4]))
    assert share.value == pytest.approx(0.7 * 0.5 + 0.3 * 0.4)
    assert share.lower < 0.35 - 0.05
    assert share.upper > 0.35 + 0.3 + 0.05


def survey(quality):
    """Return areas of mapped classes and what they really are, for a map of some quality.

    The first class has 0.5 % of the map.
    """
    weights = np.array([0.005, 0.02, 0.175, 0.8])
    users = {
        "good": [0.9, 0.9, 0.95, 0.98],
        "middling": [0.7, 0.75, 0.85, 0.93],
        "poor": [0.4, 0.5, 0.7, 0.85],
    }[quality]
    truth = np.zeros((4, 4))
    for index, right in enumerate(users):
        others = np.where(np.arange(4) == index, 0, weights)
        truth[index] = (1 - right) * others / others.sum()
        truth[index, index] = right
    return weights, truth


def draw(truth, sizes, seed):
    """Draw surveys: (draws, strata, references) counts."""
    rng = np.random.default_rng(seed)
    rows = [rng.multinomial(n, p, size=DRAWS) for n, p in zip(sizes, truth, strict=True)]
    return np.stack(rows, 1)


def covers(estimate, true):
    return np.mean((estimate.lower <= true) & (true <= estimate.upper))


@pytest.mark.parametrize("samples", [120, 500])
@pytest.mark.parametrize("allocation", ["proportional", "equal"])
@pytest.mark.parametrize("quality", ["good", "middling", "poor"])
def test_score_based_intervals_hold_the_truth(quality, allocation, samples):
    weights, truth = survey(quality)
    equal = np.full(4, samples // 4)
    sizes = np.maximum(np.round(samples * weights), 2).astype(int)
    sizes = equal if allocation == "equal" else sizes
    counts, strata = draw(truth, sizes, seed=samples), Strata(weights, sizes)
    for index in range(4):
        true = (weights * truth[:, index]).sum()
        estimate = estimate_share(strata, counts[..., index], SCORE)
        # Strata that matter: those with a twentieth of the variance or more.
        parts = weights**2 * truth[:, index] * (1 - truth[:, index]) / sizes
        expected = (sizes * truth[:, index])[parts >= 0.05 * parts.sum()]
        least = 0.93 if expected.min() >= 5 else 0.9
        assert covers(estimate, true) >= least
        producers = weights[index] * truth[index, index] / true
        found = accuracy("producers", counts, index, strata, SCORE)
        assert covers(found, producers) >= 0.9
        found = accuracy("users", counts, index, strata, SCORE)
        assert covers(found, truth[index, index]) >= 0.9


def test_normal_intervals_fail_where_classes_are_rare():
    """Why they aren't the default."""
    weights, truth = survey("middling")
    sizes = np.full(4, 30)
    estimate = estimate_share(Strata(weights, sizes), draw(truth, sizes, 0)[..., 0], NORMAL)
    assert covers(estimate, (weights * truth[:, 0]).sum()) < 0.5


@pytest.mark.parametrize("samples", [100, 400])
@pytest.mark.parametrize("differing", [0.01, 0.1, 0.3])
def test_equal_maps_are_rarely_called_better(differing, samples):
    """Two maps that are right equally often, in other places, by stratum to different degrees."""
    weights = np.array([0.1, 0.3, 0.6])
    only_first = np.array([1.5, 0.5, 0.5]) * differing / 2
    only_second = only_first + np.array([-0.6, 0.4, -0.1]) * differing / 2
    assert (weights * only_first).sum() == pytest.approx((weights * only_second).sum())
    rng = np.random.default_rng(int(1000 * differing) + samples)
    for sizes in (np.full(3, samples // 3), np.round(samples * weights).astype(int)):
        shares = np.stack([only_first, only_second, 1 - only_first - only_second], 1)
        drawn = [rng.multinomial(n, p, size=DRAWS) for n, p in zip(sizes, shares, strict=True)]
        counts = np.stack(drawn, 1)
        found = estimate_difference(Strata(weights, sizes), counts[..., 0], counts[..., 1], SCORE)
        assert np.mean((found.lower > 0) | (found.upper < 0)) <= 0.06


@pytest.mark.parametrize("share", [0.03, 0.2])
@pytest.mark.parametrize("quality", ["good", "poor"])
def test_intervals_of_regions_hold_the_truth(quality, share):
    """The units in a region are a sample of it; in some strata there are few, or none."""
    weights, truth = survey(quality)
    rng = np.random.default_rng(7)
    sizes = np.array([100, 100, 100, 200])
    inside = rng.binomial(sizes, share, size=(DRAWS, 4))
    # The region's own truth is worse than that of the rest.
    own = 0.8 * truth + 0.2 * weights
    counts = np.stack([rng.multinomial(inside[:, h], own[h]) for h in range(4)], 1)
    rest = np.stack([rng.multinomial(sizes[h] - inside[:, h], truth[h]) for h in range(4)], 1)
    everywhere = (counts + rest) / sizes[:, None]
    strata = Strata(weights, inside)
    for index in range(4):
        found = estimate_share(strata, counts[..., index], SCORE, everywhere[..., index])
        assert covers(found, (weights * own[:, index]).sum()) >= 0.9
