"""What a build assumes of image files, in words, for the user to check."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.bands import name_bands
from data_pipelines.errors import UserError
from data_pipelines.imagery.headers import Header
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.imagery.values import Sample

__all__ = [
    "describe_channels",
    "describe_differences",
    "describe_nodata",
    "describe_numbers",
    "have_nodata",
    "refuse_unknown_scale",
]

# Share of the values beyond physical value 1 from which an assumed scale is doubted.
_CUT = 0.05


def describe_channels(header: Header, pixels: PixelFormat, given: bool) -> str:
    """Describe which band of a file is taken for which, and why.

    Args:
        header: Header of the file.
        pixels: How its pixels are read.
        given: Whether the user named the bands.
    """
    found = pixels.find_channels(header)
    pairs = ", ".join(f"{band} from band {n}" for band, n in zip(pixels.bands, found, strict=True))
    names = name_bands(header.names)
    if pixels.channels:
        reason = "as --config.channels says"
    elif all(names[number - 1] for number in found):
        reason = f"as the file names them {', '.join(header.names[n - 1] for n in found)}"
    elif given:
        reason = "in the order of the config; the files name none"
    else:
        reason = "assumed, because the files name none; --config.bands says otherwise"
    unused = [n for n in range(1, header.num_bands + 1) if n not in found]
    if pixels.transparent and header.alpha in unused:
        unused.remove(header.alpha)
        reason += f"; band {header.alpha} is transparency, and where it is 0 there is no data"
    if unused:
        reason += f"; not read: band {', '.join(map(str, unused))} of {header.num_bands}"
    return f"{pairs} ({reason})"


def describe_numbers(
    pixels: PixelFormat, scale: float, given_scale: float, samples: Sequence[Sample]
) -> str:
    """Describe how numbers become physical values, and doubt an assumed scale.

    Args:
        pixels: How the pixels are read.
        scale: Physical units per stored number.
        given_scale: Physical units per number of the files, if the user gave it, else 0.
        samples: Some pixels of the files.
    """
    unit = "1/255" if scale == 1 / 255 else f"{scale:g}"
    origin = "--config.scale" if given_scale else "assumed"
    offset = f", after adding {pixels.offset:g}" if pixels.offset else ""
    if pixels.dtype != pixels.stored_dtype:
        return (
            f"{pixels.dtype}{offset}, of {given_scale:g} each ({origin}), stored as "
            f"{pixels.stored_dtype} of {unit} each"
        )
    text = f"{pixels.dtype}{offset}, of {unit} each ({origin})"
    values = [sample.pixels for sample in samples if sample.header.dtype == pixels.dtype]
    if given_scale or not values:
        return text
    share = np.mean([np.mean((v + pixels.offset) * scale > 1) for v in values])
    if share < _CUT:
        return text
    high = max(int(v.max()) for v in values)
    return (
        f"{text}; but {share:.0%} of the values are above {1 / scale:,.0f}, which is physical "
        f"value 1, and would be cut (the highest is {high:,}): expected --config.scale="
        f"{1 / (2 ** high.bit_length() - 1):.5g} for images stretched to that range, or "
        f"--config.scale={scale:g} if it is right"
    )


def describe_differences(headers: Sequence[Header], typical: Header) -> list[tuple[str, str]]:
    """Describe the files whose bands or dtype are not those of the typical one.

    Returns:
        No or one pair of a subject and details.
    """
    kind = (typical.num_bands, typical.dtype, typical.names)
    others = [h for h in headers if (h.num_bands, h.dtype, h.names) != kind]
    if not others:
        return []
    names = f" ({', '.join(others[0].names)})" if any(others[0].names) else ""
    details = (
        f"{len(others):,} of {len(headers):,} have other bands or dtypes than "
        f"{typical.file.name}, such as {others[0].file}: {others[0].num_bands} of "
        f"{others[0].dtype}{names}"
    )
    return [("other files", details)]


def have_nodata(headers: Sequence[Header], nodata: str, transparent: bool) -> bool:
    """Return whether some files may have pixels without data.

    Args:
        headers: Headers of the files.
        nodata: Value of such pixels, `none`, or empty for what the files say.
        transparent: Whether bands that are tagged as transparency are that.
    """
    declared = not nodata and any(v is not None for header in headers for v in header.nodata)
    return nodata not in ("", "none") or any(
        declared
        or h.has_mask
        or h.has_band_masks
        or (transparent and h.alpha)
        or h.dtype.startswith("float")
        for h in headers
    )


def describe_nodata(headers: Sequence[Header], pixels: PixelFormat) -> list[tuple[str, str]]:
    """Describe which pixels have no data.

    Returns:
        No or one pair of a subject and details.
    """
    if not pixels.has_nodata:
        return []
    values = sorted({f"{v:g}" for h in headers for v in h.nodata if v is not None})
    declaring = sum(any(v is not None for v in h.nodata) for h in headers)
    masked = sum(h.has_mask or h.has_band_masks for h in headers)
    kinds = {
        f"--config.nodata={pixels.nodata}": pixels.nodata not in ("", "none"),
        f"value {', '.join(values)} of {declaring:,} of {len(headers):,} files": (
            not pixels.nodata and declaring
        ),
        f"masks of {masked:,} files": masked,
        "transparency": pixels.transparent,
        "NaN": any(h.dtype.startswith("float") for h in headers),
    }
    present = ", ".join(kind for kind, is_present in kinds.items() if is_present)
    return [("no data", f"by {present}: of no class, and not measured")]


def refuse_unknown_scale(typical: Header, samples: Sequence[Sample]) -> float:
    """Raise an error with the scale that numbers of an unusual dtype seem to have.

    Args:
        typical: Header of a file.
        samples: Some pixels of the files.

    Raises:
        UserError: Always.
    """
    nodata = [v for v in typical.nodata if v is not None]
    values = np.concatenate([s.pixels.astype(np.float64).ravel() for s in samples] or [np.zeros(1)])
    values = values[np.isfinite(values) & ~np.isin(values, nodata)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    bulk = float(np.quantile(values, 0.99)) if values.size else 0.0
    limits = ((2, "1"), (120, "0.01"), (255, "0.00392157"), (30_000, "1e-4"))
    guess = next((text for limit, text in limits if bulk <= limit), f"{1 / bulk:.3g}")
    hint = " --config.nodata=VALUE" if low < -0.2 * abs(bulk) else ""
    raise UserError(
        f"file {typical.file}: its pixels are {typical.dtype}, {low:g} to {high:g}; expected uint8 "
        f"or uint16, or the reflectance of a number 1, here probably --config.scale={guess}{hint} "
        "(and --config.offset, which is added before)"
    )
