"""ResNets in torchvision's layout, which is timm's too: `layer1.0.downsample.1.running_mean`.

Convolutions go from (out, in, h, w) to (h, w, in, out), the classifier from (out, in) to (in, out).
PyTorch's running variance is unbiased and ours is not, but in evaluation both are just a variance.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from data_pipelines.errors import UserError

__all__ = ["CLASSIFIER", "STEM", "find_unused_tensors", "from_torch", "to_torch"]

STEM = "conv1.weight"
CLASSIFIER = ("fc.weight", "fc.bias")
_COUNTER = "num_batches_tracked"
_OURS = {"running_mean": "mean", "running_var": "var", "bias": "bias"}
_THEIRS = {"mean": "running_mean", "var": "running_var", "bias": "bias"} | dict.fromkeys(
    ("kernel", "scale"), "weight"
)
_MODULE = re.compile(r"(conv1|bn1|layer\d+\.\d+\.(conv[123]|bn[123]|downsample\.[01])|fc)")


def find_unused_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The tensors that `from_torch` makes nothing of, each with the reason."""
    reason = "a counter of PyTorch's batch norm, unused at its momentum"
    return {name: reason for name in tensors if name.endswith(_COUNTER)}


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of `backbone` and, where the file has a classifier, of a linear `head`.

    Raises:
        UserError: a tensor has no place in a ResNet.
    """
    flat: dict[str, np.ndarray] = {}
    for name in sorted(tensors.keys() - find_unused_tensors(tensors)):
        tensor = tensors[name]
        module, _, leaf = name.rpartition(".")
        if not _MODULE.fullmatch(module) or leaf not in ("weight", *_OURS):
            raise UserError(f"tensor {name}: has no place in a ResNet of torchvision's layout")
        collection = "batch_stats" if leaf.startswith("running_") else "params"
        if leaf == "weight":
            leaf = "scale" if tensor.ndim == 1 else "kernel"
        path = "head/fc" if module == "fc" else f"backbone/{_numbered(module)}"
        flat[f"{collection}/{path}/{_OURS.get(leaf, leaf)}"] = _transposed(tensor)
    return {"params": {}, "batch_stats": {}} | unflatten_dict(flat, sep="/")


def to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of `backbone` and of a linear `head`, what `from_torch` reads.

    Raises:
        ValueError: there are other modules, which the layout has no names for.
    """
    tensors = {}
    for path, leaf in flatten_dict(variables, sep="/").items():
        _, part, *modules, name = path.split("/")
        if part != "backbone" and [part, *modules] != ["head", "fc"]:
            raise ValueError(f"{path}: has no name in torchvision's layout")
        module = re.sub(r"_(\d+)", r".\1", ".".join(modules))
        leaf = np.asarray(leaf)
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, range(leaf.ndim))
        tensors[f"{module}.{_THEIRS[name]}"] = np.ascontiguousarray(leaf.transpose(*order))
        if name == "mean":
            tensors[f"{module}.{_COUNTER}"] = np.zeros((), np.int64)
    return tensors


def _numbered(module: str) -> str:
    """`layer1.0.downsample.1` -> `layer1_0/downsample_1`."""
    return re.sub(r"\.(\d+)", r"_\1", module).replace(".", "/")


def _transposed(tensor: np.ndarray) -> np.ndarray:
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim))
    return np.ascontiguousarray(tensor.transpose(*order))
