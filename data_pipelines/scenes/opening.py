"""Opening of a scene: its files, bands, pixels without data, scale and grid."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rasterio.errors import RasterioError

from data_pipelines.bands import Sensor
from data_pipelines.bands.conversion import Conversion
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import bound_gdal_cache
from data_pipelines.imagery.descriptions import have_nodata
from data_pipelines.imagery.georeferences import Georeference
from data_pipelines.imagery.headers import Header, describe_raster
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.imagery.values import Sample, is_transparency
from data_pipelines.scenes.bands import choose_bands, name_raster_bands, name_told_bands
from data_pipelines.scenes.files import SceneFiles, find_scene_files
from data_pipelines.scenes.grid import Placed, find_grid
from data_pipelines.scenes.raster import SceneRaster, find_cache, open_any_raster
from data_pipelines.scenes.sampling import ENOUGH, find_places
from data_pipelines.scenes.scene import Scene

__all__ = ["open_scene"]

_STORED = ("uint8", "uint16")


class _Told(NamedTuple):
    """What the user says of a scene; see `open_scene`."""

    bands: tuple[str, ...]
    conversion: Conversion | None
    nodata: str


def open_scene(
    path: str | Path,
    sensor: Sensor,
    bands: Sequence[str] = (),
    conversion: Conversion | None = None,
    nodata: str = "",
    resolution: float = 0.0,
    fill: Sequence[float] = (),
) -> Scene:
    """Open a scene, to be read in digital numbers of a sensor.

    Args:
        path: A file of any format that GDAL knows, or its name for what is no file; a Sentinel-2
            product (`.SAFE`) or a folder with a file for each band, zipped or not.
        sensor: The sensor, with the bands that the network needs.
        bands: Names of the bands of the scene in their order; others than the sensor's aren't read.
            Empty to go by what the files call them.
        conversion: From the numbers of the files to digital numbers; None for what the files say.
        nodata: Value of pixels without data, `none`, or empty for what the files say.
        resolution: Ground sampling distance, in metres, at which the scene is read; 0 for its own,
            or the sensor's if its files are of several.
        fill: What stands in each band for missing numbers; by default the means of the sensor.

    Raises:
        UserError: If it can't be opened, it is unclear which band is which, its pixels aren't real
            numbers, or it can't be resampled.
    """
    bound_gdal_cache()
    _check_nodata(nodata)
    files = find_scene_files(path, sensor, bands)
    told = _Told(tuple(bands), conversion, nodata or ("0" if files.level else ""))
    if files.one_band_each:
        parts, channels = _open_band_files(files, sensor, told)
    else:
        parts, channels = _open_file(files.paths[0], sensor, told)
    size, georeference = find_grid(str(path), parts, files.others, sensor.resolution, resolution)
    rasters = tuple(part.raster for part in parts)
    found = [("bands", channels), *_describe_numbers(rasters, files.level, conversion)]
    return Scene(
        name=files.name,
        sensor=sensor,
        rasters=rasters,
        height=size[0],
        width=size[1],
        georeference=georeference,
        dtype=_find_dtype(rasters, bool(files.level) and conversion is None),
        fill=tuple(fill) or tuple(band.mean for band in sensor.bands),
        found=tuple(found),
    )


def _open_file(path: str, sensor: Sensor, told: _Told) -> tuple[list[Placed], str]:
    """Open a file that holds all bands; also says which is which."""
    with open_any_raster(path) as raster:
        names = name_raster_bands(raster, sensor)
        if told.bands:
            names = name_told_bands(names, told.bands, path, "bands")
        numbers = [str(number) for number in range(1, raster.count + 1)]
        channels = [index + 1 for index in choose_bands(names, sensor, path, "bands", numbers)]
        part = _describe(path, raster, sensor, channels, names, told)
    pairs = (f"{band} from band {n}" for band, n in zip(sensor.names, channels, strict=True))
    reason = "as --bands says" if told.bands else "as the file names them"
    return [part], f"{', '.join(pairs)} ({reason})"


def _open_band_files(files: SceneFiles, sensor: Sensor, told: _Told) -> tuple[list[Placed], str]:
    """Open files that hold a band each; also says which is which."""
    parts = []
    for index, path in enumerate(files.paths):
        band = replace(sensor, bands=sensor.bands[index : index + 1])
        with open_any_raster(path) as raster:
            names = (*band.names, *name_raster_bands(raster, band)[1:])
            if any(name != "alpha" for name in names[1:]):
                raise UserError(
                    f"file {path}: has {raster.count} bands; expected one, {band.names[0]}, as the "
                    "other files of the scene: give it alone, or move it away"
                )
            part = _describe(path, raster, band, [1], names, told)
        if files.offsets and told.conversion is None:
            offsets = files.offsets[index : index + 1]
            part = part._replace(raster=replace(part.raster, offsets=offsets))
        parts.append(part)
    pairs = (
        f"{band} from {Path(path).name}"
        for band, path in zip(sensor.names, files.paths, strict=True)
    )
    return parts, ", ".join(pairs)


def _describe(
    path: str,
    raster: Any,
    sensor: Sensor,
    channels: Sequence[int],
    names: Sequence[str],
    told: _Told,
) -> Placed:
    """Describe how the bands of `sensor` are read from a raster."""
    header = describe_raster(File(path, path), raster)
    header = header._replace(dtype=_find_real_dtype(path, raster, channels))
    is_alpha = bool(header.alpha) and names[header.alpha - 1] == "alpha"
    transparent = is_alpha and _is_transparency(raster, header)
    pixels = PixelFormat(
        bands=sensor.names,
        dtype=header.dtype,
        channels=tuple(channels),
        transparent=transparent,
        nodata=told.nodata,
        has_nodata=have_nodata([header], told.nodata, transparent),
    )
    offsets, scales = _find_conversion(path, raster, sensor, channels, told.conversion)
    cache = find_cache(raster, channels)
    return Placed(
        SceneRaster(path, header, pixels, offsets, scales, cache), Georeference.of(raster)
    )


def _find_real_dtype(path: str, raster: Any, channels: Sequence[int]) -> str:
    """Return a dtype that holds the numbers of some bands."""
    names = [raster.dtypes[number - 1] for number in channels]
    try:
        dtypes = [np.dtype(name) for name in names]
    except TypeError:  # complex integers, which NumPy doesn't have
        dtypes = [np.dtype(complex)]
    if any(dtype.kind not in "uif" for dtype in dtypes):
        raise UserError(f"file {path}: its pixels are {names[0]}; expected real numbers")
    return str(np.result_type(*dtypes))


def _is_transparency(raster: Any, header: Header) -> bool:
    """Return whether a band that is tagged as transparency is that, by pixels all over it."""
    samples: list[Sample] = []
    for count, (top, left, height, width) in enumerate(find_places(*header.size)):
        if count >= ENOUGH and any(sample.pixels.any() for sample in samples):
            break
        window = ((top, top + height), (left, left + width))
        try:
            alpha = raster.read([header.alpha], window=window)
        except RasterioError:  # raised again, with a message, when the scene is read
            continue
        samples.append(Sample(header._replace(alpha=1), alpha))
    is_empty = not any(sample.pixels.any() for sample in samples)
    return is_empty or is_transparency(samples)


def _find_conversion(
    path: str,
    raster: Any,
    sensor: Sensor,
    channels: Sequence[int],
    told: Conversion | None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Find what is added to the numbers of each band, and what they are divided by after that.

    A file's own scale and offset give physical values, of which a digital number of the sensor is
    `scale`.
    """
    if told is not None:
        return (told.offset,) * len(channels), (told.scale,) * len(channels)
    scales = [raster.scales[number - 1] for number in channels]
    offsets = [raster.offsets[number - 1] for number in channels]
    if not np.isfinite((*scales, *offsets)).all() or min(scales) <= 0:
        raise UserError(
            f"file {path}: has the scale {min(scales):g} and the offset {min(offsets):g}; expected "
            "finite ones, and a positive scale: say what its numbers mean with --scale and --offset"
        )
    if set(scales) == {1.0} and set(offsets) == {0.0}:
        return (0.0,) * len(channels), (1.0,) * len(channels)
    added = [
        round((offset - band.offset) / scale, 6)
        for band, scale, offset in zip(sensor.bands, scales, offsets, strict=True)
    ]
    divisors = [
        float(f"{band.scale / scale:.9g}") for band, scale in zip(sensor.bands, scales, strict=True)
    ]
    return tuple(added), tuple(divisors)


def _describe_numbers(
    rasters: Sequence[SceneRaster], level: str, told: Conversion | None
) -> list[tuple[str, str]]:
    """Say how numbers become digital numbers, and which pixels have no data."""
    origin = f"a product of level {level}" if level else "as the file says"
    raster = rasters[0]
    text = raster.header.dtype
    if raster.offsets[0]:
        text += f", {raster.offsets[0]:+g}"
    if raster.scales[0] != 1:
        text += f", divided by {raster.scales[0]:g}"
    if text != raster.header.dtype or level:
        text += f" ({'as --scale and --offset say' if told else origin})"
    found = [("numbers", text)]
    kinds = {
        f"value {raster.pixels.nodata}": raster.pixels.nodata not in ("", "none"),
        f"value {raster.header.nodata[0] or 0:g}": not raster.pixels.nodata
        and raster.header.nodata[0] is not None,
        "a mask": raster.header.has_mask or raster.header.has_band_masks,
        f"band {raster.header.alpha}, transparency": raster.pixels.transparent,
        "NaN": raster.header.dtype.startswith("float"),
    }
    if present := [kind for kind, is_present in kinds.items() if is_present]:
        found.append(("no data", ", ".join(present)))
    return found


def _find_dtype(rasters: Sequence[SceneRaster], is_product: bool) -> str:
    """Return the dtype of a scene's image."""
    dtype = str(np.result_type(*(raster.header.dtype for raster in rasters)))
    is_converted = any(any(r.offsets) or set(r.scales) != {1.0} for r in rasters)
    return dtype if dtype in _STORED and (is_product or not is_converted) else "float32"


def _check_nodata(nodata: str) -> None:
    try:
        float("nan" if nodata in ("", "none") else nodata)
    except ValueError as error:
        raise UserError(f"--nodata: found {nodata!r}; expected a number, nan, or none") from error
