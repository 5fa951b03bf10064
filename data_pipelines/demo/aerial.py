"""`demo_aerial`: aerial tiles of a town with masks, with the six classes of ISPRS Potsdam."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_AERIAL
from data_pipelines.demo.spectra import digital_numbers, reflectance
from data_pipelines.demo.town import CLASSES, COLOURS, IGNORE_LABEL, classes_of, town

__all__ = ["DemoAerial", "DemoAerialConfig"]

# The camera's full scale is reached at this share of the sunlight, so that roofs use all 8 bits.
_FULL_SCALE = 0.55


@dataclass(eq=False, kw_only=True)
class DemoAerialConfig(tfds.core.BuilderConfig):
    """How many tiles of which size.

    Attributes:
        train: number of tiles in the split of that name.
        test: number of tiles in the split of that name.
        image_size: height and width in pixels; things keep their size.
        seed: another seed, another town.
    """

    train: int
    test: int
    image_size: int = 128
    seed: int = 0


class DemoAerial(tfds.core.GeneratorBasedBuilder):
    """A town in red, green, blue and near infrared, uint8 pixels of "5 cm", and its land cover."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoAerialConfig(name="default", train=200, test=80),
        DemoAerialConfig(name="small", train=40, test=16),
        DemoAerialConfig(name="tiny", train=16, test=8, image_size=64),
    )

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Examples in each split, for the progress bar."""
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
            split: self._generate_examples(number, count)
            for number, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for number in range(count):
            image, mask = draw_tile((config.seed, 3, split, number), config.image_size)
            yield number, {"image": image, "mask": mask}


def draw_tile(seed: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tile of the demo town: image (size, size, 4) uint8 and mask (size, size) uint8."""
    rng = np.random.default_rng(seed)
    land = town(rng, size)
    seen = reflectance(rng, land, variation=0.8) / _FULL_SCALE
    return digital_numbers(rng, seen, DEMO_AERIAL.bands[0].scale, np.uint8), classes_of(land)
