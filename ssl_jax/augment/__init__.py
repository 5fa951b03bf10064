"""Image augmentations on the device, for one example at a time and any number of bands.

The operations are in `geometry`, `affine`, `colour`, `blur`, `erasing` and `randaugment`. Bands are
planes (C, H, W) there and the last axis (H, W, C) elsewhere: CPUs compute neighbours together.
"""

from ssl_jax.augment.augmentation import Augmentation
from ssl_jax.augment.mix import Mix
from ssl_jax.augment.normalise import Normalisation
from ssl_jax.augment.segmentation import SegmentationAugmentation

__all__ = ["Augmentation", "Mix", "Normalisation", "SegmentationAugmentation"]
