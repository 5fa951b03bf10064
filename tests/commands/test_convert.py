import functools

import jax
import numpy as np
import pytest
from networks_of_all_kinds import VIT, mae_variables, vit_variables
from safetensors.numpy import save_file
from small import VIT as SMALL_VIT
from small import small

import ssl_jax
from data_pipelines.errors import UserError
from ssl_jax import models
from ssl_jax.checkpoints import loading
from ssl_jax.convert import main
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train
from ssl_jax.weights import vit
from ssl_jax.weights.exporting import export_weights
from ssl_jax.weights.importing import ImportOptions, import_weights


def torchvision_resnet18():
    """Random weights in torchvision's names and shapes; the arrays are not to be changed."""
    return dict(_torchvision_resnet18())


@functools.cache
def _torchvision_resnet18():
    """Names and shapes are written out from torchvision's source."""
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
    variables = loading.load_variables(tmp_path / "run")
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
    kernel = loading.load_variables(tmp_path / "run")["params"]["backbone"]["conv1"]["kernel"]
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
    config.data.update(bands=("red", "green", "blue"), train="all[2:8]", evaluation="")
    config.pretrained = str(tmp_path / "imagenet")
    train(config, tmp_path / "transfer")
    there, here = (
        loading.load_variables(tmp_path / name)["params"]["backbone"]
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


def test_weights_for_bands_in_any_order_are_matched_by_name(weights, tmp_path):
    import_weights(weights, "resnet18", ("NIR", "B", "G", "R"), tmp_path / "run")
    model = ssl_jax.load(tmp_path / "run")
    assert model.card.sensor.names == ("nir", "blue", "green", "red")
    means = [band.mean for band in model.card.sensor.bands]
    assert means == [123.675, 103.53, 116.28, 123.675]  # a copy of red's is standardised as red
    kernel = model.variables["params"]["backbone"]["conv1"]["kernel"]
    first = torchvision_resnet18()["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, first[:, :, [0, 2, 1, 0]])


def test_a_resnet_without_classifier_gives_representations(tmp_path):
    tensors = torchvision_resnet18()
    headless = {name: t for name, t in tensors.items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "weights.safetensors")
    import_weights(tmp_path / "weights.safetensors", "resnet18", (), tmp_path / "run")
    model = ssl_jax.load(tmp_path / "run")
    assert model(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 512)


def mae_file(folder, variables=None):
    """An MAE of four bands as others lay it out, with a classifier nobody asked for."""
    tensors = vit.to_torch(variables or mae_variables(), VIT)
    tensors |= {"head.weight": np.ones((3, 24), np.float32), "head.bias": np.ones(3, np.float32)}
    save_file(tensors, folder / "mae.safetensors")
    return str(folder / "mae.safetensors")


MAE_OPTIONS = ("--heads=2", "--decoder_heads=2", "--file_bands=red,green,blue,nir")


def test_an_mae_is_evaluated_and_transferred_like_one_trained_here(data_dir, tmp_path, capsys):
    run = str(tmp_path / "run")
    main(["import", mae_file(tmp_path), "--as=mae", f"--workdir={run}", *MAE_OPTIONS])
    told = capsys.readouterr().out
    assert "left out: head.bias, head.weight: a classifier, not asked for" in told
    assert "left out: decoder_pos_embed, pos_embed: the fixed sin-cos table" in told
    assert "red: mean 123.675, std 58.395, after a cut to 0 … 255" in told
    variables = loading.load_variables(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, variables, mae_variables())
    figures = evaluate_checkpoint(run, "demo_tiles/tiny", str(data_dir), "validation", 8)
    assert np.isfinite(figures["loss"])
    config = small("classification", data_dir, ssl_jax.load(run).card.config.model.backbone)
    config.data.evaluation = ""
    config.pretrained = run
    train(config, tmp_path / "transfer")
    here = loading.load_variables(tmp_path / "transfer")["params"]["backbone"]
    jax.tree.map(np.testing.assert_array_equal, here, mae_variables()["params"]["backbone"])


def test_the_encoder_of_an_mae_is_a_vit_and_what_else_there_is_is_named(data_dir, tmp_path):
    file = mae_file(tmp_path)
    bands = ("red", "green", "blue", "nir")
    _, unused = import_weights(
        file, "vit", bands, tmp_path / "run", ImportOptions(file_bands=bands, heads=2)
    )
    used = {f"blocks.{i}.norm1.bias" for i in (0, 1)}
    assert not used & unused.keys()
    assert {"mask_token", "decoder_blocks.0.attn.qkv.weight", "head.bias"} < unused.keys()
    model = ssl_jax.load(tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 4), np.uint8)
    assert model(images).shape == (2, 24)
    with pytest.raises(UserError, match="representation is a backbone without a head"):
        evaluate_checkpoint(tmp_path / "run", "demo_tiles/tiny", str(data_dir), "validation", 8)


def test_a_vits_classifier_is_kept_where_it_is_asked_for(tmp_path):
    variables = vit_variables(VIT.clone(pool="mean"), classes=5)
    tensors = vit.to_torch(variables, VIT.clone(pool="mean"))
    save_file(tensors, tmp_path / "vit.safetensors")
    bands = ("red", "green", "blue", "nir")
    options = ImportOptions(file_bands=bands, heads=2, classifier=True)
    import_weights(tmp_path / "vit.safetensors", "vit", bands, tmp_path / "run", options)
    model = ssl_jax.load(tmp_path / "run")
    assert model.card.config.model.backbone.pool == "mean"
    assert model(np.zeros((2, 32, 32, 4), np.uint8)).shape == (2, 5)
    jax.tree.map(np.testing.assert_array_equal, model.variables, variables)


def test_learned_positions_are_stretched_to_the_size_of_the_images(tmp_path):
    learned = VIT.clone(position="learned")
    variables = vit_variables(learned)
    save_file(vit.to_torch(variables, learned), tmp_path / "vit.safetensors")
    bands = ("red", "green", "blue", "nir")
    options = ImportOptions(file_bands=bands, heads=2, image_size=48)
    import_weights(tmp_path / "vit.safetensors", "vit", bands, tmp_path / "run", options)
    model = ssl_jax.load(tmp_path / "run")
    # What the network here does with images of another size when they come, done once.
    image = np.random.default_rng(0).normal(size=(1, 48, 48, 4)).astype(np.float32)
    params = {"params": variables["params"]["backbone"]}
    expected = learned.apply(params, image)
    found = model.objective.backbone.apply({"params": model.variables["params"]["backbone"]}, image)
    assert model.variables["params"]["backbone"]["pos_embed"].shape == (1, 37, 24)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_goes_out_comes_in_again_to_the_bit(data_dir, tmp_path, capsys):
    """With its bands, their statistics and its classes, which the file holds too."""
    config = small("classification", data_dir, {**SMALL_VIT, "pool": "mean"})
    config.model.head.hidden, config.data.evaluation = (), ""
    train(config, tmp_path / "run")
    file = str(tmp_path / "out.safetensors")
    main(["export", str(tmp_path / "run"), file])
    told = capsys.readouterr().out
    assert "VisionTransformer(img_size=32, patch_size=8, in_chans=4, num_classes=" in told
    options = ("--heads=3", "--classifier", f"--workdir={tmp_path / 'again'}")
    main(["import", file, "--as=vit", *options])
    run, again = (ssl_jax.load(tmp_path / name) for name in ("run", "again"))
    jax.tree.map(np.testing.assert_array_equal, run.variables, again.variables)
    assert (run.card.sensor, run.card.classes) == (again.card.sensor, again.card.classes)
    assert run.card.image_dtype == again.card.image_dtype


def test_an_export_names_what_pytorch_has_no_place_for(data_dir, tmp_path):
    config = small("classification", data_dir, SMALL_VIT)
    config.data.evaluation = ""
    config.steps = 1
    train(config, tmp_path / "run")
    file = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", file)
    assert unused == {"head": "has more than one linear layer, which no classifier there has"}
    assert "num_classes=0" in metadata["model"]
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.safetensors"]


def test_a_network_that_pytorch_lacks_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"found norm 'group'.*PyTorch's ResNets have batch norm"):
        export_weights(trained("simclr").workdir, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_other_weights_never_slip_into_a_workdir_that_has_some(weights, tmp_path):
    import_weights(weights, "resnet18", (), tmp_path / "run")
    import_weights(weights, "resnet18", (), tmp_path / "run")
    other = torchvision_resnet18()
    other["fc.bias"] = other["fc.bias"] + 1
    save_file(other, weights)
    with pytest.raises(UserError, match=r"config.imported.sha256 = .*choose another --workdir"):
        import_weights(weights, "resnet18", (), tmp_path / "run")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("vit", "--as: found vit, but the tensors are those of a ResNet"),
        ("resnet50", r"layer1_0/bn3/mean is missing; resnet50 expects \(256,\)"),
    ],
)
def test_another_network_than_named_is_refused(weights, tmp_path, network, message):
    with pytest.raises(UserError, match=message):
        import_weights(weights, network, (), tmp_path / "run")


def test_a_pickle_is_never_read_but_its_owner_told_how_to_convert_it(tmp_path):
    file = tmp_path / "mae_pretrain_vit_base.pth"
    file.write_bytes(b"cos\nsystem\n(S'touch /tmp/unpickled'\ntR.")
    with pytest.raises(UserError, match=r"is a pickle[\s\S]*weights_only=True[\s\S]*save_file"):
        import_weights(file, "mae", (), tmp_path / "run")


def test_broken_weights_are_refused(tmp_path):
    tensors = torchvision_resnet18()
    tensors["fc.bias"] = np.full_like(tensors["fc.bias"], np.nan)
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"fc.bias holds NaN or infinity"):
        import_weights(tmp_path / "weights.safetensors", "resnet18", (), tmp_path / "run")


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"not at all")
    with pytest.raises(UserError, match="is not a safetensors file"):
        import_weights(file, "resnet18", ("red", "green", "blue"), tmp_path / "run")
