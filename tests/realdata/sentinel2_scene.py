"""A user's TFDS builder: a Sentinel-2 scene with a mask; trains on the left, tests on the right."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import SENTINEL2_L2A, Sensor

WINDOW, STRIDE = 64, 32
VALUES = {0: "cloud shadow", 1: "water", 3: "land", 4: "cloud"}
_BANDS = ("blue", "green", "red", "nir")


class Sentinel2Scene(tfds.core.GeneratorBasedBuilder):
    """Windows of 64 × 64 pixels with stride 32, from the file sentinel2.npz in `manual_dir`."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "sentinel2.npz"

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(
                shape=(WINDOW, WINDOW, 4), dtype=np.uint16, encoding=tfds.features.Encoding.BYTES
            ),
            "mask": tfds.features.Tensor(
                shape=(WINDOW, WINDOW), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
            ),
        }
        sensor: Sensor = SENTINEL2_L2A.select(_BANDS)
        metadata = {
            "sensor": sensor.to_dict(),
            "classes": list(VALUES.values()),
            "colours": [[60, 60, 60], [40, 90, 200], [110, 160, 70], [240, 240, 240]],
            "ignore_label": 255,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(metadata),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        with np.load(Path(dl_manager.manual_dir) / "sentinel2.npz") as scene:
            image = np.round(scene["img"][..., :4] * 10_000).astype(np.uint16)
            values = scene["msk"][..., 0]
        mask = np.full(values.shape, 255, np.uint8)
        for label, value in enumerate(VALUES):
            mask[values == value] = label
        half = image.shape[1] // 2
        return {
            "train": self._windows(image[:, :half], mask[:, :half], STRIDE),
            "test": self._windows(image[:, half:], mask[:, half:], WINDOW),
        }

    def _generate_examples(self) -> Iterator[Any]:
        raise AssertionError("every split has its own generator")

    def _windows(self, image: np.ndarray, mask: np.ndarray, stride: int) -> Iterator[Any]:
        height, width = mask.shape
        for top in range(0, height - WINDOW + 1, stride):
            for left in range(0, width - WINDOW + 1, stride):
                window = np.s_[top : top + WINDOW, left : left + WINDOW]
                yield f"{top}_{left}", {"image": image[window], "mask": mask[window]}
