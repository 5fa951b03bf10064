import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.augment import SegmentationAugmentation
from ssl_jax.objectives import kept_classes

KEPT = [0, 2, 3, 4]  # class 1 is excluded


def make_objective(lab, **options):
    return lab.make_objective("segmentation", **options)


def compute_log_probabilities(objective, variables, batch, train=False):
    image = normalise_images(objective, batch)
    out = objective.model.apply(variables, image, train=train)
    logits = [np.asarray(x, np.float64) for x in (out if train else (out,))]
    return [x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in logits]


def normalise_images(objective, batch):
    return objective.normalise(jnp.asarray(batch["image"]))


@pytest.mark.parametrize("devices", [1, 8])
def test_the_loss_is_the_mean_over_labelled_pixels_of_the_whole_batch(lab, devices):
    objective, batch = make_objective(lab, norm=False), lab.draw_batch()
    objective = type(objective)(**{**vars(objective), "views": SegmentationAugmentation()})
    variables = lab.init(objective, batch)
    main, auxiliary = compute_log_probabilities(objective, variables, batch, train=True)
    losses, extra = [], []
    for pixel in np.ndindex(batch["mask"].shape):
        if batch["mask"][pixel] in KEPT:
            output = KEPT.index(batch["mask"][pixel])
            losses.append(-main[pixel][output])
            extra.append(-auxiliary[pixel][output])
    loss, _, _, metrics = lab.compute_gradient(objective, variables, batch, devices)
    assert loss == pytest.approx(np.mean(losses) + 0.4 * np.mean(extra), rel=1e-5)
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["auxiliary_loss"] == pytest.approx(np.mean(extra), rel=1e-5)


def test_a_batch_without_labels_has_loss_and_gradient_zero(lab):
    objective, batch = make_objective(lab), lab.draw_batch()
    variables = lab.init(objective, batch)
    batch["mask"][:] = 255
    loss, grads, _, metrics = lab.compute_gradient(objective, variables, batch, devices=8)
    assert loss == 0
    for leaf in (grads["Dense_0"]["kernel"], grads["Conv_0"]["kernel"]):
        np.testing.assert_array_equal(leaf, 0)
    assert np.isnan(metrics["loss"])


def test_an_excluded_class_is_ignored(lab):
    objective, batch = make_objective(lab), lab.draw_batch()
    variables = lab.init(objective, batch)
    without = batch | {"mask": np.where(batch["mask"] == 1, 255, batch["mask"])}
    for first, second in (
        (lab.compute_gradient(objective, variables, b)[0] for b in (batch, without)),
        (lab.evaluate(objective, variables, b)["confusion"].sum() for b in (batch, without)),
    ):
        assert first == second


def test_an_excluded_class_is_never_predicted(lab):
    objective, batch = make_objective(lab), lab.draw_batch()
    assert objective.kept == kept_classes(objective.classes, (1,)) == (0, 2, 3, 4)
    variables = lab.init(objective, batch)
    predicted = np.asarray(objective.predict(variables, jnp.asarray(batch["image"])))
    assert predicted.dtype == np.uint8
    assert set(np.unique(predicted)) <= set(KEPT)
    best = compute_log_probabilities(objective, variables, batch)[0].argmax(-1)
    np.testing.assert_array_equal(predicted, np.array(KEPT)[best])


def test_an_ignore_label_among_the_classes_is_ignored(lab):
    objective, batch = make_objective(lab, ignore_label=0), lab.draw_batch()
    variables = lab.init(objective, batch)
    confusion = lab.evaluate(objective, variables, batch)["confusion"]
    assert confusion.sum() == np.isin(batch["mask"], [2, 3, 4]).sum()
    assert confusion[0].sum() == 0


def test_confusion_counts_valid_labelled_pixels_once(lab):
    objective, batch = make_objective(lab), lab.draw_batch()
    batch["valid"][9:] = False
    variables = lab.init(objective, batch)
    best = compute_log_probabilities(objective, variables, batch)[0].argmax(-1)
    expected = np.zeros((4, 4), int)
    for pixel in np.ndindex(batch["mask"].shape):
        if batch["valid"][pixel[0]] and batch["mask"][pixel] in KEPT:
            expected[KEPT.index(batch["mask"][pixel]), best[pixel]] += 1
    accumulators = lab.evaluate(objective, variables, batch, devices=8)
    np.testing.assert_array_equal(accumulators["confusion"], expected)
    metrics = objective.compute_metrics(accumulators)
    assert metrics["OA"] == pytest.approx(np.trace(expected) / expected.sum())
    union = expected.sum(0) + expected.sum(1) - np.diag(expected)
    assert metrics["mIoU"] == pytest.approx(np.mean(np.diag(expected) / union))
    assert metrics["IoU/class 2"] == pytest.approx(expected[1, 1] / union[1])
    assert "IoU/class 1" not in metrics


def test_class_weights_multiply_the_loss_of_pixels_and_leave_metrics_unweighted(lab):
    batch, weights = lab.draw_batch(), (0.5, 7.0, 1.0, 0.0, 4.0)
    objective = make_objective(lab, norm=False)
    views = {"views": SegmentationAugmentation()}
    plain = dataclasses.replace(objective, **views)
    weighted = dataclasses.replace(objective, class_weights=weights, **views)
    variables = lab.init(plain, batch)
    main, auxiliary = compute_log_probabilities(plain, variables, batch, train=True)
    losses, expected = [], []
    for pixel in np.ndindex(batch["mask"].shape):
        if batch["mask"][pixel] in KEPT:
            output = KEPT.index(batch["mask"][pixel])
            losses.append(-main[pixel][output])
            both = losses[-1] - 0.4 * auxiliary[pixel][output]
            expected.append(weights[batch["mask"][pixel]] * both)
    for devices in (1, 8):
        loss, _, _, metrics = lab.compute_gradient(weighted, variables, batch, devices)
        assert loss == pytest.approx(np.mean(expected), rel=1e-5)
        assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
