"""Variables are unchanged by conversion to each layout and back, for each network."""

import jax
import numpy as np
import pytest
from small_networks import (
    RESNET,
    VIT,
    make_mae_variables,
    make_resnet_variables,
    make_vit_variables,
)

from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, transformers, vit

LEARNED_POSITIONS = VIT.clone(position="learned")
MEAN_POOLED = VIT.clone(pool="mean")


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("classes", [0, 5])
def test_a_resnet_survives_a_round_trip(classes):
    variables = make_resnet_variables(classes)
    tensors = resnet.to_torch(variables)
    assert_equal(resnet.from_torch(tensors), variables)
    assert_equal(transformers.from_torch(transformers.to_torch(variables, RESNET)), variables)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("backbone", [VIT, LEARNED_POSITIONS])
def test_a_vit_survives_a_round_trip(backbone, classes):
    variables = make_vit_variables(backbone, classes)
    tensors = vit.to_torch(variables, backbone)
    assert_equal(vit.from_torch(tensors), variables)
    assert_equal(transformers.from_torch(transformers.to_torch(variables, backbone)), variables)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


def test_the_norm_of_a_mean_pooled_vit_is_named_as_in_timm():
    variables = make_vit_variables(MEAN_POOLED)
    tensors = vit.to_torch(variables, MEAN_POOLED)
    assert "fc_norm.weight" in tensors
    assert "norm.weight" not in tensors
    assert_equal(vit.from_torch(tensors), variables)


def test_an_mae_survives_a_round_trip():
    variables = make_mae_variables()
    tensors = vit.to_torch(variables, VIT)
    assert {"pos_embed", "decoder_pos_embed"} == vit.find_unused_tensors(tensors).keys()
    assert_equal(vit.from_torch(tensors), variables)
    assert_equal(transformers.from_torch(transformers.to_torch(variables, VIT)), variables)


def test_sincos_position_embeddings_are_recognised_by_their_values():
    pos_embed = vit.sincos_pos_embed(24, 4)
    assert vit.is_sincos_pos_embed(pos_embed + 5e-5)
    assert not vit.is_sincos_pos_embed(pos_embed + 5e-4)
    assert not vit.is_sincos_pos_embed(np.zeros_like(pos_embed))
    assert not vit.is_sincos_pos_embed(pos_embed[:, :-1])


def test_a_decoder_with_learned_position_embeddings_is_rejected():
    tensors = vit.to_torch(make_mae_variables(), VIT)
    tensors["decoder_pos_embed"] = np.zeros_like(tensors["decoder_pos_embed"])
    with pytest.raises(UserError, match="decoder_pos_embed: found learned position embeddings"):
        vit.from_torch(tensors)


def test_dtypes_are_unchanged():
    variables = jax.tree.map(np.float64, make_resnet_variables())
    tensors = resnet.to_torch(variables)
    leaves = jax.tree.leaves(resnet.from_torch(tensors))
    assert all(leaf.dtype == np.float64 for leaf in leaves)


@pytest.mark.parametrize(
    ("layout", "tensors", "name"),
    [
        (resnet, resnet.to_torch(make_resnet_variables()), "layer1.0.se.fc.weight"),
        (vit, vit.to_torch(make_vit_variables(), VIT), "blocks.0.ls1.gamma"),
        (transformers, transformers.to_torch(make_vit_variables(), VIT), "layers.0.lambda1"),
        (
            transformers,
            transformers.to_torch(make_resnet_variables(), RESNET),
            "encoder.norm.weight",
        ),
    ],
)
def test_an_unknown_tensor_is_named(layout, tensors, name):
    with pytest.raises(UserError, match=f"tensor {name}: unknown in a"):
        layout.from_torch({**tensors, name: np.ones(3)})


def test_a_missing_key_tensor_is_named():
    tensors = transformers.to_torch(make_vit_variables(), VIT)
    del tensors["encoder.layer.1.attention.attention.key.bias"]
    with pytest.raises(UserError, match=r"tensor blocks.1.attn.key.bias: missing"):
        transformers.from_torch(tensors)
