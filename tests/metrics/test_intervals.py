"""95 % intervals cover the true score in 95 of 100 cases and agree with SciPy's."""

import numpy as np
import pytest
from scipy import stats

from ssl_jax import metrics
from ssl_jax.metrics import intervals


def make_counts(correct, index=None):
    """Create the counts of a run that classified these examples correctly or not."""
    correct = np.asarray(correct, bool)
    index = np.arange(len(correct)) if index is None else index
    predictions = {"index": index, "label": np.zeros(len(correct), int), "predicted": ~correct}
    return intervals.count_by_example(predictions, "top1")


def test_the_interval_of_an_accuracy_agrees_with_scipy():
    correct = np.random.default_rng(0).random(300) < 0.8
    expected = stats.bootstrap(
        (correct,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(
        intervals.bootstrap_mean([make_counts(correct)]), expected, atol=0.004
    )


def test_the_interval_of_a_paired_difference_agrees_with_scipy():
    rng = np.random.default_rng(0)
    is_hard = rng.random(300)
    first, second = is_hard + rng.random(300) > 0.6, is_hard + rng.random(300) > 0.7
    expected = stats.bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = intervals.bootstrap_difference([make_counts(first)], [make_counts(second)], paired=True)
    np.testing.assert_allclose(ours, expected, atol=0.004)


def test_the_interval_of_an_iou_agrees_with_scipy():
    confusion = np.random.default_rng(0).integers(0, 30, (40, 3, 3))
    run = intervals.count_by_example({"index": np.arange(40), "confusion": confusion}, "mIoU")
    expected = stats.bootstrap(
        (np.arange(40),),
        lambda chosen: metrics.mean_iou(confusion[chosen].sum(axis=0)),
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose(intervals.bootstrap_mean([run]), expected, atol=0.003)


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_agree_with_the_metrics(classes):
    rng = np.random.default_rng(classes)
    confusion = rng.integers(0, 9, (6, classes, classes))
    confusion[..., 0, :] = confusion[..., :, 0] = 0  # a class that doesn't occur
    predictions = {"index": np.arange(6), "confusion": confusion}
    total = confusion.sum(axis=0)
    for metric, expected in (("mIoU", metrics.mean_iou), ("OA", metrics.overall_accuracy)):
        run = intervals.count_by_example(predictions, metric)
        assert run.score(run.counts.sum(axis=0)) == pytest.approx(expected(total))
    assert intervals.count_by_example(predictions, "kappa") is None


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_the_interval_covers_the_true_accuracy_in_95_of_100_cases(accuracy):
    rng = np.random.default_rng(0)
    cases = 600
    bounds = [
        intervals.bootstrap_mean(
            [make_counts(rng.random(300) < accuracy)], resamples=1000, seed=case
        )
        for case in range(cases)
    ]
    covered = np.mean([low <= accuracy <= high for low, high in bounds])
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / cases) ** 0.5


def test_a_paired_difference_has_the_right_coverage_and_an_unpaired_one_is_too_wide():
    """Two networks with the same hard examples, three seeds each; the second is 4 points better."""
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for case in range(400):
        is_hard = rng.random(250) < 0.3
        rows = [
            [make_counts(rng.random(250) < np.where(is_hard, low, high)) for _ in range(3)]
            for low, high in ((0.2, 0.98), (0.3, 0.994))
        ]
        truth = 0.3 * 0.1 + 0.7 * 0.014
        for paired in (True, False):
            low, high = intervals.bootstrap_difference(rows[1], rows[0], paired, 1000, case)
            covered.append(low <= truth <= high)
            widths.append(high - low)
    assert abs(np.mean(covered[::2]) - 0.95) < 3 * (0.95 * 0.05 / 400) ** 0.5
    assert np.mean(widths[1::2]) > 1.5 * np.mean(widths[::2])


def test_an_example_is_drawn_for_all_seeds_together():
    """Three runs on the same examples are no more precise than one; on other examples they are."""
    correct = np.random.default_rng(0).random(400) < 0.7

    def width(*runs):
        low, high = intervals.bootstrap_mean(runs)
        return high - low

    once = width(make_counts(correct))
    thrice = width(*3 * [make_counts(correct)])
    others = width(*(make_counts(correct, np.arange(400) + 1000 * n) for n in range(3)))
    shuffled = np.random.default_rng(1).permutation(400)
    same = width(make_counts(correct), make_counts(correct[shuffled], shuffled))
    assert thrice == pytest.approx(once, rel=0.02)
    assert same == pytest.approx(once, rel=0.02)
    assert others == pytest.approx(once / 3**0.5, rel=0.05)


def test_the_interval_is_reproducible():
    run = make_counts(np.arange(1009) % 3 > 0)
    assert intervals.bootstrap_mean([run]) == intervals.bootstrap_mean([run])
    assert intervals.bootstrap_mean([run], 99) != intervals.bootstrap_mean([run], 99, seed=1)


def test_without_wrong_answers_the_interval_is_a_point():
    assert intervals.bootstrap_mean([make_counts(np.ones(10))]) == (1, 1)


@pytest.mark.parametrize("seeds", [2, 3, 5, 11, 30])
def test_the_margin_over_seeds_is_that_of_student_t(seeds):
    expected = stats.t.ppf(0.975, seeds - 1) * 2.0 / seeds**0.5
    assert expected <= intervals.student_t_margin(2.0, seeds) <= 1.1 * expected
