"""Sentinel-2 products as ESA ships them: folders, or zip archives, whose names end with `.SAFE`.

Their numbers are converted by the product's metadata: since baseline 04.00, 1000 has been added to
the reflectances times 10,000, and 0 stands for no data before the addition is undone.
"""

import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File

__all__ = ["Product", "find_products"]

_FILE = re.compile(
    r"(?:.*/)?(?P<product>[^/]+\.SAFE)/GRANULE/(?P<granule>[^/]+)/IMG_DATA/(?:R\d0m/)?"
    r"[^/]*_(?P<band>B\d[\dA])(?:_(?P<resolution>\d0)m)?\.jp2",
    re.IGNORECASE,
)
# The bands in the order of the metadata's `band_id`.
_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_QUANTIFICATION = {"L2A": "BOA_QUANTIFICATION_VALUE", "L1C": "QUANTIFICATION_VALUE"}
_OFFSET = {"L2A": "BOA_ADD_OFFSET", "L1C": "RADIO_ADD_OFFSET"}
_EXPECTED_QUANTIFICATION = 10_000


class Product(NamedTuple):
    """A granule of a product.

    Attributes:
        files: The file of each band, of the finest resolution that the product has.
        offset: Added to the numbers of each file, 0 before baseline 04.00.
        level: Processing level, `L1C` or `L2A`.
    """

    files: tuple[File, ...]
    offset: tuple[float, ...]
    level: str


def find_products(files: Sequence[File], bands: Sequence[str]) -> list[Product]:
    """Find the granules of products among image files.

    Args:
        files: The image files.
        bands: Names of the bands, such as `B04`, in order.

    Returns:
        The granules, in the order of their names; none if no file is of a product.

    Raises:
        UserError: If a granule lacks a band, or its product's metadata can't be read.
    """
    found: dict[str, dict[str, tuple[int, File]]] = {}
    for file in files:
        if match := _FILE.fullmatch(file.relative):
            granule = file.relative[: match.end("granule")]
            band, resolution = match["band"].upper(), int(match["resolution"] or 10)
            known = found.setdefault(granule, {}).setdefault(band, (resolution, file))
            if resolution < known[0]:
                found[granule][band] = resolution, file
    products = []
    for granule, of_band in sorted(found.items()):
        missing = [band for band in bands if band not in of_band]
        if missing:
            raise UserError(
                f"product {granule}: lacks {', '.join(missing)}; found {', '.join(of_band)}; "
                "expected a complete product: download it again"
            )
        any_file = next(iter(of_band.values()))[1]
        level, offsets = _read_metadata(any_file)
        products.append(
            Product(
                tuple(of_band[band][1] for band in bands),
                tuple(offsets.get(band, 0.0) for band in bands),
                level,
            )
        )
    return products


def _read_metadata(file: File) -> tuple[str, Mapping[str, float]]:
    """Read the level, and the offset of each band, from the metadata of a file's product.

    Raises:
        UserError: If they can't be read, or the quantification is not 10,000.
    """
    path, content, level = _find_metadata(file)
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise UserError(f"file {path}: is no XML ({error}); download the product again") from error
    values = [float(e.text or 0) for e in root.iter() if e.tag == _QUANTIFICATION[level]]
    if values != [_EXPECTED_QUANTIFICATION]:
        raise UserError(
            f"file {path}: has the {_QUANTIFICATION[level]} {values}; expected "
            f"{_EXPECTED_QUANTIFICATION}"
        )
    offsets = {
        _BANDS[int(e.get("band_id", 0))]: float(e.text or 0)
        for e in root.iter()
        if e.tag == _OFFSET[level]
    }
    return level, offsets


def _find_metadata(file: File) -> tuple[str, bytes, str]:
    """Find the metadata of a file's product: its path, content and level."""
    inside = PurePosixPath(file.member or file.path)
    root = next(parent for parent in inside.parents if parent.suffix.casefold() == ".safe")
    for level in _QUANTIFICATION:
        name = root / f"MTD_MSI{level}.xml"
        try:
            if file.member:
                with zipfile.ZipFile(file.path) as archive:
                    return f"{file.path}/{name}", archive.read(str(name)), level
            return str(name), Path(name).read_bytes(), level
        except (FileNotFoundError, KeyError):
            continue
    raise UserError(
        f"product {root}: lacks MTD_MSIL2A.xml or MTD_MSIL1C.xml, which say what its numbers mean; "
        "expected a complete product: download it again"
    )
