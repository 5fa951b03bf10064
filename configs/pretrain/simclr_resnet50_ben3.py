"""Pretraining of a ResNet-50 by SimCLR on BigEarthNet's red, green and blue ("BEN3").

All hyper-parameters are those of `simclr_resnet50_ben4`. With these three bands, saturation, hue
and grayscale are as in SimCLR's paper.
"""

from ml_collections import ConfigDict

from configs.pretrain import simclr_resnet50_ben4


def get_config() -> ConfigDict:
    """Return the config of the run."""
    config = simclr_resnet50_ben4.get_config()
    config.data.bands = ("red", "green", "blue")
    return config
