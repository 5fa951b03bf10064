import functools

import jax
import numpy as np
import pytest
from safetensors import flax
from safetensors.numpy import save_file
from small_configs import VIT as SMALL_VIT
from small_configs import make_small_config
from small_networks import VIT, make_mae_variables, make_vit_variables

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
    """Random weights with torchvision's names and shapes; the arrays are shared, so read-only."""
    return dict(_torchvision_resnet18())


@functools.cache
def _torchvision_resnet18():
    """Names and shapes as in torchvision's source."""
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


def test_each_tensor_is_imported(weights, tmp_path):
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


def test_a_fourth_band_leaves_the_weights_of_red_green_and_blue_unchanged(weights, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue", "nir"), tmp_path / "run")
    kernel = loading.load_variables(tmp_path / "run")["params"]["backbone"]["conv1"]["kernel"]
    first = torchvision_resnet18()["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel[:, :, :3], first)
    np.testing.assert_array_equal(kernel[:, :, 3], first[:, :, 0])


def test_the_checkpoint_loads_as_a_model(weights, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue"), tmp_path / "run")
    model = ssl_jax.load(tmp_path / "run")
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(model(images).sum(axis=1), 1.0, rtol=1e-5)
    logits = models.resnet18().apply(
        {name: v["backbone"] for name, v in model.variables.items()}, np.zeros((1, 32, 32, 3))
    )
    assert np.isfinite(logits).all()


def test_a_transfer_run_starts_from_the_backbone(weights, data_dir, tmp_path):
    import_weights(weights, "resnet18", ("red", "green", "blue"), tmp_path / "imagenet")
    config = make_small_config("classification", data_dir, {"name": "resnet18"})
    config.data.update(bands=("red", "green", "blue"), train="all[2:8]", evaluation="")
    config.pretrained = str(tmp_path / "imagenet")
    train(config, tmp_path / "transfer")
    imported, transferred = (
        loading.load_variables(tmp_path / name)["params"]["backbone"]
        for name in ("imagenet", "transfer")
    )
    jax.tree.map(np.testing.assert_array_equal, transferred, imported)


def test_a_missing_tensor_is_named(tmp_path):
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
    assert means == [123.675, 103.53, 116.28, 123.675]  # nir is a copy of red, statistics included
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


def write_mae(folder, variables=None):
    """Write an MAE of four bands in MAE's layout, with an additional classifier."""
    tensors = vit.to_torch(variables or make_mae_variables(), VIT)
    tensors |= {"head.weight": np.ones((3, 24), np.float32), "head.bias": np.ones(3, np.float32)}
    save_file(tensors, folder / "mae.safetensors")
    return str(folder / "mae.safetensors")


MAE_OPTIONS = ("--heads=2", "--decoder_heads=2", "--file_bands=red,green,blue,nir")


def test_an_imported_mae_is_evaluated_and_transferred(data_dir, tmp_path, capsys):
    run = str(tmp_path / "run")
    main(["import", write_mae(tmp_path), "--as=mae", f"--workdir={run}", *MAE_OPTIONS])
    output = capsys.readouterr().out
    assert "unused: head.bias, head.weight: a classifier, imported only with" in output
    assert "unused: decoder_pos_embed, pos_embed: the fixed sin-cos position embedding" in output
    assert "red: mean 123.675, std 58.395, clipped to 0 … 255" in output
    variables = loading.load_variables(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, variables, make_mae_variables())
    metrics = evaluate_checkpoint(run, "demo_tiles/tiny", str(data_dir), "validation", 8)
    assert np.isfinite(metrics["loss"])
    config = make_small_config(
        "classification", data_dir, ssl_jax.load(run).card.config.model.backbone
    )
    config.data.evaluation = ""
    config.pretrained = run
    train(config, tmp_path / "transfer")
    backbone = loading.load_variables(tmp_path / "transfer")["params"]["backbone"]
    jax.tree.map(
        np.testing.assert_array_equal, backbone, make_mae_variables()["params"]["backbone"]
    )


def test_the_encoder_of_an_mae_is_imported_as_a_vit_and_unused_tensors_are_named(
    data_dir, tmp_path
):
    file = write_mae(tmp_path)
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
    with pytest.raises(UserError, match="found representation, a backbone without a head"):
        evaluate_checkpoint(tmp_path / "run", "demo_tiles/tiny", str(data_dir), "validation", 8)


def test_the_classifier_option_keeps_a_vits_classifier(tmp_path):
    variables = make_vit_variables(VIT.clone(pool="mean"), classes=5)
    tensors = vit.to_torch(variables, VIT.clone(pool="mean"))
    save_file(tensors, tmp_path / "vit.safetensors")
    bands = ("red", "green", "blue", "nir")
    options = ImportOptions(file_bands=bands, heads=2, classifier=True)
    import_weights(tmp_path / "vit.safetensors", "vit", bands, tmp_path / "run", options)
    model = ssl_jax.load(tmp_path / "run")
    assert model.card.config.model.backbone.pool == "mean"
    assert model(np.zeros((2, 32, 32, 4), np.uint8)).shape == (2, 5)
    jax.tree.map(np.testing.assert_array_equal, model.variables, variables)


def test_learned_position_embeddings_are_resized_to_the_image_size(tmp_path):
    learned = VIT.clone(position="learned")
    variables = make_vit_variables(learned)
    save_file(vit.to_torch(variables, learned), tmp_path / "vit.safetensors")
    bands = ("red", "green", "blue", "nir")
    options = ImportOptions(file_bands=bands, heads=2, image_size=48)
    import_weights(tmp_path / "vit.safetensors", "vit", bands, tmp_path / "run", options)
    model = ssl_jax.load(tmp_path / "run")
    # The ViT resizes its position embedding for images of another size; the import does it once.
    image = np.random.default_rng(0).normal(size=(1, 48, 48, 4)).astype(np.float32)
    params = {"params": variables["params"]["backbone"]}
    expected = learned.apply(params, image)
    output = model.objective.backbone.apply(
        {"params": model.variables["params"]["backbone"]}, image
    )
    assert model.variables["params"]["backbone"]["pos_embed"].shape == (1, 37, 24)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_exported_weights_are_imported_unchanged(data_dir, tmp_path, capsys):
    """Bands, their statistics and classes, which the file stores too, are unchanged as well."""
    config = make_small_config("classification", data_dir, {**SMALL_VIT, "pool": "mean"})
    config.model.head.hidden, config.data.evaluation = (), ""
    train(config, tmp_path / "run")
    file = str(tmp_path / "out.safetensors")
    main(["export", str(tmp_path / "run"), file])
    output = capsys.readouterr().out
    assert "VisionTransformer(img_size=32, patch_size=8, in_chans=4, num_classes=" in output
    options = ("--heads=3", "--classifier", f"--workdir={tmp_path / 'again'}")
    main(["import", file, "--as=vit", *options])
    run, again = (ssl_jax.load(tmp_path / name) for name in ("run", "again"))
    jax.tree.map(np.testing.assert_array_equal, run.variables, again.variables)
    assert (run.card.sensor, run.card.classes) == (again.card.sensor, again.card.classes)
    assert run.card.image_dtype == again.card.image_dtype


def test_an_export_names_the_modules_that_the_layout_lacks(data_dir, tmp_path):
    config = make_small_config("classification", data_dir, SMALL_VIT)
    config.data.evaluation = ""
    config.steps = 1
    train(config, tmp_path / "run")
    file = tmp_path / "out.safetensors"
    metadata, unused = export_weights(tmp_path / "run", file)
    assert unused == {"head": "has more than one linear layer; the layouts have a single one"}
    assert "num_classes=0" in metadata["model"]
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.safetensors"]


def test_a_network_that_pytorch_lacks_is_rejected(trained, tmp_path):
    with pytest.raises(UserError, match=r"found norm 'group'.*expected batch norm"):
        export_weights(trained("simclr").workdir, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_other_weights_are_not_imported_into_the_same_workdir(weights, tmp_path):
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
def test_a_network_other_than_the_named_one_is_rejected(weights, tmp_path, network, message):
    with pytest.raises(UserError, match=message):
        import_weights(weights, network, (), tmp_path / "run")


def test_a_pickle_is_not_read_and_the_error_explains_the_conversion(tmp_path):
    file = tmp_path / "mae_pretrain_vit_base.pth"
    file.write_bytes(b"cos\nsystem\n(S'touch /tmp/unpickled'\ntR.")
    with pytest.raises(UserError, match=r"is a pickle[\s\S]*weights_only=True[\s\S]*save_file"):
        import_weights(file, "mae", (), tmp_path / "run")


def test_nan_weights_are_rejected(tmp_path):
    tensors = torchvision_resnet18()
    tensors["fc.bias"] = np.full_like(tensors["fc.bias"], np.nan)
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"fc.bias contains NaN or infinity"):
        import_weights(tmp_path / "weights.safetensors", "resnet18", (), tmp_path / "run")


def test_a_file_that_is_not_safetensors_is_rejected(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"not at all")
    with pytest.raises(UserError, match="is not a safetensors file"):
        import_weights(file, "resnet18", ("red", "green", "blue"), tmp_path / "run")


SENTINEL2 = "B01,B02,B03,B04,B05,B06,B07,B08,B8A,B09,B10,B11,B12"


def read_stem(workdir):
    """Return the first layer's kernel, (h, w, bands, channels)."""
    variables = loading.load_variables(workdir)
    return variables["params"]["backbone"]["conv1"]["kernel"]


def test_bands_of_sentinel_2_are_known_by_their_names(tmp_path, capsys):
    tensors = torchvision_resnet18()
    tensors["conv1.weight"] = np.tile(
        np.arange(13, dtype=np.float32)[None, :, None, None], (64, 1, 7, 7)
    )
    save_file(tensors, tmp_path / "s2.safetensors")
    command = ["import", str(tmp_path / "s2.safetensors"), "--as", "resnet18"]
    command += ["--workdir", str(tmp_path / "run"), "--file_bands", SENTINEL2]
    command += ["--bands", "red,green,blue,nir", "--statistics", "sentinel2_l2a"]
    assert main(command) == 0
    assert read_stem(tmp_path / "run")[0, 0, :, 0].tolist() == [3, 2, 1, 7]
    output = capsys.readouterr().out
    assert "red: mean 590.24, std 675.89, clipped to 0 … 10000" in output
    card = ssl_jax.load(tmp_path / "run").card
    assert card.sensor.names == ("red", "green", "blue", "nir")
    assert card.image_dtype == "uint16"


@pytest.mark.parametrize("dtype", [jax.numpy.bfloat16, np.float16])
def test_weights_of_16_bits_are_imported(tmp_path, dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in torchvision_resnet18().items()}
    flax.save_file(
        {name: jax.numpy.asarray(t) for name, t in tensors.items()}, tmp_path / "half.safetensors"
    )
    import_weights(tmp_path / "half.safetensors", "resnet18", (), tmp_path / "run")
    stem = tensors["conv1.weight"].astype(np.float32)
    np.testing.assert_array_equal(read_stem(tmp_path / "run"), stem.transpose(2, 3, 1, 0))


def test_one_of_several_networks_is_imported_by_its_prefix(tmp_path, capsys):
    tensors = torchvision_resnet18()
    file = {f"module.encoder_q.{name}": tensor for name, tensor in tensors.items()}
    file |= {f"module.encoder_k.{name}": tensor * 0 for name, tensor in tensors.items()}
    file["module.queue"] = np.ones((128, 8), np.float32)
    save_file(file, tmp_path / "moco.safetensors")
    command = ["import", str(tmp_path / "moco.safetensors"), "--as", "resnet18"]
    command += ["--workdir", str(tmp_path / "run"), "--prefix", "module.encoder_q"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "its name doesn't begin with --prefix module.encoder_q." in output
    stem = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(read_stem(tmp_path / "run"), stem)


def test_the_stride_of_bottlenecks_can_be_in_the_first_convolution(weights, tmp_path):
    options = ImportOptions(stride_in="1x1")
    with pytest.raises(UserError, match=r"--stride_in: found 1x1 with --as resnet18, which has no"):
        import_weights(weights, "resnet18", (), tmp_path / "run", options)
