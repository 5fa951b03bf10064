"""The choices of an import or export.

Apart from what uses them, so that the command can parse its arguments without importing JAX.
"""

from data_pipelines.bands import PICTURES, SENTINEL2_L1C, SENTINEL2_L2A

__all__ = ["LAYOUTS", "METHODS", "NETWORKS", "STATISTICS", "STRIDES"]

NETWORKS = ("resnet50", "resnet18", "vit", "mae")
LAYOUTS = ("timm", "transformers")
METHODS = ("copy", "tile", "random")  # of initialising bands that the file lacks
# Mean and standard deviation of 8-bit values, timm's IMAGENET_DEFAULT and IMAGENET_INCEPTION, and
# of Sentinel-2's digital numbers.
STATISTICS = {
    "imagenet": PICTURES,
    "half": PICTURES.with_statistics((127.5,) * 3, (127.5,) * 3),
    SENTINEL2_L2A.name: SENTINEL2_L2A,
    SENTINEL2_L1C.name: SENTINEL2_L1C,
}
STRIDES = ("3x3", "1x1")  # convolutions of a ResNet's bottleneck that may have the stride
