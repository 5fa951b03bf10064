"""Import of weights as a checkpoint for `config.pretrained`: `ssl_jax.convert import`.

Each tensor of the file is either used or reported with the reason why it isn't, and each variable
of the network is loaded from the file: none stays randomly initialised.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
from ml_collections import ConfigDict

from configs.pretrain import mae_vitb_ben4
from configs.transfer import nasc_mlp
from data_pipelines.bands import COMMON_BANDS, PICTURES, Sensor
from data_pipelines.errors import UserError
from ssl_jax.checkpoints import saving
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.pytrees import array_shapes, find_mismatch
from ssl_jax.runs import parts, workdir
from ssl_jax.training.state import TrainState
from ssl_jax.weights import layouts, networks, positions, resnet, vit
from ssl_jax.weights.bands import adapt_to_bands, common_name
from ssl_jax.weights.choices import NETWORKS, STATISTICS

__all__ = ["ImportOptions", "ImportResult", "import_weights"]


class ImportResult(NamedTuple):
    """The result of `import_weights`.

    Attributes:
        card: The model card of the checkpoint.
        unused: The tensors of the file, and its bands, that were not imported, each with the
            reason.
    """

    card: ModelCard
    unused: dict[str, str]


@dataclass(frozen=True)
class ImportOptions:
    """Options of `import_weights`.

    Attributes:
        file_bands: Names of the bands of the file's first layer, in order; empty for those in the
            metadata of files that `export_weights` wrote, and for red, green and blue otherwise.
        new_bands: Initialisation of the bands that the file lacks, see
            `ssl_jax.weights.bands.adapt_to_bands`.
        seed: Seed of random initialisation.
        image_size: Side of the images in pixels; 0 for 224 with a ResNet, and for the file's own
            size with a ViT. Learned position embeddings are resized to it.
        heads: Number of attention heads of a ViT; 0 for one per 64 channels.
        decoder_heads: Number of attention heads of an MAE's decoder; 0 for one per 32 channels.
        classifier: Whether to keep the classifier of a ViT; that of a ResNet is always kept.
        statistics: One of `STATISTICS`, with which the network's images were normalised.
        prefix: What the names of the network's tensors begin with, in a file of several networks.
        stride_in: The convolution of a ResNet's bottlenecks that has the stride: `3x3`, as in
            torchvision and timm, or the first `1x1`, as in He et al. 2016, Caffe and Keras.
    """

    file_bands: Sequence[str] = ()
    new_bands: str = "copy"
    seed: int = 0
    image_size: int = 0
    heads: int = 0
    decoder_heads: int = 0
    classifier: bool = False
    statistics: str = "imagenet"
    prefix: str = ""
    stride_in: str = "3x3"


def import_weights(
    file: str | Path,
    network: str,
    bands: Sequence[str],
    folder: str | Path,
    options: ImportOptions = ImportOptions(),
) -> ImportResult:
    """Import the weights of a file as a checkpoint.

    Args:
        file: A safetensors file in the layout of torchvision, timm, MAE or transformers.
        network: One of `NETWORKS`; `mae` is the encoder with the decoder, `vit` the encoder alone.
        bands: Names of the bands of the images, in order; empty for those of the file.
        folder: The workdir to create the checkpoint in.
        options: Options of the import.

    Returns:
        The card of the checkpoint, and the unused tensors.

    Raises:
        UserError: If the file can't be read or holds another network, the bands don't match those
            of the file, or the workdir has another config.
    """
    file = Path(file)
    tensors, metadata = _read_file(file)
    file_bands = options.file_bands or metadata.get("bands", "red,green,blue").split(",")
    bands = bands or file_bands
    try:
        tensors, unused = _select_tensors(tensors, network, options)
        tensors = adapt_to_bands(tensors, file_bands, bands, options.new_bands, options.seed)
        model = _infer_model_config(tensors, network, options)
        tensors, model = _resize_learned_positions(options.image_size, tensors, model, network)
        variables = (resnet if layouts.is_resnet(tensors) else vit).from_torch(tensors)
        file_sensor = _get_file_sensor(metadata, options.statistics)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    size = options.image_size or model["backbone"].get("image_size", 224)
    config = _make_config(network, model, size, "head" in variables["params"])
    config.data.bands = tuple(common_name(band) for band in bands)
    config.imported = {
        "file": file.name,
        "sha256": _compute_sha256(file),
        "file_bands": tuple(file_bands),
        "new_bands": options.new_bands,
        "seed": options.seed,
        "statistics": options.statistics,
        "prefix": options.prefix,
    }
    card = _make_card(config, variables, metadata, _select_bands(file_sensor, config.data.bands))
    _check_variables(card, variables, network, file)
    _save_checkpoint(card, variables, Path(folder))
    return ImportResult(card, unused | _find_unused_bands(file_bands, bands))


def _read_file(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors, with floats converted to float32, and the metadata of a file."""
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected weights as safetensors")
    if file.suffix in (".bin", ".pth", ".pt", ".pkl", ".ckpt", ".tar"):
        raise UserError(_PICKLE_MESSAGE.format(file=file, name=file.with_suffix(".safetensors")))
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise UserError(f"{file}: is not a safetensors file ({error})") from error
    for name, tensor in tensors.items():  # of float16 and bfloat16, too
        if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.integer):
            tensors[name] = tensor.astype(np.float32)
            if not np.isfinite(tensors[name]).all():
                raise UserError(f"{file}: {name} contains NaN or infinity; expected finite weights")
    return tensors, metadata


_PICKLE_MESSAGE = """{file}: is a pickle, which can execute arbitrary code when it is loaded; \
expected safetensors: if you trust the file, convert it in Python with torch:
  state = torch.load("{file}", map_location="cpu", weights_only=True)
  state = state.get("state_dict", state.get("model", state))
  safetensors.torch.save_file({{k: v.contiguous() for k, v in state.items()}}, "{name}")"""


def _check_network(tensors: Mapping[str, np.ndarray], network: str) -> None:
    """Check that a state dict in timm's layout is of the kind of network that was named."""
    is_resnet = layouts.is_resnet(tensors)
    if network.startswith("resnet") != is_resnet:
        names = [name for name in NETWORKS if name.startswith("resnet") == is_resnet]
        raise UserError(
            f"--as: found {network}, but the tensors are those of a "
            f"{'ResNet' if is_resnet else 'ViT'}; expected {' or '.join(names)}"
        )
    if network == "mae" and not layouts.is_mae(tensors):
        raise UserError(
            "--as: found mae, but the tensors include no decoder (mask_token, decoder_…); expected "
            "vit, for an encoder alone"
        )


def _select_tensors(
    tensors: Mapping[str, np.ndarray], network: str, options: ImportOptions
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors of the network in timm's layout, and the unused ones with the reasons."""
    tensors, unused = layouts.to_timm_layout(tensors, options.prefix)
    _check_network(tensors, network)
    tensors, dropped = _drop_unrequested(tensors, network, options.classifier)
    return tensors, unused | dropped


def _get_file_sensor(metadata: Mapping[str, str], statistics: str) -> Sensor:
    """Return the sensor in the metadata of an exported file, else that of the `statistics`."""
    if "sensor" in metadata:
        return Sensor.from_dict(json.loads(metadata["sensor"]))
    return STATISTICS[statistics]


def _find_unused_bands(file_bands: Sequence[str], bands: Sequence[str]) -> dict[str, str]:
    return {
        f"band {band} of the first layer": "not among --bands"
        for band in file_bands
        if common_name(band) not in map(common_name, bands)
    }


def _resize_learned_positions(
    image_size: int, tensors: dict[str, np.ndarray], model: dict[str, Any], network: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Resize learned position embeddings to images of another size, if one is given."""
    backbone = model["backbone"]
    if not (image_size and network == "vit" and backbone["position"] == "learned"):
        return tensors, model
    side = positions.patches_per_side(image_size, backbone["patch_size"])
    model = {**model, "backbone": {**backbone, "image_size": image_size}}
    return positions.resize_positions(tensors, side), model


def _drop_unrequested(
    tensors: Mapping[str, np.ndarray], network: str, classifier: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Drop a classifier or decoder that was not requested, and return the dropped tensors too."""
    dropped = {}
    for name in tensors:
        if name in vit.CLASSIFIER and (network == "mae" or not classifier):
            dropped[name] = "a classifier, imported only with --as vit --classifier"
        elif network == "vit" and (name == "mask_token" or name.startswith("decoder_")):
            dropped[name] = "part of the decoder, imported only with --as mae"
    return {n: tensor for n, tensor in tensors.items() if n not in dropped}, dropped


def _infer_model_config(
    tensors: Mapping[str, np.ndarray], network: str, options: ImportOptions
) -> dict[str, dict[str, Any]]:
    """Infer the fields of `config.model`."""
    if options.stride_in != "3x3" and network != "resnet50":
        raise UserError(
            f"--stride_in: found {options.stride_in} with --as {network}, which has no "
            "bottlenecks; expected --as resnet50"
        )
    if layouts.is_resnet(tensors):
        stride = {} if options.stride_in == "3x3" else {"stride_in": options.stride_in}
        return {"backbone": {"name": network, **stride}}
    model = {"backbone": networks.infer_vit_config(tensors, options.heads)}
    if network == "mae":
        model["decoder"] = networks.infer_decoder_config(tensors, options.decoder_heads)
    return model


def _make_config(network: str, model: dict[str, Any], size: int, has_head: bool) -> ConfigDict:
    """Create the config of a run that could have produced these weights."""
    if network == "mae":
        config = mae_vitb_ben4.get_config()
        config.augment.train.size = size
        config.probe.train = ""
    else:
        config = nasc_mlp.get_config()
        config.augment.evaluation = {"name": "evaluation", "size": size, "centre": 0.875}
        if has_head:
            config.augment.train = config.augment.evaluation
            model = {**model, "head": {"hidden": ()}}
        else:
            config.objective = ConfigDict({"name": "representation"})
            del config.augment["train"]
    config.model = ConfigDict(model)
    config.data.name, config.data.train = "imagenet2012", "train"
    config.data.evaluation = "validation" if has_head else ""
    return config


def _make_card(
    config: ConfigDict, variables: Mapping[str, Any], metadata: Mapping[str, str], sensor: Sensor
) -> ModelCard:
    classes: tuple[str, ...] = ()
    target = "none"
    if "head" in variables["params"]:
        count = len(variables["params"]["head"]["fc"]["bias"])
        names = json.loads(metadata.get("classes", "[]"))
        classes = tuple(names) if names else tuple(f"imagenet {i}" for i in range(count))
        target = metadata.get("target", "label")
        config.objective.multi_label = target == "labels"
    views = config.augment.train if "train" in config.augment else config.augment.evaluation
    side = round(views.size / views.get("centre", 1.0))
    return ModelCard(
        sensor=sensor,
        image_shape=(side, side, len(sensor.bands)),
        # Pixels in units of 1/10,000 have 16 bits, in a file of which nothing is known but that.
        image_dtype=metadata.get(
            "image_dtype", "uint8" if sensor.bands[0].scale > 1e-3 else "uint16"
        ),
        target=target,
        classes=classes,
        colours=(),
        ignore_label=255,
        config=config,
    )


def _select_bands(sensor: Sensor, bands: Sequence[str]) -> Sensor:
    """Return a sensor with the given bands in their order.

    Bands that `sensor` lacks get the scale and the statistics of its red band, of which their
    weights are copies by default, or of its first band if it has no red.
    """
    by_name = {common_name(band.name): band for band in sensor.bands}
    common = {band.name: band for band in COMMON_BANDS.bands}
    substitute = replace(by_name.get("red", sensor.bands[0]), aliases=(), wavelength=0.0)
    for name in set(bands) - by_name.keys():
        by_name[name] = replace(substitute, name=name)
        if name in common:
            aliases, wavelength = common[name].aliases, common[name].wavelength
            by_name[name] = replace(by_name[name], aliases=aliases, wavelength=wavelength)
    name = "imagenet" if sensor.name == PICTURES.name else sensor.name
    return replace(sensor, name=name, bands=tuple(by_name[name] for name in bands))


def _check_variables(card: ModelCard, variables: dict[str, Any], network: str, file: Path) -> None:
    """Check that the names and shapes of the variables are those of the network."""
    objective = parts.make_objective(card)
    expected = jax.eval_shape(objective.init, jax.random.key(0), card.batch_shapes(1))
    mismatch = find_mismatch(array_shapes(variables), array_shapes(expected))
    if mismatch:
        name, shape, expected_shape = mismatch
        raise UserError(f"{file}: {name} is {shape}; {network} expects {expected_shape}")


def _save_checkpoint(card: ModelCard, variables: dict[str, Any], folder: Path) -> None:
    workdir.record_config(card.config, folder)
    state = TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state={},
    )
    with saving.Checkpointer(folder / "checkpoints", keep=1) as checkpointer:
        position = {"step": 0, "examples": 0, "seed": 0}
        checkpointer.save(jax.device_put(state), position, card.to_dict())


def _compute_sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
