"""`demo_objects`: pictures of ten everyday objects, the demo world's stand-in for ImageNet."""

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
    """How many pictures of which size.

    Attributes:
        train: number of pictures in the split of that name.
        validation: number of pictures in the split of that name.
        image_size: height and width in pixels.
        seed: another seed, other pictures.
    """

    train: int
    validation: int
    image_size: int = 128
    seed: int = 0


class DemoObjects(tfds.core.GeneratorBasedBuilder):
    """Pictures of ten kinds of objects, red, green and blue, uint8, one label."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        DemoObjectsConfig(name="default", train=2000, validation=200),
        DemoObjectsConfig(name="small", train=500, validation=100),
        DemoObjectsConfig(name="tiny", train=40, validation=20, image_size=32),
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
            description="Procedural pictures of ten kinds of objects.",
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
            split: self._generate_examples(number, count)
            for number, (split, count) in enumerate(self.expected_examples.items())
        }

    def _generate_examples(self, split: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        names = list(OBJECTS)
        for number in range(count):
            name = names[number % len(names)]
            image = draw_object_image((config.seed, 4, split, number), name, config.image_size)
            yield number, {"image": image, "label": name}


def draw_object_image(seed: tuple[int, ...], name: str, size: int) -> np.ndarray:
    """Picture of an object before some background: (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    u, v = axes(rng, size, rng.normal(0, 0.5))
    extent = rng.uniform(0.28, 0.48) * size
    shape = OBJECTS[name](u / extent, v / extent)
    background, body, detail = (rng.uniform(0.08, 0.92, 3).astype(np.float32) for _ in range(3))
    pattern = 0.18 * fractal(rng, size, rng.uniform(0.8, 2.2), rng.uniform(1, 8))[..., None]
    seen = background + pattern * rng.uniform(-1, 1, 3).astype(np.float32)
    seen[size // 20 :, size // 24 :][shape[: -(size // 20), : -(size // 24)] > 0] *= 0.6  # shadow
    seen[shape == 1] = body
    seen[shape == 2] = detail
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.3 * (np.cos(angle) * u + np.sin(angle) * v) / size
    grain = fractal(rng, size, 1.0, 6)
    seen = seen * (light + 0.05 * grain)[..., None] * rng.uniform(0.7, 1.25)
    seen += rng.normal(0, 0.02, seen.shape)
    return np.clip(seen * 255, 0, 255).astype(np.uint8)


def _layers(u: np.ndarray, *masks: np.ndarray) -> np.ndarray:
    """0 background, 1 body, 2 detail: each mask is drawn over those before it."""
    shape = np.zeros(u.shape, np.uint8)
    for number, mask in enumerate(masks):
        shape[mask] = 1 + number % 2
    return shape


def _ball(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _layers(
        u, np.hypot(u, v) < 0.9, (np.hypot(u, v) < 0.9) & (np.abs(v + 0.3 * u * u) < 0.2)
    )


def _bottle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = (np.abs(u) < 0.38) & (v > -0.2) & (v < 1)
    neck = (np.abs(u) < 0.38 - 0.24 * np.clip((-v - 0.2) / 0.25, 0, 1)) & (v > -1) & (v < 1)
    return _layers(u, body | neck, (np.abs(u) < 0.38) & (np.abs(v - 0.4) < 0.25))


def _box(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    front = (np.abs(u + 0.15) < 0.6) & (np.abs(v - 0.2) < 0.6)
    lid = (v < -0.4) & (v > -0.75) & (np.abs(u + 0.15 + (v + 0.4)) < 0.6)
    return _layers(u, front | lid, lid)


def _cup(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = (np.abs(u) < 0.55 - 0.15 * v) & (np.abs(v) < 0.7)
    handle = np.abs(np.hypot(u - 0.6, v) - 0.35) < 0.09
    rim = (np.abs(u) < 0.66) & (np.abs(v + 0.62) < 0.1)
    return _layers(u, (handle & ~body) | body, rim)


def _flower(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    return _layers(u, radius < 0.45 + 0.5 * np.abs(np.cos(3 * angle)), radius < 0.3)


def _key(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    ring = np.abs(np.hypot(u + 0.6, v) - 0.3) < 0.12
    shaft = (np.abs(v) < 0.1) & (u > -0.25) & (u < 1)
    teeth = (v > 0) & (v < 0.35) & (u > 0.5) & (u < 1) & (u % 0.25 < 0.14)
    return _layers(u, ring | shaft | teeth)


def _ladder(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    rails = (np.abs(np.abs(u) - 0.4) < 0.08) & (np.abs(v) < 1)
    rungs = (np.abs(u) < 0.4) & (np.abs(v) < 0.95) & ((v + 1) % 0.4 < 0.12)
    return _layers(u, rails | rungs)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    point = np.abs((angle * 5 / (2 * np.pi)) % 1 - 0.5) * 2
    return _layers(u, radius < 0.4 + 0.6 * point**1.5)


def _umbrella(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    canopy = (np.hypot(u, v) < 0.95) & (v < -0.05 - 0.15 * np.abs(np.sin(5 * u)))
    stick = (np.abs(u) < 0.05) & (v > -0.2) & (v < 0.8)
    hook = (np.abs(np.hypot(u - 0.15, v - 0.8) - 0.15) < 0.06) & (v > 0.8)
    return _layers(u, canopy, stick | hook)


def _wheel(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    rim = np.abs(radius - 0.82) < 0.14
    spokes = (radius < 0.8) & (np.abs(np.sin(3 * angle)) * radius < 0.09)
    return _layers(u, rim, spokes | (radius < 0.16))


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
