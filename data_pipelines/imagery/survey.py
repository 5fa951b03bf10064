"""A look at all files of a folder before they are read: what is common to them, and what isn't."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.bands import Sensor, default_scale, make_sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.imagery.channels import find_bands
from data_pipelines.imagery.descriptions import (
    describe_channels,
    describe_differences,
    describe_nodata,
    describe_numbers,
    have_nodata,
    refuse_unknown_scale,
)
from data_pipelines.imagery.headers import Header, read_headers
from data_pipelines.imagery.pixels import STORED_DTYPES, STORED_SCALE, PixelFormat
from data_pipelines.imagery.values import Sample, is_transparency, sample_pixels, select_evenly

__all__ = ["ImageFields", "ImageFiles", "describe_reading", "require_files", "survey_images"]

# Limits on the files whose headers, and whose pixels, are looked at.
_MAX_HEADERS, _MAX_SAMPLES = 2000, 8


class ImageFields(NamedTuple):
    """The fields of a builder's config that say what its image files hold.

    Attributes:
        name: Name of the config.
        bands: Names of the bands; empty for those of the files.
        channels: Numbers, from 1, of the files' bands that hold them; empty to find them.
        sensor: The sensor, or its name in `bands.SENSORS`; empty for a new one.
        resolution: Ground sampling distance in metres; 0 for the sensor's, or the files'.
        dtype: Dtype of the files' pixels; empty for the commonest.
        scale: Physical units per number of the files, after `offset`; 0 for the usual ones.
        offset: Added to the files' numbers.
        nodata: Value of pixels without data, `none`, or empty for what the files say.
    """

    name: str
    bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    sensor: str | Sensor = ""
    resolution: float = 0.0
    dtype: str = ""
    scale: float = 0.0
    offset: float = 0.0
    nodata: str = ""

    @classmethod
    def of(cls, config: Any) -> "ImageFields":
        """Return the fields of a config that has all of them."""
        return cls(**{name: getattr(config, name) for name in cls._fields})


@dataclass(frozen=True)
class ImageFiles:
    """What the image files of a folder hold.

    Attributes:
        sensor: The sensor, with the bands of the dataset.
        format: How pixels are read.
        size: The commonest height and width, in pixels.
        headers: Headers of the files that were looked at.
        found: (subject, details) pairs for the user.
    """

    sensor: Sensor
    format: PixelFormat
    size: tuple[int, int]
    headers: tuple[Header, ...] = field(repr=False)
    found: tuple[tuple[str, str], ...]


def require_files(files: ImageFiles | None, dataset: str, instructions: str) -> ImageFiles:
    """Return what the image files hold, which is known once the user has said where they are.

    Args:
        files: What they hold; None without a folder.
        dataset: Name of the dataset, for the error message.
        instructions: What the folder should hold.

    Raises:
        UserError: If there is no folder.
    """
    if files is None:
        raise UserError(
            f"dataset {dataset}: reads your own files; expected --manual_dir with {instructions}"
        )
    return files


def describe_reading(
    config: Any, names: Iterable[str], pixels: PixelFormat | None = None
) -> dict[str, Any]:
    """Describe the fields of a config that change the stored pixels, as metadata of a dataset.

    With them stored, a dataset is not taken for one with other fields.

    Args:
        config: The config.
        names: Names of such fields; those with their default value are left out.
        pixels: How pixels are read, if `scale` matters only where it is the factor of these.

    Returns:
        The metadata `reading`, or nothing if there is no such field.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    given = {name: getattr(config, name) for name in names}
    reading = {name: value for name, value in given.items() if value != defaults[name]}
    if pixels is not None and pixels.factor != 1:
        reading["scale"] = config.scale
    return {"reading": reading} if reading else {}


def survey_images(files: Sequence[File], fields: ImageFields) -> ImageFiles:
    """Look at the image files of a dataset.

    Args:
        files: The files.
        fields: What the config says of them.

    Returns:
        What they hold.

    Raises:
        UserError: If none can be opened, their bands or numbers have no meaning that is known, or
            a field of the config is invalid.
    """
    _check_fields(fields)
    headers, errors = read_headers(select_evenly(files, _MAX_HEADERS))
    if not headers:
        raise UserError(next(iter(errors.values())))
    typical = _find_typical(headers)
    samples = sample_pixels(select_evenly([h.file for h in headers], _MAX_SAMPLES))
    pixels = _make_format(headers, typical, samples, fields)
    scale = fields.scale
    if pixels.dtype not in STORED_DTYPES:
        scale = scale or refuse_unknown_scale(typical, samples)
        pixels = dataclasses.replace(pixels, factor=scale / STORED_SCALE)
        scale = STORED_SCALE
    if isinstance(fields.sensor, Sensor):
        scale = scale or fields.sensor.bands[0].scale
    scale = scale or default_scale(pixels.dtype)
    resolution = fields.resolution or (0.0 if fields.sensor else typical.resolution)
    sensor = make_sensor(fields.name, pixels.bands, resolution, scale, fields.sensor)
    found = [
        ("bands", describe_channels(typical, pixels, bool(fields.bands))),
        ("numbers", describe_numbers(pixels, scale, fields.scale, samples)),
        *describe_differences(headers, typical),
        *describe_nodata(headers, pixels),
    ]
    if len(headers) + len(errors) < len(files):
        found.append(("headers", f"of {len(headers) + len(errors):,} of {len(files):,} files read"))
    size = Counter(header.size for header in headers).most_common(1)[0][0]
    return ImageFiles(sensor, pixels, size, tuple(headers), tuple(found))


def _make_format(
    headers: Sequence[Header], typical: Header, samples: Sequence[Sample], fields: ImageFields
) -> PixelFormat:
    """Make the format of pixels, whose numbers are not converted yet."""
    transparent = is_transparency(samples) and not (
        typical.alpha and typical.alpha in fields.channels
    )
    names = fields.bands or find_bands(typical, transparent)
    if fields.channels and len(fields.channels) != len(names):
        raise UserError(
            f"--config.channels: found {len(fields.channels)} numbers; expected one for each of "
            f"the bands {', '.join(names)}"
        )
    pixels = PixelFormat(
        bands=make_sensor(fields.name, names, 0.0, 1.0, fields.sensor).names,
        dtype=fields.dtype or typical.dtype,
        channels=fields.channels,
        transparent=transparent,
        nodata=fields.nodata,
        has_nodata=have_nodata(headers, fields.nodata, transparent),
        offset=fields.offset,
    )
    pixels.check(typical)
    if not _is_real(pixels.dtype):
        raise UserError(
            f"file {typical.file}: its pixels are {pixels.dtype}; expected real numbers"
        )
    return pixels


def _check_fields(fields: ImageFields) -> None:
    try:
        float("nan" if fields.nodata in ("", "none") else fields.nodata)
    except ValueError as error:
        raise UserError(
            f"--config.nodata: found {fields.nodata!r}; expected a number, nan, or none"
        ) from error
    if fields.scale < 0 or not np.isfinite((fields.scale, fields.offset)).all():
        raise UserError(
            f"--config.scale, --config.offset: found {fields.scale:g} and {fields.offset:g}; "
            "expected a positive and a finite number"
        )
    if not all(isinstance(n, int) and n > 0 for n in fields.channels):
        raise UserError(
            f"--config.channels: found {fields.channels}; expected numbers of bands, from 1"
        )
    if fields.dtype and not _is_real(fields.dtype):
        raise UserError(
            f"--config.dtype: found {fields.dtype!r}; expected uint8 or uint16, or another dtype "
            "of real numbers together with --config.scale"
        )


def _is_real(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "uif"
    except TypeError:
        return False


def _find_typical(headers: Sequence[Header]) -> Header:
    """Return the first header of the commonest bands and dtype."""
    kinds = Counter((h.num_bands, h.dtype, h.names) for h in headers)
    kind = kinds.most_common(1)[0][0]
    return next(h for h in headers if (h.num_bands, h.dtype, h.names) == kind)
