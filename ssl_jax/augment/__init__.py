"""Image augmentations on the device, for one example at a time and any number of bands.

The operations are in `geometry`, `affine`, `colour`, `blur`, `erasing` and `randaugment`.
"""

from ssl_jax.augment.augmentation import Augmentation, SegmentationAugmentation
from ssl_jax.augment.mix import Mix
from ssl_jax.augment.normalise import Normalisation

__all__ = ["Augmentation", "Mix", "Normalisation", "SegmentationAugmentation"]
