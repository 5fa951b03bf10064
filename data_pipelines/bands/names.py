"""Names that files give to their bands, such as `B4`, `B04_10m` or `Red`, as common names."""

import re
from collections.abc import Sequence

from data_pipelines.bands.files import COMMON_BANDS
from data_pipelines.bands.sensors import SENTINEL2_L1C

__all__ = ["common_band_name", "name_bands"]

# A Sentinel-2 band, with or without the leading zero and the resolution.
_SENTINEL2 = re.compile(r"b0?([1-9]|1[0-2]|8a)(?:_[1-6]0m)?", re.IGNORECASE)
# Names of Landsat 8 and 9 which mean another band there: only further ones tell the sensors apart.
_SHARED_WITH_LANDSAT = frozenset(("B01", "B02", "B03", "B04", "B05", "B06", "B07"))


def common_band_name(name: str) -> str:
    """Return the common name of a band that is named by it or as Sentinel-2 does; else empty.

    Args:
        name: A name in any case, such as `NIR`, `nir`, `B8`, `B08` or `B08_10m`.
    """
    name = name.strip()
    if match := _SENTINEL2.fullmatch(name):
        name = f"B{match[1].upper():0>2}"
    bands = (*COMMON_BANDS.bands, *SENTINEL2_L1C.bands)
    return next((band.name for band in bands if band.has_name(name)), "")


def name_bands(descriptions: Sequence[str]) -> tuple[str, ...]:
    """Return the common names of a file's bands, given what the file calls them.

    Args:
        descriptions: What the file calls its bands, in its order; empty where it says nothing.

    Returns:
        A name for each band; empty where the description is no name. Numbers that only count the
        bands (`B1`, `B2`, `B3`), names that occur twice, and those that Landsat and Sentinel-2 give
        to different bands are no names.
    """
    matches = [_SENTINEL2.fullmatch(text.strip()) for text in descriptions]
    numbered = [f"B{match[1].upper():0>2}" for match in matches if match]
    counts = [f"B{number + 1:02}" for number in range(len(descriptions))]
    is_landsat_like = "B05" in numbered and _SHARED_WITH_LANDSAT.issuperset(numbered)
    if numbered == counts or is_landsat_like:
        descriptions = [
            "" if match else text for match, text in zip(matches, descriptions, strict=True)
        ]
    names = tuple(common_band_name(text) for text in descriptions)
    return tuple(name if names.count(name) == 1 else "" for name in names)
