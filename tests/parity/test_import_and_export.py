"""Weights from timm and transformers, and ours loaded by them strictly: features agree."""

import json

import jax
import numpy as np
import pytest
import safetensors
import timm
import torch
import transformers
from deviation import expect_agreement
from safetensors.torch import load_file, save_file
from small import small

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
def _repeatable():
    torch.manual_seed(0)


def lively(module):
    """A network whose every tensor, be it a bias or a statistic, makes a difference."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and "pos_embed" not in name:
                tensor.add_(torch.randn_like(tensor), alpha=0.02)
    return module.eval()


def saved(module, file):
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, file)
    return file


def images(size, bands=4):
    """Digital numbers (2, size, size, bands) as an 8-bit camera gives them."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, bands), np.uint8)


def standardised(model, picture):
    """What the card says a network takes, in PyTorch's order (B, C, H, W)."""
    mean, std = np.array([(band.mean, band.std) for band in model.card.sensor.bands]).T
    return torch.tensor(((picture - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)


def from_file(metadata, file):
    """The network made by the lines that the door prints, which load the file's weights."""
    names = {"json": json, "safetensors": safetensors, "timm": timm, "transformers": transformers}
    exec(loading_code(file, metadata), names)
    network = names["model"].eval()
    stored, loaded = load_file(file), network.state_dict()
    assert sum(t.numel() for t in stored.values()) == sum(t.numel() for t in loaded.values())
    return network


def answers(network, x):
    """Features, or logits where the network has a classifier, as an array."""
    with torch.no_grad():
        output = network(x)
    if isinstance(output, torch.Tensor):
        return output.numpy()
    if "logits" in output:
        return output.logits.numpy()
    if "pooler_output" in output and output.pooler_output is not None:
        return output.pooler_output.flatten(1).numpy()
    return output.last_hidden_state[:, 0].numpy()


def ours(model, picture):
    """Features, or logits where there is a classifier, of pictures at the size of the network."""
    x = np.asarray(standardised(model, picture).permute(0, 2, 3, 1))
    variables = {
        collection: tree.get("backbone", {}) for collection, tree in model.variables.items()
    }
    goal = model.objective
    backbone = goal.backbone if hasattr(goal, "backbone") else goal.model.backbone
    features = jax.jit(backbone.apply)(variables, x)
    if "head" not in model.variables["params"]:
        return features
    return goal.head.apply({"params": model.variables["params"]["head"]}, features)


def test_timms_resnet50_gives_the_same_logits_here(tmp_path):
    theirs = lively(timm.create_model("resnet50", num_classes=1000))
    import_weights(saved(theirs, tmp_path / "w.safetensors"), "resnet50", (), tmp_path / "run")
    model = ssl_jax.load(tmp_path / "run")
    picture = images(224, 3)
    expected = answers(theirs, standardised(model, picture))
    expect_agreement(
        "timm's resnet50, logits", {"logits": ours(model, picture)}, {"logits": expected}, TOLERANCE
    )


@pytest.mark.parametrize("layout", ["timm", "transformers"])
def test_a_resnet50_of_four_bands_goes_out_with_its_features(layout, tmp_path):
    network = lively(timm.create_model("resnet50", in_chans=4, num_classes=0))
    file = saved(network, tmp_path / "w.safetensors")
    import_weights(
        file, "resnet50", (), tmp_path / "run", ImportOptions(file_bands=BANDS, image_size=120)
    )
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", out, layout)
    assert not unused
    theirs = from_file(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    picture = images(120)
    expected = answers(theirs, standardised(model, picture))
    expect_agreement(
        f"resnet50 to {layout}, features",
        {"features": ours(model, picture)},
        {"features": expected},
        TOLERANCE,
    )


@pytest.mark.parametrize(
    ("dim", "depth"), [(192, 3), pytest.param(768, 12, marks=pytest.mark.full)], ids=str
)
@pytest.mark.parametrize(("layout", "position"), [("timm", "fixed"), ("transformers", "learned")])
def test_a_vit_of_four_bands_goes_out_with_its_features(layout, position, dim, depth, tmp_path):
    sizes = {"img_size": 120, "patch_size": 8, "in_chans": 4, "num_classes": 0}
    sizes |= {"embed_dim": dim, "depth": depth, "num_heads": dim // 64}
    network = timm.models.VisionTransformer(**sizes)
    if position == "fixed":
        network.pos_embed.data = torch.tensor(vit.fixed_table(dim, 15))
    file = saved(lively(network), tmp_path / "w.safetensors")
    import_weights(file, "vit", (), tmp_path / "run", ImportOptions(file_bands=BANDS))
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", out, layout)
    assert not unused
    theirs = from_file(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    assert ("pos_embed" in model.variables["params"]["backbone"]) == (position == "learned")
    picture = images(120)
    x = standardised(model, picture)
    mine = ours(model, picture)
    expect_agreement(f"ViT of {dim} in", {"cls": mine}, {"cls": answers(network, x)}, TOLERANCE)
    expect_agreement(
        f"ViT of {dim} to {layout}, {position} positions",
        {"cls": mine},
        {"cls": answers(theirs, x)},
        TOLERANCE,
    )


@pytest.fixture(scope="module", params=["simclr", "mae", "classification"])
def run_of_a_kind(request, data_dir, tmp_path_factory):
    """A run of each kind: its name, its folder."""
    kind = request.param
    # Of widths that only transformers has; the full ResNet-50 above goes to both.
    tiny = {"name": "resnet18", "stages": (1, 1, 1, 1), "width": 8}
    config = small(kind, data_dir, None if kind == "mae" else tiny)
    config.data.evaluation, config.steps = "", 1
    if kind == "classification":
        config.model.head.hidden = ()
    folder = tmp_path_factory.mktemp(kind)
    train(config, folder)
    return kind, folder


@pytest.mark.parametrize("layout", ["timm", "transformers"])
def test_what_was_trained_here_answers_the_same_there(layout, run_of_a_kind, tmp_path):
    kind, run = run_of_a_kind
    if layout == "timm" and kind != "mae":
        with pytest.raises(UserError, match="--layout timm: has no ResNet of stages"):
            export_weights(run, tmp_path / "out.safetensors", layout)
        return
    out = tmp_path / "out.safetensors"
    metadata, unused = export_weights(run, out, layout)
    extra = {"simclr": {"projection"}, "mae": {"decoder"}, "classification": set()}[kind]
    assert unused.keys() == extra
    theirs = from_file(metadata, out)
    model = ssl_jax.load(run)
    picture = np.random.default_rng(0).integers(0, 10_000, (2, 32, 32, 4), np.uint16)
    expected = answers(theirs, standardised(model, picture))
    expect_agreement(
        f"{kind} to {layout}", {"answers": ours(model, picture)}, {"answers": expected}, TOLERANCE
    )


def test_a_vit_that_pools_the_mean_goes_to_timm_with_its_classifier(data_dir, tmp_path):
    backbone = {"name": "vit_ti", "depth": 2, "dim": 24, "heads": 3, "patch_size": 8}
    backbone |= {"image_size": 32, "pool": "mean"}
    config = small("classification", data_dir, backbone)
    config.data.evaluation, config.model.head.hidden = "", ()
    train(config, tmp_path / "run")
    out = tmp_path / "out.safetensors"
    metadata, _ = export_weights(tmp_path / "run", out)
    theirs = from_file(metadata, out)
    model = ssl_jax.load(tmp_path / "run")
    picture = np.random.default_rng(0).integers(0, 10_000, (2, 32, 32, 4), np.uint16)
    expected = answers(theirs, standardised(model, picture))
    expect_agreement(
        "mean-pooled ViT to timm", {"logits": ours(model, picture)}, {"logits": expected}, TOLERANCE
    )


def test_positions_are_stretched_as_timm_stretches_them(tmp_path):
    network = timm.models.VisionTransformer(
        img_size=64, patch_size=8, embed_dim=192, depth=1, num_heads=3, num_classes=0
    )
    file = saved(lively(network), tmp_path / "w.safetensors")
    import_weights(file, "vit", (), tmp_path / "run", ImportOptions(image_size=120))
    ours = loading.load_variables(tmp_path / "run")["params"]["backbone"]["pos_embed"]
    theirs = timm.layers.resample_abs_pos_embed(network.pos_embed, (15, 15)).detach().numpy()
    expect_agreement("positions 8×8 to 15×15", {"table": ours}, {"table": theirs}, TOLERANCE)


def test_four_bands_are_tiled_as_timm_tiles_them(tmp_path):
    network = lively(timm.create_model("resnet18", num_classes=0))
    file = saved(network, tmp_path / "w.safetensors")
    import_weights(file, "resnet18", BANDS, tmp_path / "run", ImportOptions(new_bands="tile"))
    kernel = loading.load_variables(tmp_path / "run")["params"]["backbone"]["conv1"]["kernel"]
    theirs = timm.models.adapt_input_conv(4, network.conv1.weight.detach())
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), theirs.numpy())


@pytest.mark.parametrize("kind", ["resnet", "resnet_classifier", "vit", "vit_classifier", "mae"])
def test_transformers_names_of_version_4_and_5_are_read_and_written_to_the_bit(kind, tmp_path):
    """Modules of version 5 have other names than the files they write, which are version 4's."""
    vits = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vits |= {"intermediate_size": 96, "image_size": 32, "patch_size": 8, "num_channels": 4}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1}
    decoder |= {"decoder_num_attention_heads": 2, "decoder_intermediate_size": 64}
    resnets = {"depths": [2, 1, 1, 1], "num_channels": 4, "hidden_sizes": [16, 32, 64, 128]}
    network = {
        "resnet": lambda: transformers.ResNetModel(transformers.ResNetConfig(**resnets)),
        "resnet_classifier": lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(**resnets, num_labels=5)
        ),
        "vit": lambda: transformers.ViTModel(
            transformers.ViTConfig(**vits), add_pooling_layer=False
        ),
        "vit_classifier": lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(**vits, num_labels=5)
        ),
        "mae": lambda: transformers.ViTMAEForPreTraining(
            transformers.ViTMAEConfig(**vits, **decoder)
        ),
    }[kind]()
    lively(network)
    if kind == "mae":
        network.decoder.decoder_pos_embed.data = torch.tensor(vit.fixed_table(16, 4))
    network.save_pretrained(tmp_path)
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as opened:
        file = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    module = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert kind.startswith("resnet") or file.keys() != module.keys()
    variables = hugging_face.from_torch(module)
    jax.tree.map(np.testing.assert_array_equal, variables, hugging_face.from_torch(file))
    if kind.startswith("resnet"):
        written = hugging_face.from_timm(resnet.to_torch(variables))
    else:
        own = ViT(dim=24, depth=2, heads=2, patch_size=8, image_size=32, position="learned")
        written = hugging_face.to_torch(variables, own)
    if kind == "mae":  # written with the names of version 4's modules, which version 5 reads too
        network.config.save_pretrained(tmp_path)
        safetensors.numpy.save_file(written, tmp_path / "model.safetensors", {"format": "pt"})
        again, loading = type(network).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(loading.values()), loading
        written = {name: tensor.numpy() for name, tensor in again.state_dict().items()}
        file = module
    assert written.keys() == file.keys()
    for name, tensor in file.items():
        np.testing.assert_array_equal(written[name], tensor)
