"""Make a checkpoint of foreign weights: `python -m ssl_jax.convert import FILE --as resnet50`.

From the torchvision (and timm) layout of a ResNet with its ImageNet classifier, as safetensors.
Every tensor is accounted for: none is dropped, none left at random.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import load_file

from configs.transfer import nasc_mlp
from data_pipelines.bands import PICTURES, Band, Sensor
from data_pipelines.errors import UserError
from ssl_jax import checkpoint, parts, terminal, workdir
from ssl_jax.card import ModelCard
from ssl_jax.state import TrainState

__all__ = ["import_weights", "main", "resnet_variables"]

_RENAMED = {"weight": "kernel", "running_mean": "mean", "running_var": "var"}


def import_weights(
    file: str | Path, network: str, bands: Sequence[str], folder: str | Path
) -> ModelCard:
    """Write a bundle with the weights of `file` into the workdir `folder`.

    Args:
        file: safetensors in torchvision's layout.
        network: resnet50 or resnet18.
        bands: the inputs of the first layer. Red, green and blue keep their weights exactly; any
            other band starts as a copy of red's.
        folder: a workdir that `config.pretrained` can name.

    Raises:
        UserError: the file can't be read, isn't that network, or a band is unknown.
    """
    sensor = _sensor(bands)
    tensors = _read(Path(file))
    variables = resnet_variables(tensors, len(bands))
    config = nasc_mlp.get_config()
    config.model.backbone = {"name": network}
    config.model.head.hidden = ()
    config.data.update(name="imagenet2012", bands=tuple(bands), train="train", evaluation="")
    config.data.evaluation = "validation"
    config.augment.train = {"name": "evaluation", "size": 224, "centre": 0.875}
    config.augment.evaluation = config.augment.train
    card = ModelCard(
        sensor=sensor,
        image_shape=(256, 256, len(bands)),
        image_dtype="uint8",
        target="label",
        classes=tuple(f"imagenet {i}" for i in range(len(tensors["fc.bias"]))),
        colours=(),
        ignore_label=255,
        config=config,
    )
    _expect_same_tree(card, variables, network, Path(file))
    workdir.claim(config, Path(folder))
    state = TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state={},
    )
    with checkpoint.Bundles(Path(folder) / "checkpoints", keep=1) as bundles:
        position = {"step": 0, "examples": 0, "seed": 0}
        bundles.save(jax.device_put(state), position, card.to_dict())
    return card


def resnet_variables(tensors: Mapping[str, np.ndarray], bands: int) -> dict[str, Any]:
    """`params` and `batch_stats` of a classifier from torchvision's `layer1.0.conv1.weight` …

    Convolutions go from (out, in, h, w) to (h, w, in, out), the classifier from (out, in) to
    (in, out); the first layer is widened from three to `bands` inputs.
    """
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):  # of PyTorch's averaging, no part of the network
            continue
        *modules, leaf = re.sub(r"(layer\d|downsample)\.(\d+)", r"\1_\2", name).split(".")
        collection = "batch_stats" if leaf.startswith("running_") else "params"
        if leaf == "weight" and tensor.ndim == 1:
            leaf = "scale"
        path = ["head", "fc"] if modules == ["fc"] else ["backbone", *modules]
        if tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 1, 0)
        elif tensor.ndim == 2:
            tensor = tensor.T
        if modules == ["conv1"]:
            copies = np.repeat(tensor[:, :, :1], bands - 3, axis=2)
            tensor = np.concatenate([tensor, copies], axis=2)
        place = variables[collection]
        for module in path:
            place = place.setdefault(module, {})
        place[_RENAMED.get(leaf, leaf)] = np.ascontiguousarray(tensor, np.float32)
    return variables


def _read(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected weights as safetensors")
    try:
        tensors = load_file(file)
    except safetensors.SafetensorError as error:
        raise UserError(f"{file}: is not a safetensors file ({error})") from error
    if "fc.bias" not in tensors or "conv1.weight" not in tensors:
        raise UserError(
            f"{file}: has the tensors {', '.join(sorted(tensors)[:3])}, …; expected torchvision's "
            "ResNet layout with conv1.weight and fc.bias"
        )
    return tensors


def _sensor(bands: Sequence[str]) -> Sensor:
    """ImageNet's statistics for red, green and blue, red's for what is a copy of red."""
    if tuple(bands[:3]) != PICTURES.names:
        raise UserError(
            f"--bands: found {','.join(bands)}; expected red,green,blue and then any others"
        )
    red = PICTURES.bands[0]
    others = tuple(
        Band(name, (), 0.0, red.scale, red.offset, red.mean, red.std) for name in bands[3:]
    )
    return Sensor("imagenet", 0.0, PICTURES.bands + others)


def _expect_same_tree(card: ModelCard, variables: dict[str, Any], network: str, file: Path) -> None:
    """Compare names and shapes with those of the network."""
    batch = {"image": np.zeros((1, 64, 64, len(card.sensor.bands)), np.uint8)}
    objective = parts.objective(card)
    expected = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch))
    found, wanted = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (variables, expected)
    )
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{file}: {name} is {found.get(name, 'missing')}; {network} expects "
                f"{wanted.get(name, 'no such tensor')}"
            )


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.convert",
        description="Make a checkpoint of ImageNet weights, for config.pretrained and the studies.",
    )
    parser.add_argument("direction", choices=["import"], help="into this package")
    parser.add_argument("file", help="safetensors in torchvision's layout")
    parser.add_argument(
        "--as", dest="network", required=True, choices=["resnet50", "resnet18"], help="what it is"
    )
    parser.add_argument(
        "--bands", default="red,green,blue", help="inputs of the first layer, comma-separated"
    )
    parser.add_argument("--workdir", required=True, help="folder of the checkpoint")
    known = parser.parse_args(arguments)
    bands = [band.strip() for band in known.bands.split(",")]
    card = import_weights(known.file, known.network, bands, known.workdir)
    print(f"{known.workdir}: {known.network} with bands {', '.join(card.sensor.names)}")
    return 0


if __name__ == "__main__":
    terminal.run(main)
