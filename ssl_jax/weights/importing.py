"""Others' weights as a bundle that `config.pretrained` can name: `ssl_jax.convert import`.

Every tensor of the file is used, or named with the reason why not; none of ours is left at random.
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

__all__ = ["NETWORKS", "STATISTICS", "ImportOptions", "ImportResult", "import_weights"]

NETWORKS = ("resnet50", "resnet18", "vit", "mae")
# Of 8-bit values; timm calls them IMAGENET_DEFAULT and IMAGENET_INCEPTION.
STATISTICS = {
    "imagenet": PICTURES,
    "half": PICTURES.with_statistics((127.5,) * 3, (127.5,) * 3),
}


class ImportResult(NamedTuple):
    """What `import_weights` made, and the tensors of the file it made nothing of: name, reason."""

    card: ModelCard
    unused: dict[str, str]


@dataclass(frozen=True)
class ImportOptions:
    """How a file of weights is read.

    Attributes:
        file_bands: what the file's first layer takes, in order; by default what our own export
            says, else red, green and blue.
        new_bands: how bands start that the file doesn't know, see `ssl_jax.weights.bands`.
        seed: of random ones.
        image_size: side of the images in pixels, 224 for ResNets and the file's own for ViTs by
            default. A learned position table is stretched to it.
        heads: of a ViT's attentions, if they haven't the usual number.
        decoder_heads: of those of an MAE's decoder.
        classifier: keep the classifier of a ViT; a ResNet's is always kept.
        statistics: one of `STATISTICS`, what the network's pictures were standardised by.
    """

    file_bands: Sequence[str] = ()
    new_bands: str = "copy"
    seed: int = 0
    image_size: int = 0
    heads: int = 0
    decoder_heads: int = 0
    classifier: bool = False
    statistics: str = "imagenet"


def import_weights(
    file: str | Path,
    network: str,
    bands: Sequence[str],
    folder: str | Path,
    options: ImportOptions = ImportOptions(),
) -> ImportResult:
    """Write a bundle with the weights of `file` into the workdir `folder`.

    Args:
        file: safetensors in the layout of torchvision, timm, MAE or transformers.
        network: one of `NETWORKS`; `mae` has the decoder, `vit` is the encoder alone.
        bands: of the images the network is to see, in order; empty for those of the file.
        folder: a workdir that `config.pretrained` can name.
        options: how the file is read.

    Raises:
        UserError: the file can't be read, isn't that network, or a band is unknown.
    """
    file = Path(file)
    tensors, metadata = _read(file)
    file_bands = options.file_bands or metadata.get("bands", "red,green,blue").split(",")
    bands = bands or file_bands
    try:
        tensors, unused = _wanted(tensors, network, options.classifier)
        tensors = adapt_to_bands(tensors, file_bands, bands, options.new_bands, options.seed)
        model = _model_section(tensors, network, options.heads, options.decoder_heads)
        tensors, model = _of_size(options.image_size, tensors, model, network)
        variables = (resnet if layouts.is_resnet(tensors) else vit).from_torch(tensors)
        known = _known_sensor(metadata, options.statistics)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    size = options.image_size or model["backbone"].get("image_size", 224)
    config = _config(network, model, size, "head" in variables["params"])
    config.data.bands = tuple(common_name(band) for band in bands)
    config.imported = {
        "file": file.name,
        "sha256": _digest(file),
        "file_bands": tuple(file_bands),
        "new_bands": options.new_bands,
        "seed": options.seed,
        "statistics": options.statistics,
    }
    card = _card(config, variables, metadata, _sensor(known, config.data.bands))
    _expect_same_tree(card, variables, network, file)
    _write(card, variables, Path(folder))
    return ImportResult(card, unused | _unused_bands(file_bands, bands))


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors, floats among them in float32, and metadata."""
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected weights as safetensors")
    if file.suffix in (".bin", ".pth", ".pt", ".pkl", ".ckpt", ".tar"):
        raise UserError(_PICKLED.format(file=file, name=file.with_suffix(".safetensors")))
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise UserError(f"{file}: is not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.integer):
            tensors[name] = tensor.astype(np.float32)
            if not np.isfinite(tensors[name]).all():
                raise UserError(f"{file}: {name} holds NaN or infinity; expected trained weights")
    return tensors, metadata


_PICKLED = """{file}: is a pickle, which runs whatever code is in it when it is read, so we don't; \
turn it into safetensors where you trust it, in Python with torch:
  state = torch.load("{file}", map_location="cpu", weights_only=True)
  state = state.get("state_dict", state.get("model", state))
  safetensors.torch.save_file({{k: v.contiguous() for k, v in state.items()}}, "{name}")"""


def _expect_network(tensors: Mapping[str, np.ndarray], network: str) -> None:
    found = "a ResNet" if layouts.is_resnet(tensors) else "a ViT"
    if network.startswith("resnet") != layouts.is_resnet(tensors):
        raise UserError(f"--as: found {network}, but the tensors are those of {found}")
    if network == "mae" and not layouts.is_mae(tensors):
        raise UserError(
            "--as: found mae, but there is no decoder (mask_token, decoder_…) among the tensors; "
            "expected vit for an encoder alone"
        )


def _wanted(
    tensors: Mapping[str, np.ndarray], network: str, classifier: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of the network in timm's layout, and those left out with the reason."""
    tensors, unused = layouts.to_timm_layout(tensors)
    _expect_network(tensors, network)
    tensors, unwanted = _without_unwanted(tensors, network, classifier)
    return tensors, unused | unwanted


def _known_sensor(metadata: Mapping[str, str], statistics: str) -> Sensor:
    """The sensor that our own export wrote into a file, else the one of the `statistics`."""
    if "sensor" in metadata:
        return Sensor.from_dict(json.loads(metadata["sensor"]))
    return STATISTICS[statistics]


def _unused_bands(file_bands: Sequence[str], bands: Sequence[str]) -> dict[str, str]:
    return {
        f"band {band} of the first layer": "not among --bands"
        for band in file_bands
        if common_name(band) not in map(common_name, bands)
    }


def _of_size(
    image_size: int, tensors: dict[str, np.ndarray], model: dict[str, Any], network: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and `config.model` with learned positions for images of another size."""
    backbone = model["backbone"]
    if not (image_size and network == "vit" and backbone["position"] == "learned"):
        return tensors, model
    side = positions.patches_per_side(image_size, backbone["patch_size"])
    model = {**model, "backbone": {**backbone, "image_size": image_size}}
    return positions.resize_positions(tensors, side), model


def _without_unwanted(
    tensors: Mapping[str, np.ndarray], network: str, classifier: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors without those that weren't asked for, and these."""
    unwanted = {}
    for name in tensors:
        if name in vit.CLASSIFIER and (network == "mae" or not classifier):
            unwanted[name] = "a classifier, not asked for (--classifier with --as vit keeps it)"
        elif network == "vit" and (name == "mask_token" or name.startswith("decoder_")):
            unwanted[name] = "of the decoder, not asked for (--as mae keeps it)"
    return {n: tensor for n, tensor in tensors.items() if n not in unwanted}, unwanted


def _model_section(
    tensors: Mapping[str, np.ndarray], network: str, heads: int, decoder_heads: int
) -> dict[str, dict[str, Any]]:
    if layouts.is_resnet(tensors):
        return {"backbone": {"name": network}}
    section = {"backbone": networks.vit_section(tensors, heads)}
    if network == "mae":
        section["decoder"] = networks.decoder_section(tensors, decoder_heads)
    return section


def _config(network: str, model: dict[str, Any], size: int, head: bool) -> ConfigDict:
    """The config of a run that could have made these weights."""
    if network == "mae":
        config = mae_vitb_ben4.get_config()
        config.augment.train.size = size
        config.probe.train = ""
    else:
        config = nasc_mlp.get_config()
        config.augment.evaluation = {"name": "evaluation", "size": size, "centre": 0.875}
        if head:
            config.augment.train = config.augment.evaluation
            model = {**model, "head": {"hidden": ()}}
        else:
            config.objective = ConfigDict({"name": "representation"})
            del config.augment["train"]
    config.model = ConfigDict(model)
    config.data.name, config.data.train = "imagenet2012", "train"
    config.data.evaluation = "validation" if head else ""
    return config


def _card(
    config: ConfigDict, variables: Mapping[str, Any], metadata: Mapping[str, str], sensor: Sensor
) -> ModelCard:
    classes: tuple[str, ...] = ()
    target = "none"
    if "head" in variables["params"]:
        count = len(variables["params"]["head"]["fc"]["bias"])
        known = json.loads(metadata.get("classes", "[]"))
        classes = tuple(known) if known else tuple(f"imagenet {i}" for i in range(count))
        target = metadata.get("target", "label")
        config.objective.multi_label = target == "labels"
    views = config.augment.train if "train" in config.augment else config.augment.evaluation
    side = round(views.size / views.get("centre", 1.0))
    return ModelCard(
        sensor=sensor,
        image_shape=(side, side, len(sensor.bands)),
        image_dtype=metadata.get("image_dtype", "uint8"),
        target=target,
        classes=classes,
        colours=(),
        ignore_label=255,
        config=config,
    )


def _sensor(known: Sensor, bands: Sequence[str]) -> Sensor:
    """`known`'s bands; any other gets red's scale and statistics, as its weights were red's."""
    places = {common_name(band.name): band for band in known.bands}
    common = {band.name: band for band in COMMON_BANDS.bands}
    stand_in = replace(places.get("red", known.bands[0]), aliases=(), wavelength=0.0)
    for name in set(bands) - places.keys():
        places[name] = replace(stand_in, name=name)
        if name in common:
            aliases, wavelength = common[name].aliases, common[name].wavelength
            places[name] = replace(places[name], aliases=aliases, wavelength=wavelength)
    name = "imagenet" if known.name == PICTURES.name else known.name
    return replace(known, name=name, bands=tuple(places[name] for name in bands))


def _expect_same_tree(card: ModelCard, variables: dict[str, Any], network: str, file: Path) -> None:
    """Compare names and shapes with those of the network."""
    objective = parts.make_objective(card)
    expected = jax.eval_shape(objective.init, jax.random.key(0), card.batch_shapes(1))
    differs = find_mismatch(array_shapes(variables), array_shapes(expected))
    if differs:
        name, found, wanted = differs
        raise UserError(f"{file}: {name} is {found}; {network} expects {wanted}")


def _write(card: ModelCard, variables: dict[str, Any], folder: Path) -> None:
    workdir.record_config(card.config, folder)
    state = TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state={},
    )
    with saving.Checkpointer(folder / "checkpoints", keep=1) as checkpoints:
        position = {"step": 0, "examples": 0, "seed": 0}
        checkpoints.save(jax.device_put(state), position, card.to_dict())


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
