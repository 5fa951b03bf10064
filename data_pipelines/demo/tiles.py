"""`demo_tiles`: unlabelled Sentinel-2-like tiles, the corpus to pretrain on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_TILES
from data_pipelines.demo.landcover import mixed_land
from data_pipelines.demo.spectra import digital_numbers, reflectance

__all__ = ["DemoTiles", "DemoTilesConfig"]


@dataclass(eq=False, kw_only=True)
class DemoTilesConfig(tfds.core.BuilderConfig):
    """How many tiles of which size.

    Attributes:
        train: number of tiles in the split of that name.
        validation: number of tiles in the split of that name.
        image_size: height and width in pixels.
        seed: another seed, another world.
    """

    train: int
    validation: int
    image_size: int = 120
    seed: int = 0


class DemoTiles(tfds.core.GeneratorBasedBuilder):
    """Landscapes in red, green, blue and near infrared, 120 × 120 pixels of "10 m", uint16."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoTilesConfig(name="default", train=4096, validation=256),
        DemoTilesConfig(name="small", train=1024, validation=64),
        DemoTilesConfig(name="tiny", train=48, validation=16, image_size=32),
    )

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Examples in each split, for the progress bar."""
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
            split: self._generate_examples(number, count)
            for number, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for number in range(count):
            yield number, {"image": draw_tile((config.seed, split, number), config.image_size)}


def draw_tile(seed: tuple[int, ...], size: int) -> np.ndarray:
    """Tile of the demo world: (size, size, 4) uint16, reflectance × 10,000."""
    rng = np.random.default_rng(seed)
    # Features are larger in the finer pixels of these tiles than in those of the scenes.
    zoom = rng.uniform(1.0, 2.5) * size / 120
    seen = reflectance(rng, mixed_land(rng, size, zoom))
    return digital_numbers(rng, seen, DEMO_TILES.bands[0].scale, np.uint16)
