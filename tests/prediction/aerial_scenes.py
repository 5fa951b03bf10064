"""Demo images as GeoTIFFs with a place, for the mapping of scenes."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

BANDS = ("red", "green", "blue", "nir")
TRANSFORM = Affine(0.05, 0, 368_000, 0, -0.05, 5_807_000)


def read_demo_images(data_dir: Path) -> list[dict[str, np.ndarray]]:
    """Return `image` (h, w, 4) uint8 and `mask` (h, w) of the test images of demo_aerial/tiny."""
    dataset = open_dataset("demo_aerial/tiny", str(data_dir), BANDS)
    images = select_subset(dataset, "test", 0).images()
    return [image.read(0, 0, image.height, image.width) for image in images]


def write_scene(path: Path, image: np.ndarray, **profile: object) -> Path:
    """Write an image (h, w, bands) as a GeoTIFF whose bands are described; returns its path."""
    settings = {"crs": "EPSG:32633", "transform": TRANSFORM, **profile}
    height, width, count = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=image.dtype,
        **settings,
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(image, -1, 0))
        raster.descriptions = BANDS[:count]
    return path
