import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.weights.layouts import to_timm_layout

STEMS = {"conv1.weight": np.ones((2, 3, 7, 7)), "bn1.weight": np.ones(2)}


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.backbone.", "base_encoder."])
def test_what_a_wrapper_puts_before_every_name_is_taken_off(prefix):
    tensors, _ = to_timm_layout({prefix + name: tensor for name, tensor in STEMS.items()})
    assert tensors.keys() == STEMS.keys()


def test_two_networks_in_one_file_are_refused():
    """MoCo's: to choose the one that learned is for the user to do."""
    both = {
        f"module.{q}.{name}": t for q in ("encoder_q", "encoder_k") for name, t in STEMS.items()
    }
    with pytest.raises(UserError, match=r"of no layout known here.*one network and no more"):
        to_timm_layout(both)


def test_what_is_left_out_is_told_with_its_reason():
    tensors = {"embeddings.patch_embeddings.projection.weight": np.ones((4, 3, 2, 2))}
    tensors["pooler.dense.weight"] = np.ones((4, 4))
    renamed, unused = to_timm_layout(tensors)
    assert renamed.keys() == {"patch_embed.proj.weight"}
    assert unused == {"pooler.dense.weight": "of ViTModel's pooler, which no network here has"}
