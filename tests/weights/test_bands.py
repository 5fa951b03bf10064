import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.weights.bands import adapt_to_bands

RGB = ("red", "green", "blue")
RGBN = (*RGB, "nir")


def resnet_stem(bands=3):
    stem = np.random.default_rng(0).normal(size=(8, bands, 7, 7)).astype(np.float32)
    return {"conv1.weight": stem, "bn1.weight": np.ones(8, np.float32)}


def stem_of(tensors):
    return tensors["conv1.weight"]


def test_a_fourth_band_copies_red_and_leaves_the_three_as_they_are():
    tensors = resnet_stem()
    stem = stem_of(adapt_to_bands(tensors, RGB, RGBN))
    np.testing.assert_array_equal(stem[:, :3], tensors["conv1.weight"])
    np.testing.assert_array_equal(stem[:, 3], tensors["conv1.weight"][:, 0])


def test_bands_go_by_name_in_any_order_and_by_alias():
    tensors = resnet_stem(4)
    file = tensors["conv1.weight"]
    stem = stem_of(
        adapt_to_bands(tensors, ("R", "G", "B", "NIR"), ("nir", "blue", "swir16", "red"))
    )
    for column, source in enumerate((3, 2, 0, 0)):
        np.testing.assert_array_equal(stem[:, column], file[:, source])


def test_tiled_bands_keep_the_scale_of_the_sum():
    tensors = resnet_stem()
    file = tensors["conv1.weight"]
    stem = stem_of(adapt_to_bands(tensors, RGB, (*RGBN, "swir16"), "tile"))
    np.testing.assert_allclose(stem, file[:, [0, 1, 2, 0, 1]] * 3 / 5, rtol=1e-6)


def test_random_bands_follow_the_seed_and_the_spread_of_the_file():
    tensors = resnet_stem()
    first, again, other = (
        stem_of(adapt_to_bands(tensors, RGB, RGBN, "random", seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[:, :3], tensors["conv1.weight"])
    assert (first[:, 3] != other[:, 3]).all()
    assert first[:, 3].std() == pytest.approx(tensors["conv1.weight"].std(), rel=0.1)


@pytest.mark.parametrize("method", ["copy", "tile"])
def test_maes_prediction_of_a_new_band_is_that_of_the_band_it_is_made_of(method):
    p, dim = 2, 5
    rng = np.random.default_rng(0)
    tensors = {
        "patch_embed.proj.weight": rng.normal(size=(dim, 3, p, p)),
        "decoder_pred.weight": rng.normal(size=(p * p * 3, dim)),
        "decoder_pred.bias": rng.normal(size=p * p * 3),
    }
    changed = adapt_to_bands(tensors, RGB, ("nir", *RGB), method)
    weight = changed["decoder_pred.weight"].reshape(p, p, 4, dim)
    bias = changed["decoder_pred.bias"].reshape(p, p, 4)
    for column, source in enumerate((0, 0, 1, 2)):
        file = tensors["decoder_pred.weight"].reshape(p, p, 3, dim)[:, :, source]
        np.testing.assert_array_equal(weight[:, :, column], file)
        file = tensors["decoder_pred.bias"].reshape(p, p, 3)[:, :, source]
        np.testing.assert_array_equal(bias[:, :, column], file)


@pytest.mark.parametrize(
    ("file_bands", "bands", "message"),
    [
        (RGB, ("red", "R"), "--bands: found red,R; expected each band once"),
        (RGBN, RGB, r"--file_bands: found red, green, blue, nir, but conv1.weight takes 3"),
        (("vv", "vh", "ndvi"), ("vv", "nir"), "have no red to copy; expected tile or random"),
    ],
)
def test_bands_that_fit_nothing_are_refused(file_bands, bands, message):
    with pytest.raises(UserError, match=message):
        adapt_to_bands(resnet_stem(), file_bands, bands)
