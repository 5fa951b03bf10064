import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference
from jax.sharding import PartitionSpec as P

from ssl_jax import metrics
from ssl_jax.metrics import Mean, PerExample


def draw_labels(seed, classes=5, n=300):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.6, true, rng.integers(0, classes, n))
    return true, predicted


def compute_confusion(true, predicted, classes=5, valid=True):
    valid = jnp.broadcast_to(jnp.asarray(valid), true.shape)
    return np.asarray(
        metrics.confusion_matrix(jnp.asarray(true), jnp.asarray(predicted), classes, valid)
    )


@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn(seed):
    true, predicted = draw_labels(seed)
    confusion = compute_confusion(true, predicted)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(true, predicted))
    accuracy = reference.accuracy_score(true, predicted)
    assert metrics.overall_accuracy(confusion) == pytest.approx(accuracy)
    iou = reference.jaccard_score(true, predicted, average=None)
    np.testing.assert_allclose(metrics.per_class_iou(confusion), iou)
    assert metrics.mean_iou(confusion) == pytest.approx(iou.mean())
    f1 = reference.f1_score(true, predicted, average="macro")
    assert metrics.f1(confusion) == pytest.approx(f1)
    assert metrics.kappa(confusion) == pytest.approx(reference.cohen_kappa_score(true, predicted))


def test_an_absent_class_is_excluded_from_the_means():
    true, predicted = draw_labels(0)
    true, predicted = (np.where(x == 3, 2, x) for x in (true, predicted))
    confusion = compute_confusion(true, predicted)
    assert np.isnan(metrics.per_class_iou(confusion)[3])
    iou = reference.jaccard_score(true, predicted, average="macro")
    assert metrics.mean_iou(confusion) == pytest.approx(iou)
    f1 = reference.f1_score(true, predicted, average="macro")
    assert metrics.f1(confusion) == pytest.approx(f1)


def test_a_class_that_is_only_predicted_has_score_zero():
    confusion = compute_confusion(np.array([0, 0]), np.array([0, 1]), classes=3)
    np.testing.assert_allclose(metrics.per_class_iou(confusion), [0.5, 0.0, np.nan])
    assert metrics.mean_iou(confusion) == 0.25


def test_ignored_pixels_are_excluded_from_intersection_and_union():
    true, predicted = draw_labels(1)
    ignored = np.arange(300) % 3 == 0
    expected = compute_confusion(true[~ignored], predicted[~ignored])
    labels = np.where(ignored, 255, true).astype(np.uint8)
    np.testing.assert_array_equal(compute_confusion(labels, predicted), expected)
    np.testing.assert_array_equal(compute_confusion(true, predicted, valid=~ignored), expected)


def test_without_labels_metrics_are_nan_without_a_warning(recwarn):
    confusion = compute_confusion(np.full(4, 255), np.zeros(4, int))
    assert confusion.sum() == 0
    for metric in (metrics.overall_accuracy, metrics.mean_iou, metrics.f1, metrics.kappa):
        assert np.isnan(metric(confusion))
    assert not recwarn


def test_average_precision_agrees_with_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 6)) < 0.3).astype(np.uint8)
    scores = np.round(rng.random((200, 6)) + 0.4 * targets, 1)
    expected = [reference.average_precision_score(targets[:, i], scores[:, i]) for i in range(6)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected)


def test_map_excludes_padding_and_classes_without_a_positive():
    targets = np.array([[1, 0], [0, 0], [1, 0], [0, 1]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [1.0, 0.4]])
    rows = PerExample({"scores": scores, "targets": targets, "valid": np.array([1, 1, 1, 0], bool)})
    expected = reference.average_precision_score(targets[:3, 0], scores[:3, 0])
    assert metrics.mean_average_precision(rows) == pytest.approx(expected)


def test_the_mean_of_unequal_batches_is_the_mean_of_all_values():
    values = np.random.default_rng(0).random(10).astype(np.float32)
    batches = [(values[:4], np.ones(4, bool)), (np.append(values[4:], np.nan), np.arange(7) < 6)]
    total = {}
    for batch in batches:
        total = metrics.merge_accumulators(
            total, metrics.to_host({"loss": Mean.from_values(*map(jnp.asarray, batch))})
        )
    assert total["loss"].count == 10
    assert total["loss"].count.dtype == np.int64
    assert total["loss"].value == pytest.approx(values.mean())
    assert np.isnan(Mean(np.float64(0), np.int64(0)).value)


@pytest.mark.parametrize("devices", [1, 8])
def test_accumulators_of_all_devices_are_reduced_in_order(devices):
    mesh = jax.make_mesh(
        (devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )

    def step(x):
        rows = PerExample({"x": x, "valid": x[:, 0] >= 6})
        return metrics.reduce_over_devices({"mean": Mean.from_values(x), "rows": rows})

    x = np.arange(32.0, dtype=np.float32).reshape(16, 2)
    accumulators = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=P("data"), out_specs=P()))(x)
    accumulators = metrics.to_host(accumulators)
    assert accumulators["mean"].value == x.mean()
    assert accumulators["mean"].count == 32
    np.testing.assert_array_equal(accumulators["rows"].values["x"], x)
    np.testing.assert_array_equal(accumulators["rows"].values["valid"], x[:, 0] >= 6)
    twice = metrics.merge_accumulators(accumulators, accumulators)
    assert twice["rows"].values["x"].shape == (32, 2)
