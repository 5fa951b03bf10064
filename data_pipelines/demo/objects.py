"""`demo_objects`: synthetic images of ten everyday objects, in place of ImageNet."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import DEMO_OBJECTS
from data_pipelines.demo.geometry import axes, fractal

__all__ = ["DemoObjects", "DemoObjectsConfig"]


@dataclass(eq=False, kw_only=True)
class DemoObjectsConfig(tfds.core.BuilderConfig):
    """Number and size of the images.

    Attributes:
        train: Number of images in the split `train`.
        validation: Number of images in the split `validation`.
        image_size: Height and width in pixels.
        seed: Seed of the random images.
    """

    train: int
    validation: int
    image_size: int = 128
    seed: int = 0


class DemoObjects(tfds.core.GeneratorBasedBuilder):
    """Images of ten kinds of objects in red, green and blue, uint8, one label."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoObjectsConfig(name="default", train=2000, validation=200),
        DemoObjectsConfig(name="small", train=500, validation=100),
        DemoObjectsConfig(name="tiny", train=40, validation=20, image_size=32),
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
            description="Procedural images of ten kinds of objects.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(size, size, 3),
                        dtype=np.uint8,
                        encoding=tfds.features.Encoding.BYTES,
                    ),
                    "label": tfds.features.ClassLabel(names=list(OBJECTS)),
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": DEMO_OBJECTS.to_dict()}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            split: self._generate_examples(index, count)
            for index, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        names = list(OBJECTS)
        for index in range(count):
            name = names[index % len(names)]
            image = draw_object_image((config.seed, 4, split, index), name, config.image_size)
            yield index, {"image": image, "label": name}


def draw_object_image(seed: tuple[int, ...], name: str, size: int) -> np.ndarray:
    """Draw an object in front of a random background: (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    u, v = axes(rng, size, rng.normal(0, 0.5))
    extent = rng.uniform(0.28, 0.48) * size
    shape = OBJECTS[name](u / extent, v / extent)
    background, body, detail = (rng.uniform(0.08, 0.92, 3).astype(np.float32) for _ in range(3))
    pattern = 0.18 * fractal(rng, size, rng.uniform(0.8, 2.2), rng.uniform(1, 8))[..., None]
    image = background + pattern * rng.uniform(-1, 1, 3).astype(np.float32)
    image[size // 20 :, size // 24 :][shape[: -(size // 20), : -(size // 24)] > 0] *= 0.6  # shadow
    image[shape == 1] = body
    image[shape == 2] = detail
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.3 * (np.cos(angle) * u + np.sin(angle) * v) / size
    grain = fractal(rng, size, 1.0, 6)
    image = image * (light + 0.05 * grain)[..., None] * rng.uniform(0.7, 1.25)
    image += rng.normal(0, 0.02, image.shape)
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def _draw_layers(u: np.ndarray, *masks: np.ndarray) -> np.ndarray:
    """Draw masks over each other, in values 0 (background), 1 (body) and 2 (detail)."""
    shape = np.zeros(u.shape, np.uint8)
    for index, mask in enumerate(masks):
        shape[mask] = 1 + index % 2
    return shape


def _ball(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _draw_layers(
        u, np.hypot(u, v) < 0.9, (np.hypot(u, v) < 0.9) & (np.abs(v + 0.3 * u * u) < 0.2)
    )


def _bottle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = (np.abs(u) < 0.38) & (v > -0.2) & (v < 1)
    neck = (np.abs(u) < 0.38 - 0.24 * np.clip((-v - 0.2) / 0.25, 0, 1)) & (v > -1) & (v < 1)
    return _draw_layers(u, body | neck, (np.abs(u) < 0.38) & (np.abs(v - 0.4) < 0.25))


def _box(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    front = (np.abs(u + 0.15) < 0.6) & (np.abs(v - 0.2) < 0.6)
    lid = (v < -0.4) & (v > -0.75) & (np.abs(u + 0.15 + (v + 0.4)) < 0.6)
    return _draw_layers(u, front | lid, lid)


def _cup(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = (np.abs(u) < 0.55 - 0.15 * v) & (np.abs(v) < 0.7)
    handle = np.abs(np.hypot(u - 0.6, v) - 0.35) < 0.09
    rim = (np.abs(u) < 0.66) & (np.abs(v + 0.62) < 0.1)
    return _draw_layers(u, (handle & ~body) | body, rim)


def _flower(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    return _draw_layers(u, radius < 0.45 + 0.5 * np.abs(np.cos(3 * angle)), radius < 0.3)


def _key(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    ring = np.abs(np.hypot(u + 0.6, v) - 0.3) < 0.12
    shaft = (np.abs(v) < 0.1) & (u > -0.25) & (u < 1)
    teeth = (v > 0) & (v < 0.35) & (u > 0.5) & (u < 1) & (u % 0.25 < 0.14)
    return _draw_layers(u, ring | shaft | teeth)


def _ladder(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    rails = (np.abs(np.abs(u) - 0.4) < 0.08) & (np.abs(v) < 1)
    rungs = (np.abs(u) < 0.4) & (np.abs(v) < 0.95) & ((v + 1) % 0.4 < 0.12)
    return _draw_layers(u, rails | rungs)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    point = np.abs((angle * 5 / (2 * np.pi)) % 1 - 0.5) * 2
    return _draw_layers(u, radius < 0.4 + 0.6 * point**1.5)


def _umbrella(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    canopy = (np.hypot(u, v) < 0.95) & (v < -0.05 - 0.15 * np.abs(np.sin(5 * u)))
    stick = (np.abs(u) < 0.05) & (v > -0.2) & (v < 0.8)
    hook = (np.abs(np.hypot(u - 0.15, v - 0.8) - 0.15) < 0.06) & (v > 0.8)
    return _draw_layers(u, canopy, stick | hook)


def _wheel(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    rim = np.abs(radius - 0.82) < 0.14
    spokes = (radius < 0.8) & (np.abs(np.sin(3 * angle)) * radius < 0.09)
    return _draw_layers(u, rim, spokes | (radius < 0.16))


OBJECTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ball": _ball,
    "bottle": _bottle,
    "box": _box,
    "cup": _cup,
    "flower": _flower,
    "key": _key,
    "ladder": _ladder,
    "star": _star,
    "umbrella": _umbrella,
    "wheel": _wheel,
}
