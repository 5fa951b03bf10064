"""ResNets in torchvision's layout, which is timm's too: `layer1.0.downsample.1.running_mean`.

Convolution kernels are transposed between (out, in, h, w) in PyTorch and (h, w, in, out) in Flax,
the classifier's weight between (out, in) and (in, out). Running variances are copied: PyTorch's are
unbiased and ours are not, but evaluation uses both in the same way.
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
_FLAX_LEAVES = {"running_mean": "mean", "running_var": "var", "bias": "bias"}
_TORCH_LEAVES = {"mean": "running_mean", "var": "running_var", "bias": "bias"} | dict.fromkeys(
    ("kernel", "scale"), "weight"
)
_MODULE = re.compile(r"(conv1|bn1|layer\d+\.\d+\.(conv[123]|bn[123]|downsample\.[01])|fc)")


def find_unused_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the names of the tensors that `from_torch` ignores, each with the reason."""
    reason = "a counter that PyTorch's batch norm uses only without momentum"
    return {name: reason for name in tensors if name.endswith(_COUNTER)}


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Convert a state dict to variables.

    Args:
        tensors: State dict of a ResNet.

    Returns:
        Variables of `backbone` and, if there is a classifier, of a linear `head`.

    Raises:
        UserError: If a tensor is not of a ResNet.
    """
    variables: dict[str, np.ndarray] = {}
    for name in sorted(tensors.keys() - find_unused_tensors(tensors)):
        tensor = tensors[name]
        module, _, leaf = name.rpartition(".")
        if not _MODULE.fullmatch(module) or leaf not in ("weight", *_FLAX_LEAVES):
            raise UserError(
                f"tensor {name}: unknown in a ResNet of torchvision's layout; expected names such "
                "as layer1.0.conv1.weight"
            )
        collection = "batch_stats" if leaf.startswith("running_") else "params"
        if leaf == "weight":
            leaf = "scale" if tensor.ndim == 1 else "kernel"
        path = "head/fc" if module == "fc" else f"backbone/{_to_module_path(module)}"
        variables[f"{collection}/{path}/{_FLAX_LEAVES.get(leaf, leaf)}"] = _transpose(tensor)
    return {"params": {}, "batch_stats": {}} | unflatten_dict(variables, sep="/")


def to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Convert variables to a state dict; the inverse of `from_torch`.

    Args:
        variables: Variables of `backbone` and optionally of a linear `head`.

    Returns:
        State dict of a ResNet.

    Raises:
        ValueError: If there are other modules, for which the layout has no names.
    """
    tensors = {}
    for path, leaf in flatten_dict(variables, sep="/").items():
        _, part, *modules, name = path.split("/")
        if part != "backbone" and [part, *modules] != ["head", "fc"]:
            raise ValueError(f"{path}: has no name in torchvision's layout")
        module = re.sub(r"_(\d+)", r".\1", ".".join(modules))
        leaf = np.asarray(leaf)
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, range(leaf.ndim))
        tensors[f"{module}.{_TORCH_LEAVES[name]}"] = np.ascontiguousarray(leaf.transpose(*order))
        if name == "mean":
            tensors[f"{module}.{_COUNTER}"] = np.zeros((), np.int64)
    return tensors


def _to_module_path(module: str) -> str:
    """Convert the name of a module: `layer1.0.downsample.1` -> `layer1_0/downsample_1`."""
    return re.sub(r"\.(\d+)", r"_\1", module).replace(".", "/")


def _transpose(tensor: np.ndarray) -> np.ndarray:
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim))
    return np.ascontiguousarray(tensor.transpose(*order))
