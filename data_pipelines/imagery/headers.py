"""What an image file says of itself: its bands, pixels, size, no-data values and georeference."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from rasterio.enums import ColorInterp, MaskFlags

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import gdal_environment, open_raster

__all__ = ["Header", "describe_raster", "read_headers"]

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        file: The file.
        num_bands: Number of bands.
        dtype: Dtype of the pixels.
        size: Height and width, in pixels.
        names: What the file calls its bands; empty where it says nothing.
        alpha: Number, from 1, of the band that is tagged as transparency; 0 if there is none. GDAL
            tags the near infrared of many files so, because it is the fourth of four bands.
        nodata: Value of each band's pixels without data; None where there is none.
        has_mask: Whether the file has a mask of the pixels with data, inside or beside it.
        has_band_masks: Whether it has one for each band.
        crs: Coordinate reference system; None if the file has none.
        transform: Affine transform from (column, row) to coordinates; None if the file has none.
    """

    file: File
    num_bands: int
    dtype: str
    size: tuple[int, int]
    names: tuple[str, ...] = ()
    alpha: int = 0
    nodata: tuple[float | None, ...] = ()
    has_mask: bool = False
    has_band_masks: bool = False
    crs: Any = None
    transform: Any = None

    @property
    def resolution(self) -> float:
        """Pixel size in metres; 0 if the image has no projected coordinates."""
        if not self.crs or not self.crs.is_projected or self.transform is None:
            return 0.0
        return round(abs(self.transform.a) * self.crs.linear_units_factor[1], 6)


def describe_raster(file: File, raster: Any) -> Header:
    """Return the header of an open rasterio dataset.

    Args:
        file: The file.
        raster: The rasterio dataset.
    """
    colours = raster.colorinterp
    flags = raster.mask_flag_enums[0]
    return Header(
        file=file,
        num_bands=raster.count,
        dtype=raster.dtypes[0],
        size=raster.shape,
        names=_find_names(raster.descriptions, colours),
        alpha=colours.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colours else 0,
        nodata=raster.nodatavals,
        has_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
        has_band_masks=not flags,
        crs=raster.crs,
        transform=None if raster.transform.is_identity else raster.transform,
    )


def read_headers(files: Iterable[File]) -> tuple[list[Header], dict[File, str]]:
    """Read the headers of files.

    Args:
        files: The files.

    Returns:
        The headers of the files that can be opened, and the error messages of the others.
    """
    headers, errors = [], {}
    with gdal_environment(sidecars=True):
        for file in files:
            try:
                with open_raster(file) as raster:
                    headers.append(describe_raster(file, raster))
            except UserError as error:
                errors[file] = str(error)
    return headers, errors


def _find_names(descriptions: tuple[str | None, ...], colours: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the descriptions of bands, else their colours if these have an unusual order."""
    if any(descriptions):
        return tuple(text or "" for text in descriptions)
    if set(_COLOURS) <= set(colours) and tuple(colours[:3]) != _COLOURS:
        return tuple(colour.name if colour in _COLOURS else "" for colour in colours)
    return ("",) * len(descriptions)
