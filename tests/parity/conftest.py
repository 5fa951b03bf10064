"""What the references need to run beside JAX on a CPU, and `--full`."""

import torch

torch.set_num_threads(1)  # each of two workers has a core

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # As PyPI has it, built for CUDA beside a torch built without: it goes on without its operators,
    # of which only these two have to be known by name. timm and transformers call neither.
    for name in ("nms", "qnms"):
        signature = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="compare at the paper's sizes too")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: at the paper's size, compared with --full only")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full", False):
        unused = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=unused)
        items[:] = [item for item in items if item not in unused]
