"""The references are installed from PyPI, which doesn't build all of them for a CPU alone."""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Built for CUDA beside a torch built without: it goes on without its operators, of which only
    # these two have to be known by name. timm and transformers call neither.
    for name in ("nms", "qnms"):
        signature = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)
