import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.weights.layouts import to_timm_layout

TENSORS = {"conv1.weight": np.ones((2, 3, 7, 7)), "bn1.weight": np.ones(2)}


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.backbone.", "base_encoder."])
def test_the_prefix_of_a_wrapper_is_removed(prefix):
    tensors, _ = to_timm_layout({prefix + name: tensor for name, tensor in TENSORS.items()})
    assert tensors.keys() == TENSORS.keys()


def test_of_several_networks_in_one_file_the_user_chooses_one_by_its_prefix():
    """MoCo's file has two encoders and a queue."""
    file = {
        f"module.{encoder}.{name}": tensor + (encoder == "encoder_k")
        for encoder in ("encoder_q", "encoder_k")
        for name, tensor in TENSORS.items()
    }
    file["module.queue"] = np.ones(3)
    message = r"--prefix with one of the prefixes .*: module.encoder_k., module.encoder_q.$"
    with pytest.raises(UserError, match=message):
        to_timm_layout(file)
    for prefix in ("module.encoder_q", "module.encoder_q."):
        tensors, unused = to_timm_layout(file, prefix)
        assert tensors.keys() == TENSORS.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(tensor, TENSORS[name])
        assert unused["module.queue"] == "its name doesn't begin with --prefix module.encoder_q."
        assert len(unused) == len(TENSORS) + 1
    with pytest.raises(UserError, match=r"--prefix: found encoder_x., .*: module.encoder_k., mod"):
        to_timm_layout(file, "encoder_x")


def test_the_first_layer_of_a_network_of_videos_is_summed_over_time():
    stem = np.random.default_rng(0).normal(size=(4, 3, 2, 2, 2))
    tensors, _ = to_timm_layout({"encoder.patch_embed.proj.weight": stem})
    np.testing.assert_array_equal(tensors["patch_embed.proj.weight"], stem.sum(axis=2))


def test_unused_tensors_are_returned_with_the_reason():
    tensors = {"embeddings.patch_embeddings.projection.weight": np.ones((4, 3, 2, 2))}
    tensors["pooler.dense.weight"] = np.ones((4, 4))
    renamed, unused = to_timm_layout(tensors)
    assert renamed.keys() == {"patch_embed.proj.weight"}
    assert unused == {
        "pooler.dense.weight": "part of ViTModel's pooler, which the networks here lack"
    }
