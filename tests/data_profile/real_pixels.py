"""Real images in red, green, blue and near infrared, by source and by date or place.

`SSL_JAX_REALDATA` is the folder of the small set that the other tests on real images use, and
`SSL_JAX_REAL` that of a larger one; a source whose folder is not named is left out.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from data_pipelines.bands import NAIP, SENTINEL2_L1C, SENTINEL2_L2A, SENTINEL2_RGB, Sensor

RGBN = ("red", "green", "blue", "nir")
_SMALL, _LARGE = "SSL_JAX_REALDATA", "SSL_JAX_REAL"
Groups = dict[str, np.ndarray]


class Source(NamedTuple):
    """Images of one sensor, {date or place: (images, height, width, bands)}."""

    sensor: Sensor
    groups: Groups

    def split(self) -> tuple["Source", "Source"]:
        """Divide the source by date or place, every second one."""
        names = list(self.groups)
        first, second = ({n: self.groups[n] for n in half} for half in (names[::2], names[1::2]))
        return self._replace(groups=first), self._replace(groups=second)

    @property
    def images(self) -> np.ndarray:
        return np.concatenate(list(self.groups.values()))


def read_sources() -> Iterator[tuple[str, Source]]:
    """Read the sources that are there."""
    for name, (variable, read) in _SOURCES.items():
        if folder := os.environ.get(variable):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                yield name, read(Path(folder))


def cut_tiles(image: np.ndarray, side: int) -> np.ndarray:
    """Cut an image into disjoint tiles, (tiles, side, side, bands)."""
    height, width = (size // side * side for size in image.shape[:2])
    rows = image[:height, :width].reshape(height // side, side, width // side, side, -1)
    return rows.swapaxes(1, 2).reshape(-1, side, side, image.shape[-1])


def _read_raster(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def _read_bands(folder: Path) -> np.ndarray:
    files = [next(folder.glob(f"*_{band}.tif")) for band in ("B04", "B03", "B02", "B08")]
    return np.concatenate([_read_raster(file) for file in files], axis=-1)


def _read_bigearthnet(folder: Path) -> Source:
    patches = sorted((folder / "bigearthnet_v1" / "BigEarthNet-v1.0").iterdir())
    groups = {patch.name: _read_bands(patch)[None] for patch in patches}
    return Source(SENTINEL2_L2A.select(RGBN), groups)


def _read_naip(folder: Path) -> Source:
    files = sorted((folder / "naip_rgbn").rglob("*.tif"))
    return Source(NAIP, {file.stem[-8:]: cut_tiles(_read_raster(file), 120) for file in files})


def _read_scene(folder: Path) -> Source:
    reflectance = np.load(folder / "sentinel2_mask" / "sentinel2.npz")["img"][..., [2, 1, 0, 3]]
    numbers = np.round(reflectance * 10_000).astype(np.uint16)
    halves = np.split(numbers, 8, axis=1)
    groups = {f"strip {i}": cut_tiles(half, 64) for i, half in enumerate(halves)}
    return Source(SENTINEL2_L1C.select(RGBN), groups)


def _read_dates(folder: Path) -> Source:
    dates = np.load(folder / "sentinel2_l1c" / "REFERENCE_SCENES.npy")[..., [3, 2, 1, 7]]
    numbers = np.round(dates * 10_000).astype(np.uint16)
    groups = {f"date {i}": cut_tiles(date, 50) for i, date in enumerate(numbers)}
    return Source(SENTINEL2_L1C.select(RGBN), groups)


def _read_cities(folder: Path) -> Source:
    """Read 24 cities; both dates of a city, and both halves of Saclay, are in one group."""
    groups: dict[str, list[np.ndarray]] = {}
    for images in sorted((folder / "sentinel2_cities").glob("*/imgs_*")):
        city = images.parent.name.partition("_")[0]
        groups.setdefault(city, []).append(cut_tiles(_read_bands(images), 120))
    cities = {city: np.concatenate(dates) for city, dates in groups.items()}
    return Source(SENTINEL2_L1C.select(RGBN), cities)


def _read_landcover(folder: Path) -> Source:
    groups = {}
    for split in ("train", "val", "test"):
        files = sorted((folder / "naip_landcover" / split / "img").glob("*.tif"))
        groups[split] = np.stack([_read_raster(file) for file in files])
    return Source(NAIP, groups)


def _read_eurosat(folder: Path, archive: str, read: Callable[[bytes], np.ndarray]) -> Groups:
    """Read EuroSAT, in twenty groups that each have images of all classes."""
    with zipfile.ZipFile(folder / archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith((".jpg", ".tif")))
        return {
            f"part {part}": np.stack([read(file.read(name)) for name in names[part::20]])
            for part in range(20)
        }


def _read_eurosat_rgb(folder: Path) -> Source:
    groups = _read_eurosat(
        folder, "EuroSAT_RGB.zip", lambda content: np.asarray(PIL.Image.open(io.BytesIO(content)))
    )
    return Source(SENTINEL2_RGB, groups)


def _read_eurosat_ms(folder: Path) -> Source:
    def read(content: bytes) -> np.ndarray:
        with rasterio.MemoryFile(content) as memory, memory.open() as file:
            return np.moveaxis(file.read([4, 3, 2, 8]), 0, -1)

    return Source(SENTINEL2_L1C.select(RGBN), _read_eurosat(folder, "EuroSAT_MS.zip", read))


_SOURCES: dict[str, tuple[str, Callable[[Path], Source]]] = {
    "BigEarthNet": (_SMALL, _read_bigearthnet),
    "NAIP, 8 dates": (_SMALL, _read_naip),
    "Sentinel-2 scene": (_SMALL, _read_scene),
    "Sentinel-2, 5 dates": (_SMALL, _read_dates),
    "24 cities": (_LARGE, _read_cities),
    "NAIP land cover": (_LARGE, _read_landcover),
    "EuroSAT MS": (_LARGE, _read_eurosat_ms),
    "EuroSAT RGB": (_LARGE, _read_eurosat_rgb),
}
