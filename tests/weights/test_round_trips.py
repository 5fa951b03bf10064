"""What goes out comes in again, to the bit and with nothing lost: each layout, each network."""

import jax
import numpy as np
import pytest
from networks_of_all_kinds import (
    RESNET,
    VIT,
    mae_variables,
    resnet_variables,
    vit_variables,
)

from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, transformers, vit

LEARNED = VIT.clone(position="learned")
MEAN = VIT.clone(pool="mean")


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("classes", [0, 5])
def test_resnet_and_back(classes):
    variables = resnet_variables(classes)
    tensors = resnet.to_torch(variables)
    assert_same(resnet.from_torch(tensors), variables)
    assert_same(transformers.from_torch(transformers.to_torch(variables, RESNET)), variables)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("backbone", [VIT, LEARNED])
def test_vit_and_back(backbone, classes):
    variables = vit_variables(backbone, classes)
    tensors = vit.to_torch(variables, backbone)
    assert_same(vit.from_torch(tensors), variables)
    assert_same(transformers.from_torch(transformers.to_torch(variables, backbone)), variables)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


def test_a_mean_pooled_vit_calls_its_norm_as_timm_does():
    variables = vit_variables(MEAN)
    tensors = vit.to_torch(variables, MEAN)
    assert "fc_norm.weight" in tensors
    assert "norm.weight" not in tensors
    assert_same(vit.from_torch(tensors), variables)


def test_mae_and_back():
    variables = mae_variables()
    tensors = vit.to_torch(variables, VIT)
    assert {"pos_embed", "decoder_pos_embed"} == vit.find_unused_tensors(tensors).keys()
    assert_same(vit.from_torch(tensors), variables)
    assert_same(transformers.from_torch(transformers.to_torch(variables, VIT)), variables)


def test_a_fixed_table_is_known_by_its_values():
    table = vit.fixed_table(24, 4)
    assert vit.is_fixed(table + 5e-5)
    assert not vit.is_fixed(table + 5e-4)
    assert not vit.is_fixed(np.zeros_like(table))
    assert not vit.is_fixed(table[:, :-1])


def test_a_decoder_with_learned_positions_is_refused():
    tensors = vit.to_torch(mae_variables(), VIT)
    tensors["decoder_pos_embed"] = np.zeros_like(tensors["decoder_pos_embed"])
    with pytest.raises(UserError, match="decoder_pos_embed: is not the fixed sin-cos table"):
        vit.from_torch(tensors)


def test_dtypes_stay_as_they_are():
    variables = jax.tree.map(np.float64, resnet_variables())
    tensors = resnet.to_torch(variables)
    leaves = jax.tree.leaves(resnet.from_torch(tensors))
    assert all(leaf.dtype == np.float64 for leaf in leaves)


@pytest.mark.parametrize(
    ("layout", "tensors", "name"),
    [
        (resnet, resnet.to_torch(resnet_variables()), "layer1.0.se.fc.weight"),
        (vit, vit.to_torch(vit_variables(), VIT), "blocks.0.ls1.gamma"),
        (transformers, transformers.to_torch(vit_variables(), VIT), "layers.0.lambda1"),
        (transformers, transformers.to_torch(resnet_variables(), RESNET), "encoder.norm.weight"),
    ],
)
def test_a_tensor_without_a_place_is_named(layout, tensors, name):
    with pytest.raises(UserError, match=f"tensor {name}: has no place"):
        layout.from_torch({**tensors, name: np.ones(3)})


def test_a_query_without_its_key_is_named():
    tensors = transformers.to_torch(vit_variables(), VIT)
    del tensors["encoder.layer.1.attention.attention.key.bias"]
    with pytest.raises(UserError, match=r"has no blocks.1.attn.key.bias beside it"):
        transformers.from_torch(tensors)
