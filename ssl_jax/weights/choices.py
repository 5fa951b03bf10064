"""The choices of an import or export.

Apart from what uses them, so that the command can parse its arguments without importing JAX.
"""

from data_pipelines.bands import PICTURES

__all__ = ["LAYOUTS", "METHODS", "NETWORKS", "STATISTICS"]

NETWORKS = ("resnet50", "resnet18", "vit", "mae")
LAYOUTS = ("timm", "transformers")
METHODS = ("copy", "tile", "random")  # of initialising bands that the file lacks
# Mean and standard deviation of 8-bit values, timm's IMAGENET_DEFAULT and IMAGENET_INCEPTION.
STATISTICS = {
    "imagenet": PICTURES,
    "half": PICTURES.with_statistics((127.5,) * 3, (127.5,) * 3),
}
