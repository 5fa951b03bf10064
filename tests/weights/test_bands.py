import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.weights.bands import adapt_to_bands

RGB = ("red", "green", "blue")
RGBN = (*RGB, "nir")


def make_stem(bands=3):
    stem = np.random.default_rng(0).normal(size=(8, bands, 7, 7)).astype(np.float32)
    return {"conv1.weight": stem, "bn1.weight": np.ones(8, np.float32)}


def get_stem(tensors):
    return tensors["conv1.weight"]


def test_a_fourth_band_copies_red_and_the_other_three_are_unchanged():
    tensors = make_stem()
    stem = get_stem(adapt_to_bands(tensors, RGB, RGBN))
    np.testing.assert_array_equal(stem[:, :3], tensors["conv1.weight"])
    np.testing.assert_array_equal(stem[:, 3], tensors["conv1.weight"][:, 0])


def test_bands_are_matched_by_name_or_alias_in_any_order():
    tensors = make_stem(4)
    file = tensors["conv1.weight"]
    stem = get_stem(
        adapt_to_bands(tensors, ("R", "G", "B", "NIR"), ("nir", "blue", "swir16", "red"))
    )
    for column, source in enumerate((3, 2, 0, 0)):
        np.testing.assert_array_equal(stem[:, column], file[:, source])


def test_tiled_bands_preserve_the_scale_of_the_outputs():
    tensors = make_stem()
    file = tensors["conv1.weight"]
    stem = get_stem(adapt_to_bands(tensors, RGB, (*RGBN, "swir16"), "tile"))
    np.testing.assert_allclose(stem, file[:, [0, 1, 2, 0, 1]] * 3 / 5, rtol=1e-6)


def test_random_bands_depend_on_the_seed_and_have_the_files_standard_deviation():
    tensors = make_stem()
    first, repeated, other = (
        get_stem(adapt_to_bands(tensors, RGB, RGBN, "random", seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, repeated)
    np.testing.assert_array_equal(first[:, :3], tensors["conv1.weight"])
    assert (first[:, 3] != other[:, 3]).all()
    assert first[:, 3].std() == pytest.approx(tensors["conv1.weight"].std(), rel=0.1)


@pytest.mark.parametrize("method", ["copy", "tile"])
def test_the_decoder_predicts_a_new_band_like_the_band_it_was_copied_from(method):
    p, dim = 2, 5
    rng = np.random.default_rng(0)
    tensors = {
        "patch_embed.proj.weight": rng.normal(size=(dim, 3, p, p)),
        "decoder_pred.weight": rng.normal(size=(p * p * 3, dim)),
        "decoder_pred.bias": rng.normal(size=p * p * 3),
    }
    adapted = adapt_to_bands(tensors, RGB, ("nir", *RGB), method)
    weight = adapted["decoder_pred.weight"].reshape(p, p, 4, dim)
    bias = adapted["decoder_pred.bias"].reshape(p, p, 4)
    for column, source in enumerate((0, 0, 1, 2)):
        file = tensors["decoder_pred.weight"].reshape(p, p, 3, dim)[:, :, source]
        np.testing.assert_array_equal(weight[:, :, column], file)
        file = tensors["decoder_pred.bias"].reshape(p, p, 3)[:, :, source]
        np.testing.assert_array_equal(bias[:, :, column], file)


@pytest.mark.parametrize(
    ("file_bands", "bands", "message"),
    [
        (RGB, ("red", "R"), "--bands: found red,R; expected distinct names"),
        (RGBN, RGB, r"--file_bands: found red, green, blue, nir; expected 3 names"),
        (
            ("vv", "vh", "ndvi"),
            ("vv", "nir"),
            "found no red among .* vv, vh, ndvi; expected tile or random",
        ),
    ],
)
def test_bands_that_do_not_match_the_file_are_rejected(file_bands, bands, message):
    with pytest.raises(UserError, match=message):
        adapt_to_bands(make_stem(), file_bands, bands)
