"""The values of some pixels of a user's files, by which a build tells what they can't be."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from rasterio.enums import Resampling

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import gdal_environment, open_raster
from data_pipelines.imagery.headers import Header, describe_raster

__all__ = ["Sample", "is_transparency", "sample_pixels", "select_evenly"]

# Side, in pixels, to which a sampled image is subsampled.
_SIDE = 256
# Share of the values of a transparency band that are 0 or the maximum: only edges are in between.
_OPAQUE = 0.95


class Sample(NamedTuple):
    """Some pixels of a file.

    Attributes:
        header: Header of the file.
        pixels: (bands, h, w) pixels of all bands of the file, subsampled.
    """

    header: Header
    pixels: np.ndarray


def select_evenly(files: Sequence[File], count: int) -> list[File]:
    """Select at most `count` files, evenly spaced."""
    if len(files) <= count:
        return list(files)
    return [files[int(i)] for i in np.linspace(0, len(files) - 1, count)]


def sample_pixels(files: Iterable[File]) -> list[Sample]:
    """Read some pixels of each file that can be read, without mixing their values."""
    samples = []
    with gdal_environment(sidecars=True):
        for file in files:
            try:
                with open_raster(file) as raster:
                    size = tuple(min(side, _SIDE) for side in raster.shape)
                    pixels = raster.read(
                        out_shape=(raster.count, *size), resampling=Resampling.nearest
                    )
                    samples.append(Sample(describe_raster(file, raster), pixels))
            except UserError:  # raised again, or skipped, when the file is read
                continue
    return samples


def is_transparency(samples: Iterable[Sample]) -> bool:
    """Return whether bands that are tagged as transparency hold it, rather than a near infrared.

    Args:
        samples: Some pixels of the files.
    """
    bands = [s.pixels[s.header.alpha - 1].ravel() for s in samples if s.header.alpha]
    if not bands:
        return False
    values = np.concatenate(bands)
    high = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else values.max()
    is_opaque = values == high
    return bool(is_opaque.any() and (is_opaque | (values == 0)).mean() >= _OPAQUE)
