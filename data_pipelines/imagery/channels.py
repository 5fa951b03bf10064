"""Which bands of a file hold the bands of a dataset: by the file's names, else by their order."""

from collections.abc import Sequence

from data_pipelines.bands import default_bands, name_bands
from data_pipelines.errors import UserError
from data_pipelines.imagery.headers import Header

__all__ = ["find_bands", "find_channels"]


def find_bands(header: Header, transparent: bool) -> tuple[str, ...]:
    """Return the names of the bands that a file holds: its own, else the usual ones.

    Args:
        header: Header of the file.
        transparent: Whether a band that is tagged as transparency is that.

    Raises:
        UserError: If the file names no band, and there is no usual order of as many.
    """
    named = tuple(name for name in name_bands(header.names) if name)
    return named or default_bands(header.file, _count_bands(header, transparent))


def find_channels(
    header: Header, bands: Sequence[str], channels: Sequence[int], transparent: bool
) -> tuple[int, ...]:
    """Find the bands of a file that hold the bands of a dataset.

    Args:
        header: Header of the file.
        bands: Names of the dataset's bands.
        channels: Numbers, from 1, of the file's bands that hold them, as the user says; empty to go
            by the names in the file, or, if it has none, by their order.
        transparent: Whether a band that is tagged as transparency is that.

    Returns:
        The number, from 1, of the file's band that holds each.

    Raises:
        UserError: If the file lacks one, or which one holds which is ambiguous.
    """
    count = _count_bands(header, transparent)
    leading = tuple(range(1, len(bands) + 1))
    if channels:
        if max(channels) > header.num_bands:
            raise UserError(
                f"file {header.file}: has {_plural(header.num_bands)}; expected {max(channels)} "
                f"for --config.channels={','.join(map(str, channels))}"
            )
        return tuple(channels)
    names = name_bands(header.names)
    if any(names):
        if set(bands) <= set(names):
            return tuple(names.index(band) + 1 for band in bands)
        if len(bands) > count or any(n not in ("", b) for n, b in zip(names, bands, strict=False)):
            lacking = ", ".join(band for band in bands if band not in names)
            raise UserError(
                f"file {header.file}: names its bands {', '.join(header.names)}, none of them "
                f"{lacking}; expected --config.bands of these names, or the numbers of the "
                f"file's bands that hold {', '.join(bands)}, as --config.channels=1,2,…"
            )
        return leading
    if len(bands) > count:
        hint = ""
        if count < header.num_bands:
            hint = (
                f"; its band {header.alpha} is transparency: leave it out with --config.bands, or, "
                f"if it holds {bands[-1]}, set --config.channels"
            )
        raise UserError(
            f"file {header.file}: has {_plural(count)}; expected {len(bands)} "
            f"({', '.join(bands)}){hint}"
        )
    if count in (3, 4) and len(bands) < count:
        usual = default_bands(header.file, count)
        if tuple(bands) != usual[: len(bands)]:
            raise UserError(
                f"file {header.file}: has {_plural(count)} without names; expected --config.bands "
                f"with all {count} names in the file's order, or the leading ones, such as "
                f"{','.join(usual[: len(bands)])}, or --config.channels with the numbers of the "
                f"file's bands that hold {', '.join(bands)}"
            )
    return leading


def _count_bands(header: Header, transparent: bool) -> int:
    return header.num_bands - (transparent and header.alpha > 0)


def _plural(count: int) -> str:
    return f"{count} band{'s' * (count != 1)}"
