import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference

from data_pipelines.errors import UserError
from ssl_jax.augment import Augmentation, Mix
from ssl_jax.objectives.shared import MIXING


def compute_logits(objective, variables, batch):
    features = objective.extract_features(variables, batch)
    head = {"params": variables["params"]["head"]}
    return np.asarray(objective.head.apply(head, features), np.float64)


def test_a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics(lab):
    batch = lab.draw_batch()
    for frozen in (True, False):
        objective = lab.make_objective("classification", frozen=frozen)
        variables = lab.init(objective, batch)
        _, grads, stats, _ = lab.compute_gradient(objective, variables, batch)
        largest = max(np.abs(g).max() for g in jax.tree.leaves(grads["backbone"]))
        assert bool(largest == 0) is frozen
        before, after = (
            s["backbone"]["BatchNorm_0"]["mean"] for s in (variables["batch_stats"], stats)
        )
        assert np.array_equal(before, after) is frozen


def test_precomputed_features_train_the_head_as_images_do(lab):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make_objective("classification", frozen=True, views=view)
    assert objective.precomputable
    assert not lab.make_objective("classification", frozen=True).precomputable
    batch = lab.draw_batch()
    variables = lab.init(objective, batch)
    computed = batch | {"features": np.asarray(objective.extract_features(variables, batch))}
    del computed["image"]
    from_images = lab.compute_gradient(objective, variables, batch)
    from_features = lab.compute_gradient(objective, variables, computed, devices=8)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), from_images, from_features
    )
    head_alone = lab.init(objective, computed)
    assert list(head_alone["params"]) == ["head"]
    loss = lab.compute_gradient(objective, variables | {"params": head_alone["params"]}, computed)[
        0
    ]
    assert np.isfinite(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_softmax_loss_is_the_smoothed_cross_entropy(lab, smoothing):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make_objective(
        "classification", frozen=True, views=view, label_smoothing=smoothing
    )
    batch = lab.draw_batch()
    variables = lab.init(objective, batch)
    logits = compute_logits(objective, variables, batch)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(lab.classes)[batch["label"]] * (1 - smoothing) + smoothing / lab.classes
    loss, _, _, metrics = lab.compute_gradient(objective, variables, batch)
    assert loss == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-5)
    assert metrics["top1"] == pytest.approx((logits.argmax(1) == batch["label"]).mean())


@pytest.mark.parametrize("mix", [Mix(mixup=0.8), Mix(cutmix=1.0)], ids=["mixup", "cutmix"])
def test_views_and_smoothed_targets_are_mixed_with_the_same_weights(lab, mix):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make_objective(
        "classification", frozen=True, views=view, mix=mix, label_smoothing=0.1
    )
    assert not objective.precomputable
    batch = lab.draw_batch()
    variables = lab.init(objective, batch)
    key = jax.random.fold_in(jax.random.key(1), MIXING)  # the key of lab.compute_gradient's step
    pixels, weight = map(np.asarray, mix.draw_weights(key, lab.size, lab.size))
    assert 0.05 < weight < 0.95
    x = np.asarray(lab.normalise(batch["image"]))
    y = np.eye(lab.classes)[batch["label"]] * 0.9 + 0.1 / lab.classes
    x, y = (
        weights * v + (1 - weights) * v.reshape(-1, 2, *v.shape[1:])[:, ::-1].reshape(v.shape)
        for weights, v in ((pixels[..., None], x), (weight, y))
    )
    backbone = {name: v["backbone"] for name, v in variables.items()}
    logits = np.asarray(
        objective.head.apply(
            {"params": variables["params"]["head"]}, objective.backbone.apply(backbone, x)
        ),
        np.float64,
    )
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss, _, _, metrics = lab.compute_gradient(objective, variables, batch)
    assert loss == pytest.approx(-(y * log_p).sum(1).mean(), rel=1e-5)
    assert metrics["top1"] == pytest.approx((logits.argmax(1) == y.argmax(1)).mean())
    evaluated = objective.compute_metrics(lab.evaluate(objective, variables, batch))
    assert abs(evaluated["loss"] - loss) > 1e-3  # of unmixed images


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_mixing_does_not_depend_on_devices_or_accumulation(lab, mode):
    mix, batch = Mix(0.8, 1.0, mode=mode), lab.draw_batch()
    objective = lab.make_objective("classification", norm=False, mix=mix)
    variables = lab.init(objective, batch)
    expected = lab.compute_gradient(objective, variables, batch)
    plain = lab.compute_gradient(lab.make_objective("classification", norm=False), variables, batch)
    assert abs(expected[0] - plain[0]) > 1e-3
    for devices, parts in ((8, 1), (2, 4), (1, 2)):
        objective = lab.make_objective("classification", norm=False, mix=mix, accumulate=parts)
        actual = lab.compute_gradient(objective, variables, batch, devices)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected
        )


def test_splitting_mixed_neighbours_is_an_error(lab):
    objective, batch = (
        lab.make_objective("classification", mix=Mix(0.8), accumulate=2),
        lab.draw_batch(),
    )
    variables = lab.init(objective, batch)
    with pytest.raises(
        UserError, match="found 2 examples per device for 2 micro-batches; expected a mul"
    ):
        lab.compute_gradient(objective, variables, batch, devices=8)


def test_smoothed_labels_are_shrunk_towards_one_half(lab):
    view = Augmentation.evaluation(lab.size)
    options = {"frozen": True, "multi_label": True, "views": view, "label_smoothing": 0.2}
    objective = lab.make_objective("classification", **options)
    batch = lab.draw_batch()
    variables = lab.init(objective, batch)
    p = 1 / (1 + np.exp(-compute_logits(objective, variables, batch)))
    y = np.where(batch["labels"] == 1, 0.9, 0.1)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert lab.compute_gradient(objective, variables, batch)[0] == pytest.approx(expected, rel=1e-5)


def test_multi_label_loss_and_map_agree_with_scikit_learn(lab):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make_objective("classification", frozen=True, multi_label=True, views=view)
    batch = lab.draw_batch()
    variables = lab.init(objective, batch)
    p = 1 / (1 + np.exp(-compute_logits(objective, variables, batch)))
    expected = -np.where(batch["labels"] == 1, np.log(p), np.log(1 - p)).mean()
    assert lab.compute_gradient(objective, variables, batch)[0] == pytest.approx(expected, rel=1e-5)
    metrics = objective.compute_metrics(lab.evaluate(objective, variables, batch, devices=8))
    mean_ap = reference.average_precision_score(batch["labels"], p, average="macro")
    assert metrics["mAP"] == pytest.approx(mean_ap)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_evaluation_counts_every_example_once(lab):
    objective, batch = lab.make_objective("classification"), lab.draw_batch()
    batch["valid"][11:] = False
    variables = lab.init(objective, batch)
    accumulators = lab.evaluate(objective, variables, batch, devices=8)
    predicted = compute_logits(objective, variables, batch).argmax(1)[:11]
    expected = reference.confusion_matrix(batch["label"][:11], predicted, labels=range(lab.classes))
    np.testing.assert_array_equal(accumulators["confusion"], expected)
    metrics = objective.compute_metrics(accumulators)
    assert metrics["top1"] == pytest.approx((predicted == batch["label"][:11]).mean())


def test_predictions_are_probabilities(lab):
    objective, batch = lab.make_objective("classification"), lab.draw_batch()
    scores = objective.predict(lab.init(objective, batch), jnp.asarray(batch["image"]))
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_class_weights_multiply_the_loss_and_leave_metrics_unweighted(lab, multi_label):
    view, weights = Augmentation.evaluation(lab.size), (0.0, 0.5, 1.0, 2.0, 8.0)
    options = {"frozen": True, "views": view, "multi_label": multi_label}
    plain = lab.make_objective("classification", **options)
    weighted = lab.make_objective("classification", class_weights=weights, **options)
    batch = lab.draw_batch()
    variables = lab.init(plain, batch)
    logits = compute_logits(plain, variables, batch)
    if multi_label:
        losses = np.logaddexp(0, logits) - logits * batch["labels"]
        expected = (np.array(weights) * losses).mean()
    else:
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        losses = -log_p[np.arange(len(log_p)), batch["label"]]
        expected = (np.array(weights)[batch["label"]] * losses).mean()
    loss, _, _, metrics = lab.compute_gradient(weighted, variables, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    evaluated = [lab.evaluate(objective, variables, batch) for objective in (plain, weighted)]
    assert plain.compute_metrics(evaluated[0]) == weighted.compute_metrics(evaluated[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": (1.0,)}, "class_weights: found .*; expected balanced, or a positive"),
        ({"class_weights": (1, 1, 1, 1, -1)}, "for each of the 5 classes class 0, class 1"),
        ({"class_weights": (0, 0, 0, 0, 0)}, "class_weights"),
        ({"class_weights": (1, 1, 1, 1, "x")}, "class_weights"),
        ({"label_smoothing": 1.0}, "label_smoothing: found 1.0"),
        ({"accumulate": 0}, "accumulate: found 0; expected at least 1"),
    ],
)
def test_impossible_values_are_refused(lab, options, message):
    with pytest.raises(ValueError, match=message):
        lab.make_objective("classification", **options)
