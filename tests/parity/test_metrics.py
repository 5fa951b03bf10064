"""Metrics against scikit-learn for random labels, including degenerate ones.

tests/metrics/test_metrics.py has the usual cases; here hypothesis searches for others.
"""

import functools
import warnings

import jax
import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P
from relative_error import relative_error

from ssl_jax import metrics
from ssl_jax.devices.mesh import make_data_mesh, pmap_over_mesh
from ssl_jax.metrics import Mean, PerExample

CLASSES = 5
IGNORED = 255


def compute_confusion(true, predicted):
    """Compute confusion matrix and accuracy on eight devices, in batches padded to 16 examples."""
    total = {}
    for start in range(0, max(len(true), 1), 16):
        part = slice(start, start + 16)
        rows = len(true[part])
        padded = [np.pad(x[part], (0, 16 - rows)).astype(np.uint8) for x in (true, predicted)]
        accumulators = make_step()(*padded, np.arange(16) < rows)
        total = metrics.merge_accumulators(total, metrics.to_host(accumulators))
    return total["confusion"], total["top1"]


@functools.cache
def make_step():
    def step(true, predicted, valid):
        hits = Mean.from_values(true == predicted, valid & (true < CLASSES))
        confusion = metrics.confusion_matrix(true, predicted, CLASSES, valid)
        return metrics.reduce_over_devices({"confusion": confusion, "top1": hits})

    return pmap_over_mesh(step, make_data_mesh(), (P("data"),) * 3, P())


labels = st.lists(
    st.tuples(st.sampled_from([*range(CLASSES), IGNORED]), st.integers(0, CLASSES - 1)), max_size=32
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(labels)
@example([])
@example([(IGNORED, 2)] * 20)  # all ignored
@example([(3, 3)] * 20)  # a single class, so that agreement by chance is perfect
@example([(3, 1)] * 20)  # no correct prediction
@example([(0, 0), (0, 4), (1, 1)])  # a predicted class without labels
@example([(0, 0), (4, 0), (1, 1)])  # a class without predictions
def test_metrics_of_a_confusion_matrix_are_those_of_scikit_learn(pairs):
    true, predicted = np.array(pairs, int).reshape(-1, 2).T
    confusion, top1 = compute_confusion(true, predicted)
    true, predicted = true[true != IGNORED], predicted[true != IGNORED]
    classes = range(CLASSES)
    values = {
        "accuracy": metrics.overall_accuracy(confusion),
        "top-1": top1.value,
        "IoU": metrics.per_class_iou(confusion),
        "mIoU": metrics.mean_iou(confusion),
        "F1": metrics.per_class_f1(confusion),
        "macro F1": metrics.f1(confusion),
        "kappa": metrics.kappa(confusion),
    }
    if not len(true):
        assert confusion.sum() == 0
        assert all(np.isnan(value).all() for value in values.values())
        return
    np.testing.assert_array_equal(
        confusion, reference.confusion_matrix(true, predicted, labels=classes)
    )
    present = np.union1d(true, predicted)
    options = {"zero_division": np.nan, "average": None, "labels": classes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for undefined metrics, which are nan
        kappa = reference.cohen_kappa_score(true, predicted)
        f1 = reference.f1_score(true, predicted, **options)
        f1_of_present = reference.f1_score(true, predicted, average="macro", labels=present)
        # `jaccard_score` has no option for nan: it returns 0 for a class that doesn't occur.
        iou = reference.jaccard_score(
            true, predicted, average=None, labels=classes, zero_division=0
        )
        iou[[c not in present for c in classes]] = np.nan
        iou_of_present = reference.jaccard_score(true, predicted, average="macro", labels=present)
    expected = {
        "accuracy": reference.accuracy_score(true, predicted),
        "top-1": reference.accuracy_score(true, predicted),
        "IoU": iou,
        "mIoU": iou_of_present,
        "F1": f1,
        "macro F1": f1_of_present,
        "kappa": kappa,
    }
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-12, err_msg=name)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.1000001, 0.5, 0.9, 1.0])),
        min_size=1,
        max_size=40,
    )
)
@example([(0, 0.5)] * 4)  # no positive
@example([(1, 0.5)] * 4)  # no negative
@example([(0, 0.5), (1, 0.5), (1, 0.5), (0, 0.5)])  # all tied
@example([(1, 0.1), (0, 0.9), (0, 1.0)])  # the worst order
def test_average_precision_is_that_of_scikit_learn(pairs):
    targets, scores = np.array(pairs).T
    ours = metrics.average_precision(scores[:, None], targets[:, None])
    if not targets.any():
        assert np.isnan(ours).all()  # scikit-learn warns and returns 0
        return
    theirs = reference.average_precision_score(targets, scores)
    np.testing.assert_allclose(ours, [theirs], rtol=1e-12)


@pytest.mark.parametrize("devices", [1, 8])
def test_map_of_ragged_batches_is_that_of_scikit_learn(devices):
    """As in BigEarthNet, there are 19 rare labels, one of which no example has."""
    rng = np.random.default_rng(0)
    targets = (rng.random((100, 19)) < rng.random(19) * 0.3).astype(np.uint8)
    targets[:, 7] = 0
    scores = (rng.random(targets.shape) + 0.3 * targets).astype(np.float32)
    gather = pmap_over_mesh(
        lambda rows: metrics.reduce_over_devices({"rows": PerExample(rows)}),
        make_data_mesh(jax.devices()[:devices]),
        P("data"),
        P(),
    )
    total = {}
    for start in range(0, 100, 32):
        rows = {"scores": scores[start : start + 32], "targets": targets[start : start + 32]}
        rows["valid"] = np.ones(len(rows["scores"]), bool)
        padded = {
            name: np.pad(x, [(0, 32 - len(x))] + [(0, 0)] * (x.ndim - 1))
            for name, x in rows.items()
        }
        total = metrics.merge_accumulators(total, metrics.to_host(gather(padded)))
    present = targets.any(axis=0)
    theirs = reference.average_precision_score(targets[:, present], scores[:, present])
    error = relative_error(metrics.mean_average_precision(total["rows"]), theirs)
    print(f"\nmAP, scikit-learn, {devices=}: {error:.1e}")
    assert error < 1e-12
