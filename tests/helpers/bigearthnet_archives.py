"""Synthetic BigEarthNet archives and folders, with the names, sizes and dtypes of the real ones."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import rasterio
import zstandard
from rasterio.transform import from_origin

SIZES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),
    **dict.fromkeys(("B01", "B09"), 20),
}
# Times of six digits, and of five, because the archive drops a leading zero; row and column numbers
# of one and two digits.
V1 = (
    "S2A_MSIL2A_20170613T101031_0_45",
    "S2B_MSIL2A_20170927T94020_60_61",
    "S2A_MSIL2A_20170717T113321_4_5",
    "S2B_MSIL2A_20180502T093039_43_14",
    "S2A_MSIL2A_20171221T112501_57_90",
)
V2 = (
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57",
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_61_39",
    "S2B_MSIL2A_20170808T094029_N9999_R036_T35ULA_3_8",
    "S2B_MSIL2A_20170808T094029_N9999_R036_T35ULA_3_9",
)
LABELS_V1 = ["Non-irrigated arable land", "Rice fields", "Airports", "Sea and ocean"]


def make_band(patch: str, band: str, size: int | None = None, dtype: str = "uint16") -> np.ndarray:
    """Return the pixels that `write_patch` writes for a band, (size, size)."""
    rng = np.random.default_rng([*patch.encode(), *band.encode()])
    side = size or SIZES[band]
    return rng.integers(0, 10_000, (side, side)).astype(dtype)


def write_band(file: Path, values: np.ndarray) -> None:
    """Write a single-band GeoTIFF."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype,
        "crs": "EPSG:32633",
        "transform": from_origin(600_000, 5_000_000, 10, 10),
    }
    with rasterio.open(file, "w", **profile) as image:
        image.write(values, 1)


def write_patch(folder: Path, name: str, labels: list[str] | None = None) -> Path:
    """Write all twelve bands of a patch and, if there are labels, its JSON file."""
    patch = folder / name
    patch.mkdir(parents=True)
    for band in SIZES:
        write_band(patch / f"{name}_{band}.tif", make_band(name, band))
    if labels is not None:
        metadata = {"labels": labels, "coordinates": {"ulx": 0}, "projection": "PROJCS[]"}
        (patch / f"{name}_labels_metadata.json").write_text(json.dumps(metadata))
    return patch


def write_lists(folder: Path, **splits: list[str]) -> None:
    """Write the five lists of version 1; lists that are not passed are empty."""
    files = {
        "train": "train",
        "validation": "val",
        "test": "test",
        "snow": "patches_with_seasonal_snow",
        "cloud": "patches_with_cloud_and_shadow",
    }
    for kind, file in files.items():
        lines = "".join(f"{name}\n" for name in splits.get(kind, []))
        (folder / f"{file}.csv.gz").write_bytes(gzip.compress(lines.encode()))


def write_v1(folder: Path) -> Path:
    """Write version 1 in folders, with a patch per split, one with snow and one with cloud."""
    for name in V1:
        write_patch(folder / "BigEarthNet-v1.0", name, LABELS_V1)
    write_lists(
        folder, train=[V1[0]], validation=[V1[1]], test=[V1[2]], snow=[V1[3]], cloud=[V1[4]]
    )
    return folder


def write_many_patches(folder: Path, count: int) -> list[Path]:
    """Write version 1 in folders, with the four 10 m bands of `count` patches.

    To be as fast as the disk, rasterio writes only one file; the others are copies of it with other
    pixels.

    Returns:
        The folders of the patches.
    """
    folder.mkdir(parents=True)
    marker = np.arange(120 * 120, dtype=np.uint16).reshape(120, 120)
    template = folder / "template.tif"
    write_band(template, marker)
    before, after = template.read_bytes().split(marker.tobytes())
    template.unlink()
    rng = np.random.default_rng(0)
    labels = json.dumps({"labels": LABELS_V1, "projection": "x" * 700})
    patches = []
    for index in range(count):
        patch = folder / "BigEarthNet-v1.0" / _make_patch_name(index)
        patch.mkdir(parents=True)
        for band in ("B04", "B03", "B02", "B08"):
            values = rng.integers(0, 10_000, marker.shape, dtype=np.uint16).tobytes()
            (patch / f"{patch.name}_{band}.tif").write_bytes(before + values + after)
        (patch / f"{patch.name}_labels_metadata.json").write_text(labels)
        patches.append(patch)
    write_lists(folder, train=[patch.name for patch in patches])
    return patches


def _make_patch_name(index: int) -> str:
    """Return the name of a patch; a tile has 90 × 90 patches, and the next tile another date."""
    day, position = divmod(index, 90 * 90)
    return f"S2A_MSIL2A_201706{day + 1:02}T101031_{position // 90}_{position % 90}"


def write_metadata_v2(folder: Path) -> None:
    """Write the two tables of version 2."""
    labels = [["Arable land"], ["Pastures", "Marine waters"], ["Urban fabric"], ["Mixed forest"]]
    columns = {
        "patch_id": list(V2),
        "labels": labels,
        "split": ["train", "validation", "test", "train"],
        "country": ["Austria"] * 4,
        "s1_name": ["s1"] * 4,
        "s2v1_name": ["v1"] * 4,
        "contains_seasonal_snow": [False, False, False, True],
        "contains_cloud_or_shadow": [False, False, False, False],
    }
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table.slice(0, 3), folder / "metadata.parquet")
    flagged = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
    pyarrow.parquet.write_table(table.slice(3, 1), folder / flagged)


def write_v2(folder: Path) -> Path:
    """Write version 2 in folders, with four patches in the folders of their Sentinel-2 tiles."""
    for name in V2:
        write_patch(folder / "BigEarthNet-S2" / name.rsplit("_", 2)[0], name)
    write_metadata_v2(folder)
    return folder


def pack_tar(folder: Path, order: str = "by patch") -> bytes:
    """Pack a folder into a tar archive.

    Args:
        folder: The folder to pack.
        order: Order of the files: `by patch` as in the authors' archives, or `by band`, which
            interleaves the files of the patches.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if order == "by band":
        files.sort(key=lambda path: path.name.rpartition("_")[2])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            tar.add(file, file.relative_to(folder.parent))
    return buffer.getvalue()


def compress(tar: bytes, kind: str) -> bytes:
    """Compress an archive with gzip or zstandard."""
    return gzip.compress(tar, 1) if kind == "gz" else zstandard.compress(tar)
