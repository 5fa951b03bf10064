import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from small import small

import ssl_jax
from data_pipelines.errors import UserError
from ssl_jax import checkpoint, models
from ssl_jax.convert import import_weights
from ssl_jax.train import train


def torchvision_resnet18():
    """Random weights in torchvision's names and shapes, written out from its source."""
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (64, 3, 7, 7)}
    norms = {"bn1": 64}
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, channels, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width}
            if channels != width:
                shapes[f"{name}.downsample.0.weight"] = (width, channels, 1, 1)
                norms[f"{name}.downsample.1"] = width
            channels = width
    tensors = {name: rng.normal(0, 0.05, shape) for name, shape in shapes.items()}
    for name, width in norms.items():
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{leaf}"] = rng.uniform(0.5, 1.5, width)
        tensors[f"{name}.num_batches_tracked"] = np.zeros(1)
    tensors |= {"fc.weight": rng.normal(size=(10, 512)), "fc.bias": rng.normal(size=10)}
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "resnet18.safetensors"
    save_file(torchvision_resnet18(), file)
    return file


def test_every_tensor_finds_its_place(weights, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue"), tmp_path / "run")
    variables = checkpoint.load_variables(tmp_path / "run")
    tensors = torchvision_resnet18()
    total = sum(t.size for name, t in tensors.items() if "num_batches" not in name)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == total
    conv = variables["params"]["backbone"]["layer3_0"]["downsample_0"]["kernel"]
    np.testing.assert_array_equal(
        conv, tensors["layer3.0.downsample.0.weight"].transpose(2, 3, 1, 0)
    )
    mean = variables["batch_stats"]["backbone"]["layer1_1"]["bn2"]["mean"]
    np.testing.assert_array_equal(mean, tensors["layer1.1.bn2.running_mean"])


def test_a_fourth_band_leaves_red_green_and_blue_as_they_are(weights, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue", "nir"), tmp_path / "run")
    kernel = checkpoint.load_variables(tmp_path / "run")["params"]["backbone"]["conv1"]["kernel"]
    first = torchvision_resnet18()["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel[:, :, :3], first)
    np.testing.assert_array_equal(kernel[:, :, 3], first[:, :, 0])


def test_the_checkpoint_is_a_model_like_any_other(weights, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue"), tmp_path / "run")
    model = ssl_jax.load(tmp_path / "run")
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(model(images).sum(axis=1), 1.0, rtol=1e-5)
    logits = models.resnet18().apply(
        {name: v["backbone"] for name, v in model.variables.items()}, np.zeros((1, 32, 32, 3))
    )
    assert np.isfinite(logits).all()


def test_a_transfer_run_takes_the_backbone(weights, data_dir, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue"), tmp_path / "imagenet")
    config = small("classification", data_dir, {"name": "resnet18"})
    config.data.bands = ("red", "green", "blue")
    config.pretrained = str(tmp_path / "imagenet")
    train(config, tmp_path / "transfer")
    there, here = (
        checkpoint.load_variables(tmp_path / name)["params"]["backbone"]
        for name in ("imagenet", "transfer")
    )
    jax.tree.map(np.testing.assert_array_equal, here, there)


def test_a_missing_or_foreign_tensor_is_named(tmp_path):
    tensors = torchvision_resnet18()
    del tensors["layer2.1.conv2.weight"]
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"layer2_1/conv2/kernel is missing; resnet18 expects"):
        import_weights(
            tmp_path / "weights.safetensors", "resnet18", ("red", "green", "blue"), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"not at all")
    with pytest.raises(UserError, match="is not a safetensors file"):
        import_weights(file, "resnet18", ("red", "green", "blue"), tmp_path / "run")
