"""A look at all files of a folder before they are read: what is common to them, and what isn't."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.bands import Sensor, default_scale, make_sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.imagery.channels import describe_channels, find_bands
from data_pipelines.imagery.headers import Header, read_headers
from data_pipelines.imagery.pixels import STORED_DTYPES, PixelFormat
from data_pipelines.imagery.values import Sample, is_transparency, sample_pixels, select_evenly

__all__ = ["ImageFields", "ImageFiles", "survey_images"]

# Limits on the files whose headers, and whose pixels, are looked at.
_MAX_HEADERS, _MAX_SAMPLES = 2000, 8
# Physical units per stored number of images whose own numbers aren't stored.
_STORED_SCALE = 1e-4
# Share of the values beyond physical value 1 from which an assumed scale is doubted.
_CUT = 0.05


class ImageFields(NamedTuple):
    """The fields of a builder's config that say what its image files hold.

    Attributes:
        name: Name of the config.
        bands: Names of the bands; empty for those of the files.
        channels: Numbers, from 1, of the files' bands that hold them; empty to find them.
        sensor: Name of one of `bands.SENSORS`; empty for a new sensor.
        resolution: Ground sampling distance in metres; 0 for the sensor's, or the files'.
        dtype: Dtype of the files' pixels; empty for the commonest.
        scale: Physical units per number of the files, after `offset`; 0 for the usual ones.
        offset: Added to the files' numbers.
        nodata: Value of pixels without data, `none`, or empty for what the files say.
    """

    name: str
    bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    sensor: str = ""
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
    headers, errors = read_headers(select_evenly(files, _MAX_HEADERS))
    if not headers:
        raise UserError(next(iter(errors.values())))
    typical = _find_typical(headers)
    samples = sample_pixels(select_evenly([h.file for h in headers], _MAX_SAMPLES))
    transparent = is_transparency(samples) and not (
        typical.alpha and typical.alpha in fields.channels
    )
    _check_fields(fields)
    names = fields.bands or find_bands(typical, transparent)
    if fields.channels and len(fields.channels) != len(names):
        raise UserError(
            f"--config.channels: found {len(fields.channels)} numbers; expected one for each of "
            f"the bands {', '.join(names)}"
        )
    pixels = PixelFormat(
        bands=names,
        dtype=fields.dtype or typical.dtype,
        channels=fields.channels,
        transparent=transparent,
        nodata=fields.nodata,
        has_nodata=_have_nodata(headers, fields, transparent),
        offset=fields.offset,
    )
    pixels.check(typical)
    if not _is_real(pixels.dtype):
        raise UserError(
            f"file {typical.file}: its pixels are {pixels.dtype}; expected real numbers"
        )
    scale = fields.scale
    if pixels.dtype not in STORED_DTYPES:
        scale = scale or _refuse_unknown_scale(typical, pixels, samples)
        pixels = dataclasses.replace(pixels, factor=scale / _STORED_SCALE)
        scale = _STORED_SCALE
    scale = scale or default_scale(pixels.dtype)
    resolution = fields.resolution or (0.0 if fields.sensor else typical.resolution)
    sensor = make_sensor(fields.name, names, resolution, scale, fields.sensor)
    pixels = dataclasses.replace(pixels, bands=sensor.names)
    found = [
        ("bands", describe_channels(typical, sensor.names, pixels.channels, transparent,
                                    bool(fields.bands))),
        ("numbers", _describe_numbers(pixels, fields, scale, samples)),
        *_describe_differences(headers, typical),
    ]  # fmt: skip
    if pixels.has_nodata:
        found.append(("no data", _describe_nodata(headers, fields, transparent)))
    if len(headers) + len(errors) < len(files):
        found.append(("headers", f"of {len(headers) + len(errors):,} of {len(files):,} files read"))
    size = Counter(header.size for header in headers).most_common(1)[0][0]
    return ImageFiles(sensor, pixels, size, tuple(headers), tuple(found))


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


def _have_nodata(headers: Sequence[Header], fields: ImageFields, transparent: bool) -> bool:
    """Return whether some files may have pixels without data."""
    declared = fields.nodata not in ("", "none") or (
        not fields.nodata and any(value is not None for h in headers for value in h.nodata)
    )
    masked = any(h.has_mask or (transparent and h.alpha) for h in headers)
    return declared or masked or any(h.dtype.startswith("float") for h in headers)


def _describe_nodata(headers: Sequence[Header], fields: ImageFields, transparent: bool) -> str:
    values = sorted({f"{v:g}" for h in headers for v in h.nodata if v is not None})
    kinds = []
    if fields.nodata:
        kinds.append(f"--config.nodata={fields.nodata}")
    elif values:
        count = sum(any(v is not None for v in h.nodata) for h in headers)
        kinds.append(f"value {', '.join(values)} of {count:,} of {len(headers):,} files")
    if masked := sum(h.has_mask for h in headers):
        kinds.append(f"masks of {masked:,} files")
    if transparent:
        kinds.append("transparency")
    if any(h.dtype.startswith("float") for h in headers):
        kinds.append("NaN")
    return f"by {', '.join(kinds)}: of no class, and not measured"


def _describe_differences(headers: Sequence[Header], typical: Header) -> list[tuple[str, str]]:
    """Describe the files whose bands or dtype are not those of the typical one."""
    kind = (typical.num_bands, typical.dtype, typical.names)
    others = [h for h in headers if (h.num_bands, h.dtype, h.names) != kind]
    if not others:
        return []
    first = others[0]
    names = f" ({', '.join(first.names)})" if any(first.names) else ""
    return [(
        "other files",
        f"{len(others):,} of {len(headers):,} have other bands or dtypes than {typical.file.name}, "
        f"such as {first.file}: {first.num_bands} of {first.dtype}{names}",
    )]  # fmt: skip


def _describe_numbers(
    pixels: PixelFormat, fields: ImageFields, scale: float, samples: Sequence[Sample]
) -> str:
    """Describe how numbers become physical values, and doubt an assumed scale."""
    unit = "1/255" if scale == 1 / 255 else f"{scale:g}"
    origin = "--config.scale" if fields.scale else "assumed"
    offset = f", after adding {fields.offset:g}" if fields.offset else ""
    if pixels.factor != 1:
        return (
            f"{pixels.dtype}{offset}, times {fields.scale:g} ({origin}), stored as uint16 in "
            f"units of {unit}"
        )
    text = f"{pixels.dtype}{offset}, of {unit} each ({origin})"
    values = [s.pixels for s in samples if s.header.dtype == pixels.dtype]
    if fields.scale or not values:
        return text
    share = np.mean([np.mean((v + pixels.offset) * scale > 1) for v in values])
    if share < _CUT:
        return text
    high = max(int(v.max()) for v in values)
    return (
        f"{text}; but {share:.0%} of the values are above {1 / scale:,.0f}, which is physical "
        f"value 1, and would be cut (the highest is {high:,}): expected --config.scale="
        f"{1 / (2 ** int(high).bit_length() - 1):.6g} for images stretched to that range, or "
        f"--config.scale={scale:g} if it is right"
    )


def _refuse_unknown_scale(typical: Header, pixels: PixelFormat, samples: Sequence[Sample]) -> float:
    """Raise an error with the scale that numbers of an unusual dtype seem to have."""
    nodata = [v for v in typical.nodata if v is not None]
    values = np.concatenate([s.pixels.astype(np.float64).ravel() for s in samples] or [np.zeros(1)])
    values = values[np.isfinite(values) & ~np.isin(values, nodata)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    bulk = float(np.quantile(values, 0.99)) if values.size else 0.0
    limits = ((2, "1"), (120, "0.01"), (255, "0.00392157"), (30_000, "1e-4"))
    guess = next((text for limit, text in limits if bulk <= limit), f"{1 / bulk:.3g}")
    hint = " --config.nodata=VALUE" if low < -0.2 * abs(bulk) else ""
    raise UserError(
        f"file {typical.file}: its pixels are {pixels.dtype}, {low:g} to {high:g}; expected uint8 "
        f"or uint16, or the reflectance of a number 1, here probably --config.scale={guess}{hint} "
        "(and --config.offset, which is added before)"
    )
