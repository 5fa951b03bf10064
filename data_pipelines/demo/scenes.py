"""`demo_scenes`: synthetic satellite scenes, labelled with the ten classes of NaSC-TG2."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_SCENES
from data_pipelines.demo.landcover import SCENES
from data_pipelines.demo.spectra import quantise, render_reflectance

__all__ = ["DemoScenes", "DemoScenesConfig"]


@dataclass(eq=False, kw_only=True)
class DemoScenesConfig(tfds.core.BuilderConfig):
    """Number and size of the scenes.

    Attributes:
        per_class: Number of scenes of each class.
        image_size: Height and width in pixels.
        seed: Seed of the random landscapes.
    """

    per_class: int
    image_size: int = 128
    seed: int = 0


class DemoScenes(tfds.core.GeneratorBasedBuilder):
    """Scenes in red, green, blue and near infrared, 128 × 128 "100 m" pixels, uint16, one label.

    As in NaSC-TG2, the only split is `train`, to be subdivided by a split expression.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoScenesConfig(name="default", per_class=200),
        DemoScenesConfig(name="small", per_class=60),
        DemoScenesConfig(name="tiny", per_class=8, image_size=32),
    )

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The number of examples of each split."""
        return {"train": self.builder_config.per_class * len(SCENES)}

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Procedural satellite scenes of ten classes, in four bands.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(size, size, 4),
                        dtype=np.uint16,
                        encoding=tfds.features.Encoding.BYTES,
                    ),
                    "label": tfds.features.ClassLabel(names=list(SCENES)),
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": DEMO_SCENES.to_dict()}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"train": self._generate_examples(self.expected_examples["train"])}

    def _generate_examples(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        names = list(SCENES)
        for index in range(count):
            name = names[index % len(names)]
            image = draw_scene((config.seed, 2, index), name, config.image_size)
            yield index, {"image": image, "label": name}


def draw_scene(seed: tuple[int, ...], name: str, size: int) -> np.ndarray:
    """Draw a scene of a class: (size, size, 4) uint16, reflectance × 10,000."""
    rng = np.random.default_rng(seed)
    zoom = rng.uniform(0.8, 1.3) * size / 128
    reflectance = render_reflectance(rng, SCENES[name](rng, size, zoom))
    return quantise(rng, reflectance, DEMO_SCENES.bands[0].scale, np.uint16)
