import dataclasses

import jax
import numpy as np
import pytest

import ssl_jax
from data_pipelines.errors import UserError
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


@pytest.fixture(scope="module")
def models(trained, data_dir):
    """A trained model of each objective, with images of its dataset."""
    models = {}
    for kind in ("simclr", "mae", "classification", "segmentation"):
        model = ssl_jax.load(trained(kind).workdir)
        source = select_subset(open_dataset(model.card.config.data.name, data_dir), "all").examples
        models[kind] = model, np.stack([source[i]["image"] for i in range(5)])
    return models


def test_classification_returns_probabilities(models):
    model, images = models["classification"]
    scores = model(images)
    assert scores.shape == (5, 10)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-5)
    assert len(model.card.classes) == 10
    assert 0 <= model.card.metrics["top1"] <= 1


def test_segmentation_returns_labels_but_no_excluded_ones(models):
    model, images = models["segmentation"]
    labels = model(images)
    assert labels.shape == images.shape[:3]
    clutter = model.card.classes.index("clutter")
    assert set(np.unique(labels)) <= set(range(6)) - {clutter}


@pytest.mark.parametrize("kind", ["simclr", "mae"])
def test_a_pretrained_backbone_returns_representations(models, kind):
    model, images = models[kind]
    features = model(images)
    assert features.shape[0] == 5
    assert features.ndim == 2
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])


@pytest.mark.parametrize("kind", ["simclr", "mae", "classification", "segmentation"])
def test_predictions_do_not_depend_on_the_batch_size(models, kind):
    model, images = models[kind]
    expected = model(images)
    for batch_size in (1, 2, 5, 64):
        predictions = model(images, batch_size=batch_size)
        assert predictions.shape == expected.shape
        np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-6)


def test_parameters_are_transferred_to_the_device_once(models):
    model, images = models["mae"]
    with jax.transfer_guard("disallow"):  # of implicit transfers
        model(images)
    on_host = dataclasses.replace(model, variables=jax.device_get(model.variables))
    with jax.transfer_guard("disallow"), pytest.raises(jax.errors.JaxRuntimeError):
        on_host(images)


def test_bands_are_matched_by_name(models):
    model, images = models["simclr"]
    shuffled = images[..., [3, 0, 2, 1]]
    np.testing.assert_array_equal(
        model(shuffled, bands=("nir", "red", "blue", "green")), model(images)
    )


def test_missing_bands_are_refused(models):
    model, images = models["simclr"]
    with pytest.raises(UserError, match="not nir; the checkpoint needs red, green, blue, nir"):
        model(images[..., :3], bands=("red", "green", "blue"))
    with pytest.raises(UserError, match=r"found shape \(5, 32, 32, 3\)"):
        model(images[..., :3])
