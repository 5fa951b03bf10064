import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.weights.layouts import to_timm_layout

TENSORS = {"conv1.weight": np.ones((2, 3, 7, 7)), "bn1.weight": np.ones(2)}


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.backbone.", "base_encoder."])
def test_the_prefix_of_a_wrapper_is_removed(prefix):
    tensors, _ = to_timm_layout({prefix + name: tensor for name, tensor in TENSORS.items()})
    assert tensors.keys() == TENSORS.keys()


def test_two_networks_in_one_file_are_rejected():
    """MoCo's file has two encoders, of which only the user can choose one."""
    both = {
        f"module.{q}.{name}": t for q in ("encoder_q", "encoder_k") for name, t in TENSORS.items()
    }
    with pytest.raises(UserError, match=r"is no known layout; expected a single network"):
        to_timm_layout(both)


def test_unused_tensors_are_returned_with_the_reason():
    tensors = {"embeddings.patch_embeddings.projection.weight": np.ones((4, 3, 2, 2))}
    tensors["pooler.dense.weight"] = np.ones((4, 4))
    renamed, unused = to_timm_layout(tensors)
    assert renamed.keys() == {"patch_embed.proj.weight"}
    assert unused == {
        "pooler.dense.weight": "part of ViTModel's pooler, which the networks here lack"
    }
