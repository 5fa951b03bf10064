"""Features of imported networks, and of exported networks in timm and transformers, agree."""

import json

import jax
import numpy as np
import pytest
import safetensors
import timm
import torch
import transformers
from relative_error import assert_agreement
from safetensors.torch import load_file, save_file
from small_configs import make_small_config

import ssl_jax
from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading
from ssl_jax.models import ViT
from ssl_jax.runs.training import train
from ssl_jax.weights import resnet, vit
from ssl_jax.weights import transformers as hugging_face
from ssl_jax.weights.exporting import export_weights, loading_code
from ssl_jax.weights.importing import ImportOptions, import_weights

TOLERANCE = 1e-5
BANDS = ("red", "green", "blue", "nir")


@pytest.fixture(autouse=True)
def _seed_torch():
    torch.manual_seed(0)


def randomise(module):
    """Change all tensors of a network, biases and statistics too, so that all have an effect."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and "pos_embed" not in name:
                tensor.add_(torch.randn_like(tensor), alpha=0.02)
    return module.eval()


def save_network(module, file):
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, file)
    return file


def make_images(size, bands=4):
    """Create images of 8-bit digital numbers, (2, size, size, bands)."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, bands), np.uint8)


def normalise(model, image):
    """Normalise images with the statistics on the model's card, in PyTorch's order (B, C, H, W)."""
    mean, std = np.array([(band.mean, band.std) for band in model.card.sensor.bands]).T
    return torch.tensor(((image - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)


def load_exported(metadata, file):
    """Load an exported network with the code that the command prints."""
    namespace = {
        "json": json,
        "safetensors": safetensors,
        "timm": timm,
        "transformers": transformers,
    }
    exec(loading_code(file, metadata), namespace)
    network = namespace["model"].eval()
    stored, loaded = load_file(file), network.state_dict()
    assert sum(t.numel() for t in stored.values()) == sum(t.numel() for t in loaded.values())
    return network


def compute_reference(network, x):
    """Compute features, or logits if the network has a classifier, with PyTorch."""
    with torch.no_grad():
        output = network(x)
    if isinstance(output, torch.Tensor):
        return output.numpy()
    if "logits" in output:
        return output.logits.numpy()
    if "pooler_output" in output and output.pooler_output is not None:
        return output.pooler_output.flatten(1).numpy()
    return output.last_hidden_state[:, 0].numpy()


def compute_outputs(model, image):
    """Compute features, or logits if there is a classifier, of images with our network."""
    x = np.asarray(normalise(model, image).permute(0, 2, 3, 1))
    variables = {
        collection: tree.get("backbone", {}) for collection, tree in model.variables.items()
    }
    objective = model.objective
    has_backbone = hasattr(objective, "backbone")
    backbone = objective.backbone if has_backbone else objective.model.backbone
    features = jax.jit(backbone.apply)(variables, x)
    if "head" not in model.variables["params"]:
        return features
    return objective.head.apply({"params": model.variables["params"]["head"]}, features)


def test_the_logits_of_an_imported_resnet50_are_those_of_timm(tmp_path):
    theirs = randomise(timm.create_model("resnet50", num_classes=1000))
    import_weights(
        save_network(theirs, tmp_path / "w.safetensors"), "resnet50", (), tmp_path / "run"
    )
    model = ssl_jax.load(tmp_path / "run")
    image = make_images(224, 3)
    expected = compute_reference(theirs, normalise(model, image))
    assert_agreement(
        "timm's resnet50, logits",
        {"logits": compute_outputs(model, image)},
        {"logits": expected},
        TOLERANCE,
    )


@pytest.mark.parametrize("layout", ["timm", "transformers"])
def test_an_exported_resnet50_with_four_bands_has_the_same_features(layout, tmp_path):
    network = randomise(timm.create_model("resnet50", in_chans=4, num_classes=0))
    file = save_network(network, tmp_path / "w.safetensors")
    import_weights(
        file, "resnet50", (), tmp_path / "run", ImportOptions(file_bands=BANDS, image_size=120)
    )
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", out, layout)
    assert not unused
    theirs = load_exported(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    image = make_images(120)
    expected = compute_reference(theirs, normalise(model, image))
    assert_agreement(
        f"resnet50 to {layout}, features",
        {"features": compute_outputs(model, image)},
        {"features": expected},
        TOLERANCE,
    )


@pytest.mark.parametrize(
    ("dim", "depth"), [(192, 3), pytest.param(768, 12, marks=pytest.mark.full)], ids=str
)
@pytest.mark.parametrize(("layout", "position"), [("timm", "sincos"), ("transformers", "learned")])
def test_an_exported_vit_with_four_bands_has_the_same_features(
    layout, position, dim, depth, tmp_path
):
    sizes = {"img_size": 120, "patch_size": 8, "in_chans": 4, "num_classes": 0}
    sizes |= {"embed_dim": dim, "depth": depth, "num_heads": dim // 64}
    network = timm.models.VisionTransformer(**sizes)
    if position == "sincos":
        network.pos_embed.data = torch.tensor(vit.sincos_pos_embed(dim, 15))
    file = save_network(randomise(network), tmp_path / "w.safetensors")
    import_weights(file, "vit", (), tmp_path / "run", ImportOptions(file_bands=BANDS))
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", out, layout)
    assert not unused
    theirs = load_exported(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    assert ("pos_embed" in model.variables["params"]["backbone"]) == (position == "learned")
    image = make_images(120)
    x = normalise(model, image)
    actual = compute_outputs(model, image)
    assert_agreement(
        f"imported ViT of {dim}", {"cls": actual}, {"cls": compute_reference(network, x)}, TOLERANCE
    )
    assert_agreement(
        f"ViT of {dim} to {layout}, {position} positions",
        {"cls": actual},
        {"cls": compute_reference(theirs, x)},
        TOLERANCE,
    )


@pytest.fixture(scope="module", params=["simclr", "mae", "classification"])
def trained_run(request, data_dir, tmp_path_factory):
    """The objective and the workdir of a run with each objective."""
    kind = request.param
    # Only transformers has ResNets of this size; both have the ResNet-50 tested above.
    tiny = {"name": "resnet18", "stages": (1, 1, 1, 1), "width": 8}
    config = make_small_config(kind, data_dir, None if kind == "mae" else tiny)
    config.data.evaluation, config.steps = "", 1
    if kind == "classification":
        config.model.head.hidden = ()
    folder = tmp_path_factory.mktemp(kind)
    train(config, folder)
    return kind, folder


@pytest.mark.parametrize("layout", ["timm", "transformers"])
def test_an_exported_run_has_the_same_outputs(layout, trained_run, tmp_path):
    kind, run = trained_run
    if layout == "timm" and kind != "mae":
        with pytest.raises(UserError, match="--layout timm: found a ResNet with stages"):
            export_weights(run, tmp_path / "out.safetensors", layout)
        return
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(run, out, layout)
    expected_unused = {"simclr": {"projection"}, "mae": {"decoder"}, "classification": set()}[kind]
    assert unused.keys() == expected_unused
    theirs = load_exported(metadata, out)
    model = ssl_jax.load(run)
    image = np.random.default_rng(0).integers(0, 10_000, (2, 32, 32, 4), np.uint16)
    expected = compute_reference(theirs, normalise(model, image))
    assert_agreement(
        f"{kind} to {layout}",
        {"outputs": compute_outputs(model, image)},
        {"outputs": expected},
        TOLERANCE,
    )


def test_a_mean_pooled_vit_is_exported_to_timm_with_its_classifier(data_dir, tmp_path):
    backbone = {"name": "vit_ti", "depth": 2, "dim": 24, "heads": 3, "patch_size": 8}
    backbone |= {"image_size": 32, "pool": "mean"}
    config = make_small_config("classification", data_dir, backbone)
    config.data.evaluation, config.model.head.hidden = "", ()
    train(config, tmp_path / "run")
    out = tmp_path / "out.safetensors"
    metadata, _ = export_weights(tmp_path / "run", out)
    theirs = load_exported(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    image = np.random.default_rng(0).integers(0, 10_000, (2, 32, 32, 4), np.uint16)
    expected = compute_reference(theirs, normalise(model, image))
    assert_agreement(
        "mean-pooled ViT to timm",
        {"logits": compute_outputs(model, image)},
        {"logits": expected},
        TOLERANCE,
    )


def test_position_embeddings_are_resized_as_in_timm(tmp_path):
    network = timm.models.VisionTransformer(
        img_size=64, patch_size=8, embed_dim=192, depth=1, num_heads=3, num_classes=0
    )
    file = save_network(randomise(network), tmp_path / "w.safetensors")
    import_weights(file, "vit", (), tmp_path / "run", ImportOptions(image_size=120))
    ours = loading.load_variables(tmp_path / "run")["params"]["backbone"]["pos_embed"]
    theirs = timm.layers.resample_abs_pos_embed(network.pos_embed, (15, 15)).detach().numpy()
    assert_agreement(
        "position embeddings 8×8 to 15×15", {"table": ours}, {"table": theirs}, TOLERANCE
    )


def test_four_bands_are_tiled_as_in_timm(tmp_path):
    network = randomise(timm.create_model("resnet18", num_classes=0))
    file = save_network(network, tmp_path / "w.safetensors")
    import_weights(file, "resnet18", BANDS, tmp_path / "run", ImportOptions(new_bands="tile"))
    kernel = loading.load_variables(tmp_path / "run")["params"]["backbone"]["conv1"]["kernel"]
    theirs = timm.models.adapt_input_conv(4, network.conv1.weight.detach())
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), theirs.numpy())


@pytest.mark.parametrize("kind", ["resnet", "resnet_classifier", "vit", "vit_classifier", "mae"])
def test_transformers_names_of_versions_4_and_5_are_read_and_written_exactly(kind, tmp_path):
    """Files of version 5 have the names of version 4, which differ from those of its modules."""
    vit_sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vit_sizes |= {"intermediate_size": 96, "image_size": 32, "patch_size": 8, "num_channels": 4}
    decoder_sizes = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1}
    decoder_sizes |= {"decoder_num_attention_heads": 2, "decoder_intermediate_size": 64}
    resnet_sizes = {"depths": [2, 1, 1, 1], "num_channels": 4, "hidden_sizes": [16, 32, 64, 128]}
    network = {
        "resnet": lambda: transformers.ResNetModel(transformers.ResNetConfig(**resnet_sizes)),
        "resnet_classifier": lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(**resnet_sizes, num_labels=5)
        ),
        "vit": lambda: transformers.ViTModel(
            transformers.ViTConfig(**vit_sizes), add_pooling_layer=False
        ),
        "vit_classifier": lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(**vit_sizes, num_labels=5)
        ),
        "mae": lambda: transformers.ViTMAEForPreTraining(
            transformers.ViTMAEConfig(**vit_sizes, **decoder_sizes)
        ),
    }[kind]()
    randomise(network)
    if kind == "mae":
        network.decoder.decoder_pos_embed.data = torch.tensor(vit.sincos_pos_embed(16, 4))
    network.save_pretrained(tmp_path)
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as opened:
        file = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    state_dict = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert kind.startswith("resnet") or file.keys() != state_dict.keys()
    variables = hugging_face.from_torch(state_dict)
    jax.tree.map(np.testing.assert_array_equal, variables, hugging_face.from_torch(file))
    if kind.startswith("resnet"):
        written = hugging_face.from_timm(resnet.to_torch(variables))
    else:
        backbone = ViT(dim=24, depth=2, heads=2, patch_size=8, image_size=32, position="learned")
        written = hugging_face.to_torch(variables, backbone)
    if kind == "mae":  # its written names are those of version 4's modules, which version 5 reads
        network.config.save_pretrained(tmp_path)
        safetensors.numpy.save_file(written, tmp_path / "model.safetensors", {"format": "pt"})
        loaded, loading = type(network).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(loading.values()), loading
        written = {name: tensor.numpy() for name, tensor in loaded.state_dict().items()}
        file = state_dict
    assert written.keys() == file.keys()
    for name, tensor in file.items():
        np.testing.assert_array_equal(written[name], tensor)
