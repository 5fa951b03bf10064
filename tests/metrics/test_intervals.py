"""A 95 % interval covers the truth in 95 of 100 cases, and agrees with SciPy's."""

import numpy as np
import pytest
from scipy import stats

from ssl_jax import metrics
from ssl_jax.metrics import intervals


def answers(right, index=None):
    """Outcomes of a run that got these examples right."""
    right = np.asarray(right, bool)
    index = np.arange(len(right)) if index is None else index
    predictions = {"index": index, "label": np.zeros(len(right), int), "predicted": ~right}
    return intervals.count_by_example(predictions, "top1")


def test_the_interval_of_an_accuracy_is_scipys():
    right = np.random.default_rng(0).random(300) < 0.8
    theirs = stats.bootstrap(
        (right,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(intervals.bootstrap_mean([answers(right)]), theirs, atol=0.004)


def test_the_interval_of_a_paired_difference_is_scipys():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    first, second = hard + rng.random(300) > 0.6, hard + rng.random(300) > 0.7
    theirs = stats.bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = intervals.bootstrap_difference([answers(first)], [answers(second)], paired=True)
    np.testing.assert_allclose(ours, theirs, atol=0.004)


def test_the_interval_of_an_iou_is_scipys():
    confusion = np.random.default_rng(0).integers(0, 30, (40, 3, 3))
    run = intervals.count_by_example({"index": np.arange(40), "confusion": confusion}, "mIoU")
    theirs = stats.bootstrap(
        (np.arange(40),),
        lambda chosen: metrics.mean_iou(confusion[chosen].sum(axis=0)),
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose(intervals.bootstrap_mean([run]), theirs, atol=0.003)


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_are_those_of_the_metrics(classes):
    rng = np.random.default_rng(classes)
    confusion = rng.integers(0, 9, (6, classes, classes))
    confusion[..., 0, :] = confusion[..., :, 0] = 0  # a class that doesn't occur
    predictions = {"index": np.arange(6), "confusion": confusion}
    whole = confusion.sum(axis=0)
    for metric, expected in (("mIoU", metrics.mean_iou), ("OA", metrics.overall_accuracy)):
        run = intervals.count_by_example(predictions, metric)
        assert run.score(run.counts.sum(axis=0)) == pytest.approx(expected(whole))
    assert intervals.count_by_example(predictions, "kappa") is None


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_the_interval_covers_the_truth_in_95_of_100_cases(accuracy):
    rng = np.random.default_rng(0)
    cases = 600
    found = [
        intervals.bootstrap_mean([answers(rng.random(300) < accuracy)], resamples=1000, seed=case)
        for case in range(cases)
    ]
    covered = np.mean([low <= accuracy <= high for low, high in found])
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / cases) ** 0.5


def test_a_paired_difference_covers_the_truth_and_an_unpaired_one_is_needlessly_wide():
    """Two rows with the same hard examples, three seeds each; the second is 4 points better."""
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for case in range(400):
        hard = rng.random(250) < 0.3
        rows = [
            [answers(rng.random(250) < np.where(hard, low, high)) for _ in range(3)]
            for low, high in ((0.2, 0.98), (0.3, 0.994))
        ]
        truth = 0.3 * 0.1 + 0.7 * 0.014
        for paired in (True, False):
            low, high = intervals.bootstrap_difference(rows[1], rows[0], paired, 1000, case)
            covered.append(low <= truth <= high)
            widths.append(high - low)
    assert abs(np.mean(covered[::2]) - 0.95) < 3 * (0.95 * 0.05 / 400) ** 0.5
    assert np.mean(widths[1::2]) > 1.5 * np.mean(widths[::2])


def test_an_example_of_several_seeds_is_drawn_for_all_of_them_at_once():
    """The same examples thrice tell no more than once; other examples do."""
    right = np.random.default_rng(0).random(400) < 0.7

    def width(*runs):
        low, high = intervals.bootstrap_mean(runs)
        return high - low

    once = width(answers(right))
    thrice = width(*3 * [answers(right)])
    others = width(*(answers(right, np.arange(400) + 1000 * n) for n in range(3)))
    shuffled = np.random.default_rng(1).permutation(400)
    same = width(answers(right), answers(right[shuffled], shuffled))
    assert thrice == pytest.approx(once, rel=0.02)
    assert same == pytest.approx(once, rel=0.02)
    assert others == pytest.approx(once / 3**0.5, rel=0.05)


def test_the_interval_is_the_same_every_time():
    run = answers(np.arange(1009) % 3 > 0)
    assert intervals.bootstrap_mean([run]) == intervals.bootstrap_mean([run])
    assert intervals.bootstrap_mean([run], 99) != intervals.bootstrap_mean([run], 99, seed=1)


def test_without_a_wrong_answer_there_is_nothing_to_draw():
    assert intervals.bootstrap_mean([answers(np.ones(10))]) == (1, 1)


@pytest.mark.parametrize("seeds", [2, 3, 5, 11, 30])
def test_the_means_of_seeds_are_trusted_as_student_says(seeds):
    expected = stats.t.ppf(0.975, seeds - 1) * 2.0 / seeds**0.5
    assert expected <= intervals.student_t_margin(2.0, seeds) <= 1.1 * expected
