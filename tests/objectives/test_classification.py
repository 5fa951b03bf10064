import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference

from data_pipelines.errors import UserError
from ssl_jax.augment import Augmentation, Mix
from ssl_jax.objectives.shared import MIXING


def logits_of(objective, variables, batch):
    features = objective.extract_features(variables, batch)
    head = {"params": variables["params"]["head"]}
    return np.asarray(objective.head.apply(head, features), np.float64)


def test_a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics(lab):
    batch = lab.draw()
    for frozen in (True, False):
        objective = lab.make("classification", frozen=frozen)
        variables = lab.init(objective, batch)
        _, grads, stats, _ = lab.gradient(objective, variables, batch)
        moved = max(np.abs(g).max() for g in jax.tree.leaves(grads["backbone"]))
        assert bool(moved == 0) is frozen
        before, after = (
            s["backbone"]["BatchNorm_0"]["mean"] for s in (variables["batch_stats"], stats)
        )
        assert np.array_equal(before, after) is frozen


def test_features_computed_once_train_the_head_as_images_do(lab):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make("classification", frozen=True, views=view)
    assert objective.precomputable
    assert not lab.make("classification", frozen=True).precomputable
    batch = lab.draw()
    variables = lab.init(objective, batch)
    computed = batch | {"features": np.asarray(objective.extract_features(variables, batch))}
    del computed["image"]
    from_images = lab.gradient(objective, variables, batch)
    from_features = lab.gradient(objective, variables, computed, devices=8)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), from_images, from_features
    )
    head_alone = lab.init(objective, computed)
    assert list(head_alone["params"]) == ["head"]
    loss = lab.gradient(objective, variables | {"params": head_alone["params"]}, computed)[0]
    assert np.isfinite(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_loss_is_the_smoothed_cross_entropy(lab, smoothing):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make("classification", frozen=True, views=view, label_smoothing=smoothing)
    batch = lab.draw()
    variables = lab.init(objective, batch)
    logits = logits_of(objective, variables, batch)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(lab.classes)[batch["label"]] * (1 - smoothing) + smoothing / lab.classes
    loss, _, _, figures = lab.gradient(objective, variables, batch)
    assert loss == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-5)
    assert figures["top1"] == pytest.approx((logits.argmax(1) == batch["label"]).mean())


@pytest.mark.parametrize("mix", [Mix(mixup=0.8), Mix(cutmix=1.0)], ids=["mixup", "cutmix"])
def test_views_and_smoothed_targets_are_mixed_alike(lab, mix):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make("classification", frozen=True, views=view, mix=mix, label_smoothing=0.1)
    assert not objective.precomputable
    batch = lab.draw()
    variables = lab.init(objective, batch)
    key = jax.random.fold_in(jax.random.key(1), MIXING)  # of lab.gradient's step
    pixels, share = map(np.asarray, mix.shares(key, lab.size, lab.size))
    assert 0.05 < share < 0.95
    x = np.asarray(lab.normalise(batch["image"]))
    y = np.eye(lab.classes)[batch["label"]] * 0.9 + 0.1 / lab.classes
    x, y = (
        own * v + (1 - own) * v.reshape(-1, 2, *v.shape[1:])[:, ::-1].reshape(v.shape)
        for own, v in ((pixels[..., None], x), (share, y))
    )
    backbone = {name: v["backbone"] for name, v in variables.items()}
    logits = np.asarray(
        objective.head.apply(
            {"params": variables["params"]["head"]}, objective.backbone.apply(backbone, x)
        ),
        np.float64,
    )
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss, _, _, figures = lab.gradient(objective, variables, batch)
    assert loss == pytest.approx(-(y * log_p).sum(1).mean(), rel=1e-5)
    assert figures["top1"] == pytest.approx((logits.argmax(1) == y.argmax(1)).mean())
    evaluated = objective.compute_metrics(lab.evaluate(objective, variables, batch))
    assert abs(evaluated["loss"] - loss) > 1e-3  # of the scenes as they are


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_neighbours_are_mixed_alike_on_any_devices_and_however_accumulated(lab, mode):
    mix, batch = Mix(0.8, 1.0, mode=mode), lab.draw()
    whole = lab.make("classification", norm=False, mix=mix)
    variables = lab.init(whole, batch)
    expected = lab.gradient(whole, variables, batch)
    plain = lab.gradient(lab.make("classification", norm=False), variables, batch)
    assert abs(expected[0] - plain[0]) > 1e-3
    for devices, parts in ((8, 1), (2, 4), (1, 2)):
        objective = lab.make("classification", norm=False, mix=mix, accumulate=parts)
        found = lab.gradient(objective, variables, batch, devices)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
        )


def test_neighbours_that_would_be_parted_are_refused(lab):
    objective, batch = lab.make("classification", mix=Mix(0.8), accumulate=2), lab.draw()
    variables = lab.init(objective, batch)
    with pytest.raises(UserError, match="2 examples per device can't be cut into 2 equal"):
        lab.gradient(objective, variables, batch, devices=8)


def test_smoothed_labels_are_drawn_towards_a_half(lab):
    view = Augmentation.evaluation(lab.size)
    options = {"frozen": True, "multi_label": True, "views": view, "label_smoothing": 0.2}
    objective = lab.make("classification", **options)
    batch = lab.draw()
    variables = lab.init(objective, batch)
    p = 1 / (1 + np.exp(-logits_of(objective, variables, batch)))
    y = np.where(batch["labels"] == 1, 0.9, 0.1)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert lab.gradient(objective, variables, batch)[0] == pytest.approx(expected, rel=1e-5)


def test_multi_label_loss_and_map_are_those_of_scikit_learn(lab):
    view = Augmentation.evaluation(lab.size)
    objective = lab.make("classification", frozen=True, multi_label=True, views=view)
    batch = lab.draw()
    variables = lab.init(objective, batch)
    p = 1 / (1 + np.exp(-logits_of(objective, variables, batch)))
    expected = -np.where(batch["labels"] == 1, np.log(p), np.log(1 - p)).mean()
    assert lab.gradient(objective, variables, batch)[0] == pytest.approx(expected, rel=1e-5)
    figures = objective.compute_metrics(lab.evaluate(objective, variables, batch, devices=8))
    mean_ap = reference.average_precision_score(batch["labels"], p, average="macro")
    assert figures["mAP"] == pytest.approx(mean_ap)
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)


def test_evaluation_counts_every_example_once(lab):
    objective, batch = lab.make("classification"), lab.draw()
    batch["valid"][11:] = False
    variables = lab.init(objective, batch)
    accumulators = lab.evaluate(objective, variables, batch, devices=8)
    predicted = logits_of(objective, variables, batch).argmax(1)[:11]
    expected = reference.confusion_matrix(batch["label"][:11], predicted, labels=range(lab.classes))
    np.testing.assert_array_equal(accumulators["confusion"], expected)
    figures = objective.compute_metrics(accumulators)
    assert figures["top1"] == pytest.approx((predicted == batch["label"][:11]).mean())


def test_predictions_are_probabilities(lab):
    objective, batch = lab.make("classification"), lab.draw()
    scores = objective.predict(lab.init(objective, batch), jnp.asarray(batch["image"]))
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
