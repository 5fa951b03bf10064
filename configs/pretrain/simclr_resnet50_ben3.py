"""SimCLR + ResNet-50 on BigEarthNet's red, green and blue alone (the paper's "BEN3").

All hyper-parameters are those of `simclr_resnet50_ben4`; with three bands saturation, hue and gray
are as in the paper.
"""

from ml_collections import ConfigDict

from configs.pretrain import simclr_resnet50_ben4


def get_config() -> ConfigDict:
    config = simclr_resnet50_ben4.get_config()
    config.data.bands = ("red", "green", "blue")
    return config
