"""Cloud Optimized GeoTIFFs of finished blocks, with their classes' names and colours.

GDAL reads the blocks through a mosaic (VRT), which also says what it can't be told otherwise: names
of classes, which it writes to the `.aux.xml` beside, and control points. The bytes depend on the
pixels alone, not on the blocks or the number of threads.
"""

import errno
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil

from data_pipelines.errors import UserError
from data_pipelines.files.rasters import bound_gdal_cache, open_raster
from data_pipelines.imagery.georeferences import Georeference
from ssl_jax.maps.blocks import Block, block_path, explain_write_error
from ssl_jax.maps.layers import NODATA, Layer

__all__ = ["SIDE_CAR", "assemble_layer"]

SIDE_CAR = ".aux.xml"
# Side of the tiles of a map, in pixels.
_TILE = 512
# Bytes that a map and its temporary overviews take, per byte of its blocks, and besides.
_DISK_FACTOR, _DISK_BYTES = 2.5, 2**20


def assemble_layer(
    folder: Path,
    layer: Layer,
    blocks: Iterable[Block],
    size: tuple[int, int],
    georeference: Georeference,
    target: Path,
    tags: Mapping[str, str],
    threads: int = 0,
) -> None:
    """Write a layer as a Cloud Optimized GeoTIFF with overviews, from its blocks.

    Args:
        folder: The folder of blocks, on the disk of `target`, where temporary files are written.
        layer: The layer.
        blocks: The blocks, which cover the map once.
        size: Height and width of the map, in pixels.
        georeference: What places it.
        target: The file to write; one that is there is replaced once the new one is complete.
        tags: Text to store in the file, by name.
        threads: Number of threads that compress; 0 for one per core. It doesn't change the file.

    Raises:
        UserError: If the disk is full or can't be written, or a block can't be read.
        ValueError: If the blocks don't cover the map once.
    """
    blocks = sorted(blocks)
    if sum(block.height * block.width for block in blocks) != size[0] * size[1]:
        raise ValueError(f"layer {layer.name}: {len(blocks)} blocks don't cover {size} pixels once")
    paths = [block_path(folder, layer.name, block) for block in blocks]
    mosaic, temporary = folder / f"{layer.name}.vrt", folder / target.name
    bound_gdal_cache()
    try:
        _check_room(folder, paths)
        root = _describe_mosaic(layer, blocks, size, georeference, tags)
        mosaic.write_bytes(ET.tostring(root, "utf-8"))
        _copy(mosaic, temporary, layer, paths, threads or len(os.sched_getaffinity(0)))
        _check_complete(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        sidecar = Path(f"{temporary}{SIDE_CAR}")
        if sidecar.exists():
            sidecar.replace(f"{target}{SIDE_CAR}")
        temporary.replace(target)
    except OSError as error:
        raise explain_write_error(target.parent, error) from error


def _check_room(folder: Path, paths: Sequence[Path]) -> None:
    """Check that there is room for a map of some blocks, before GDAL fills the disk."""
    needed = _DISK_FACTOR * sum(path.stat().st_size for path in paths) + _DISK_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"{free / 1e6:,.0f} MB are free, the map takes {needed / 1e6:,.0f}"
        raise OSError(errno.ENOSPC, text)


def _copy(mosaic: Path, target: Path, layer: Layer, paths: Sequence[Path], threads: int) -> None:
    options = {
        "COMPRESS": "DEFLATE",
        "BLOCKSIZE": str(_TILE),
        "OVERVIEW_RESAMPLING": layer.overview_resampling,
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(threads),
    }
    try:
        with rasterio.Env(GDAL_NUM_THREADS=str(threads)):
            rasterio.shutil.copy(str(mosaic), str(target), driver="COG", **options)
    except Exception as error:  # GDAL's own errors aren't published, and rasterio has no common one
        _check_room(target.parent, paths)
        raise UserError(
            f"file {target.name}: can't be made of the blocks in {target.parent / layer.name} "
            f"({' '.join(str(error).split())}); delete that folder and give the same command again"
        ) from error


def _check_complete(path: Path) -> None:
    """Check that all tiles of a TIFF file lie in it: GDAL is silent if its last write fails.

    Raises:
        OSError: If one is missing, since the disk is full.
    """
    end = path.stat().st_size
    try:
        with open_raster(path) as raster:
            factors = (None, *range(len(raster.overviews(1))))
            sizes = [raster.shape, *(_shrink(raster.shape, f) for f in raster.overviews(1))]
            for level, (height, width) in zip(factors, sizes, strict=True):
                for row, column in np.ndindex(-(-height // _TILE), -(-width // _TILE)):
                    start, length = (
                        raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", 1, level)
                        for what in ("OFFSET", "SIZE")
                    )
                    if int(start or end) + int(length or 0) > end:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except UserError as error:  # it can't be opened
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _shrink(shape: Sequence[int], factor: int) -> tuple[int, int]:
    return -(-shape[0] // factor), -(-shape[1] // factor)


def _describe_mosaic(
    layer: Layer,
    blocks: Sequence[Block],
    size: tuple[int, int],
    georeference: Georeference,
    tags: Mapping[str, str],
) -> ET.Element:
    """Describe the mosaic of a layer as GDAL's XML."""
    root = ET.Element("VRTDataset", rasterXSize=str(size[1]), rasterYSize=str(size[0]))
    _add_georeference(root, georeference)
    metadata = ET.SubElement(root, "Metadata")
    for key, text in {**_tag_classes(layer), **tags}.items():
        _add(metadata, "MDI", text, key=key)
    band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band="1")
    _add(band, "Description", layer.description)
    _add(band, "NoDataValue", str(NODATA))
    if layer.categories:
        _add(band, "ColorInterp", "Palette")
        names = ET.SubElement(band, "CategoryNames")
        for name in layer.categories:
            _add(names, "Category", name)
        table = ET.SubElement(band, "ColorTable")
        for red, green, blue in layer.colours:
            ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4="255")
    for block in blocks:
        source = ET.SubElement(band, "SimpleSource")
        name = str(block_path(Path(), layer.name, block))
        _add(source, "SourceFilename", name, relativeToVRT="1")
        _add(source, "SourceBand", "1")
        for name, left, top in (("SrcRect", 0, 0), ("DstRect", block.left, block.top)):
            numbers = {"xOff": left, "yOff": top, "xSize": block.width, "ySize": block.height}
            ET.SubElement(source, name, {key: str(number) for key, number in numbers.items()})
    return root


def _tag_classes(layer: Layer) -> dict[str, str]:
    """Return the names of classes as tags, for programs that don't read the file beside."""
    return {f"CLASS_{number}": name for number, name in enumerate(layer.categories)}


def _add_georeference(root: ET.Element, georeference: Georeference) -> None:
    crs = georeference.crs.to_wkt(version="WKT2_2019") if georeference.crs else ""
    if georeference.gcps:
        points = ET.SubElement(root, "GCPList", Projection=crs)
        for number, (row, column, x, y, z) in enumerate(georeference.gcps):
            place = {"Id": number, "Pixel": column, "Line": row, "X": x, "Y": y, "Z": z}
            ET.SubElement(points, "GCP", {key: repr(value) for key, value in place.items()})
        return
    if crs:
        _add(root, "SRS", crs)
    if georeference.transform is not None:
        numbers = georeference.transform.to_gdal()
        _add(root, "GeoTransform", ", ".join(repr(float(number)) for number in numbers))


def _add(parent: ET.Element, name: str, text: str, **attributes: Any) -> None:
    ET.SubElement(parent, name, **attributes).text = text
