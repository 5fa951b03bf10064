"""The files of a scene: one, one for each band, or a Sentinel-2 product."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_pipelines.bands import SENTINEL2_L1C, Sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, find_files, format_names, list_archive
from data_pipelines.files.rasters import IMAGE_SUFFIXES
from data_pipelines.imagery.products import Product, find_products
from data_pipelines.scenes.bands import choose_bands, name_files, name_told_bands

__all__ = ["SceneFiles", "find_scene_files"]


class SceneFiles(NamedTuple):
    """The files of a scene.

    Attributes:
        name: Name of the scene, without suffixes.
        paths: One with all bands, or one for each of the sensor's bands, in GDAL's notation.
        one_band_each: Whether each holds one band.
        others: Further files of the scene, with bands that the network doesn't need.
        offsets: Added to the numbers of each band, as the metadata of a product say; else empty.
        level: Processing level of a Sentinel-2 product, such as `L2A`; else empty.
    """

    name: str
    paths: tuple[str, ...]
    one_band_each: bool = False
    others: tuple[str, ...] = ()
    offsets: tuple[float, ...] = ()
    level: str = ""


def find_scene_files(path: str | Path, sensor: Sensor, bands: Sequence[str]) -> SceneFiles:
    """Find the files of a scene.

    Args:
        path: A file, folder, zip archive or what else GDAL opens.
        sensor: The sensor, with the bands that the network needs.
        bands: Names of the bands of a folder's files, in the order of their names; empty to go by
            their names.

    Raises:
        UserError: If there is no such file, or it is unclear which holds which band.
    """
    place = Path(path)
    if place.name.startswith("MTD_MSI") and place.suffix.casefold() == ".xml":
        place = place.parent
    if place.is_dir() or (place.suffix.casefold() == ".zip" and place.is_file()):
        return _find_in_folder(place, sensor, bands)
    # GDAL also opens what is no file, such as /vsicurl/https://… or SENTINEL2_L2A:….
    text = os.fspath(path)
    if not place.exists() and not text.startswith("/vsi") and ":" not in text:
        raise UserError(f"scene {text}: is not there; expected a file or folder of an image")
    return SceneFiles(PurePosixPath(text).stem, (text,))


def _find_in_folder(place: Path, sensor: Sensor, bands: Sequence[str]) -> SceneFiles:
    files = _find_images(place)
    if not files:
        raise UserError(
            f"scene {place}: has no images; expected {', '.join(IMAGE_SUFFIXES)} files, or the "
            "path of a file"
        )
    if product := _find_product(place, files, sensor):
        paths = tuple(file.gdal_path for file in product.files)
        name = next(part for part in _split(product.files[0]) if part.casefold().endswith(".safe"))
        others = tuple(file.gdal_path for file in files if "IMG_DATA" in _split(file))
        return SceneFiles(name[: -len(".SAFE")], paths, True, others, product.offset, product.level)
    name = place.stem if place.suffix.casefold() == ".zip" else place.resolve().name
    if len(files) == 1:
        return SceneFiles(name, (files[0].gdal_path,))
    stems = [file.stem for file in files]
    names = name_files(stems, sensor)
    if bands:
        names = name_told_bands([file.name for file in files], bands, str(place), "files")
    chosen = choose_bands(names, sensor, str(place), "files", [file.name for file in files])
    paths = tuple(file.gdal_path for file in files)
    # Others of a known band have the same place, unlike masks and previews.
    others = tuple(path for path, known in zip(paths, names, strict=True) if known)
    return SceneFiles(name, tuple(paths[index] for index in chosen), True, others)


def _find_images(place: Path) -> list[File]:
    """Find the images of a folder or archive; a product's name stays part of their paths."""
    ancestors = [place, *place.resolve().parents]
    product = next((p for p in ancestors if p.suffix.casefold() == ".safe"), place)
    if place.is_file():
        return [file for file in list_archive(place) if file.suffix in IMAGE_SUFFIXES]
    inside = place.resolve().relative_to(product.resolve().parent).as_posix()
    files = find_files(place, lambda name: Path(name).suffix.casefold() in IMAGE_SUFFIXES)
    return [dataclasses.replace(file, relative=f"{inside}/{file.relative}") for file in files]


def _find_product(place: Path, files: Sequence[File], sensor: Sensor) -> Product | None:
    """Find a Sentinel-2 product, if the files are of one."""
    if not any(part.casefold().endswith(".safe") for file in files for part in _split(file)):
        return None
    products = find_products(files, [_name_by_sentinel2(band, sensor) for band in sensor.names])
    if len(products) > 1:
        granules = [os.path.dirname(p.files[0].relative).split("/IMG_DATA")[0] for p in products]
        raise UserError(
            f"scene {place}: has {len(products)} granules ({format_names(granules)}); expected "
            "one: give the folder of each"
        )
    return products[0] if products else None


def _name_by_sentinel2(name: str, sensor: Sensor) -> str:
    """Return Sentinel-2's own name, such as `B04`, of a band."""
    for band in SENTINEL2_L1C.bands:
        if band.has_name(name):
            return next(alias for alias in band.aliases if len(alias) == 3 and alias[0] == "B")
    raise UserError(
        f"band {name} of sensor {sensor.name}: Sentinel-2 does not have it; it has "
        f"{', '.join(SENTINEL2_L1C.names)}"
    )


def _split(file: File) -> tuple[str, ...]:
    return PurePosixPath(file.relative).parts
