"""`demo_aerial`: synthetic aerial tiles of a town with masks of the six ISPRS Potsdam classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_AERIAL
from data_pipelines.demo.spectra import quantise, render_reflectance
from data_pipelines.demo.town import CLASSES, COLOURS, IGNORE_LABEL, draw_town, get_class_mask

__all__ = ["DemoAerial", "DemoAerialConfig"]

# Reflectance at the full scale of the camera, chosen so that roofs use all 8 bits.
_FULL_SCALE = 0.55


@dataclass(eq=False, kw_only=True)
class DemoAerialConfig(tfds.core.BuilderConfig):
    """Number and size of the tiles.

    Attributes:
        train: Number of tiles in the split `train`.
        test: Number of tiles in the split `test`.
        image_size: Height and width in pixels; does not change the size of objects.
        seed: Seed of the random town.
    """

    train: int
    test: int
    image_size: int = 128
    seed: int = 0


class DemoAerial(tfds.core.GeneratorBasedBuilder):
    """Tiles of a town in red, green, blue and near infrared, uint8, "5 cm" pixels, with masks."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoAerialConfig(name="default", train=200, test=80),
        DemoAerialConfig(name="small", train=40, test=16),
        DemoAerialConfig(name="tiny", train=16, test=8, image_size=64),
    )

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The number of examples of each split."""
        config = self.builder_config
        return {"train": config.train, "test": config.test}

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        encoding = tfds.features.Encoding.BYTES
        return tfds.core.DatasetInfo(
            builder=self,
            description="Procedural aerial tiles with masks of six classes, in four bands.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(size, size, 4), dtype=np.uint8, encoding=encoding
                    ),
                    "mask": tfds.features.Tensor(
                        shape=(size, size), dtype=np.uint8, encoding=encoding
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(
                {
                    "sensor": DEMO_AERIAL.to_dict(),
                    "classes": list(CLASSES),
                    "colours": [list(colour) for colour in COLOURS],
                    "ignore_label": IGNORE_LABEL,
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            split: self._generate_examples(index, count)
            for index, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for index in range(count):
            image, mask = draw_tile((config.seed, 3, split, index), config.image_size)
            yield index, {"image": image, "mask": mask}


def draw_tile(seed: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a tile of the demo town: (size, size, 4) uint8 image and (size, size) uint8 mask."""
    rng = np.random.default_rng(seed)
    land = draw_town(rng, size)
    reflectance = render_reflectance(rng, land, variation=0.8) / _FULL_SCALE
    image = quantise(rng, reflectance, DEMO_AERIAL.bands[0].scale, np.uint8)
    return image, get_class_mask(land)
