"""`demo_tiles`: synthetic unlabelled tiles that resemble Sentinel-2 images, for pretraining."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_TILES
from data_pipelines.demo.landcover import draw_mixed_land
from data_pipelines.demo.spectra import quantise, render_reflectance

__all__ = ["DemoTiles", "DemoTilesConfig"]


@dataclass(eq=False, kw_only=True)
class DemoTilesConfig(tfds.core.BuilderConfig):
    """Number and size of the tiles.

    Attributes:
        train: Number of tiles in the split `train`.
        validation: Number of tiles in the split `validation`.
        image_size: Height and width in pixels.
        seed: Seed of the random landscapes.
    """

    train: int
    validation: int
    image_size: int = 120
    seed: int = 0


class DemoTiles(tfds.core.GeneratorBasedBuilder):
    """Landscapes in red, green, blue and near infrared, 120 × 120 "10 m" pixels, uint16."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoTilesConfig(name="default", train=4096, validation=256),
        DemoTilesConfig(name="small", train=1024, validation=64),
        DemoTilesConfig(name="tiny", train=48, validation=16, image_size=32),
    )

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The number of examples of each split."""
        config = self.builder_config
        return {"train": config.train, "validation": config.validation}

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Procedural satellite tiles without labels, in four bands.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(size, size, 4),
                        dtype=np.uint16,
                        encoding=tfds.features.Encoding.BYTES,
                    )
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": DEMO_TILES.to_dict()}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            split: self._generate_examples(index, count)
            for index, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for index in range(count):
            yield index, {"image": draw_tile((config.seed, split, index), config.image_size)}


def draw_tile(seed: tuple[int, ...], size: int) -> np.ndarray:
    """Draw a tile: (size, size, 4) uint16, reflectance × 10,000."""
    rng = np.random.default_rng(seed)
    # These tiles have finer pixels than the scenes, so that features extend over more pixels.
    zoom = rng.uniform(1.0, 2.5) * size / 120
    reflectance = render_reflectance(rng, draw_mixed_land(rng, size, zoom))
    return quantise(rng, reflectance, DEMO_TILES.bands[0].scale, np.uint16)
