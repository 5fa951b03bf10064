"""Setup of the reference implementations on a CPU, and the option `--full`."""

import torch

torch.set_num_threads(1)  # one core for each of two test workers

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # PyPI's torchvision is built for CUDA, and fails with a torch built without, unless these two
    # operators are defined. timm and transformers don't call them.
    for name in ("nms", "qnms"):
        signature = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also compare at the sizes of the paper")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "full: comparison at the size of the paper, only with --full"
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full", False):
        deselected = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
