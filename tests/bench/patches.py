"""Thousands of BigEarthNet patches for benchmarks, written at the speed of the disk."""

import gzip
import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

__all__ = ["BANDS", "write_patches"]

BANDS = ("B04", "B03", "B02", "B08")
_LISTS = (
    "train.csv.gz",
    "val.csv.gz",
    "test.csv.gz",
    "patches_with_seasonal_snow.csv.gz",
    "patches_with_cloud_and_shadow.csv.gz",
)


def write_patches(folder: Path, count: int) -> list[Path]:
    """Write `count` patches of version 1 with their lists; the folders of the patches.

    rasterio writes one file; the others are that file with other pixels in it.
    """
    template = folder / "template.tif"
    folder.mkdir(parents=True)
    marker = np.arange(120 * 120, dtype=np.uint16).reshape(1, 120, 120)
    profile = {
        "driver": "GTiff", "count": 1, "height": 120, "width": 120, "dtype": "uint16",
        "crs": "EPSG:32633", "transform": from_origin(600_000, 5_000_000, 10, 10),
    }  # fmt: skip
    with rasterio.open(template, "w", **profile) as image:
        image.write(marker)
    whole = template.read_bytes()
    before, after = whole.split(marker.tobytes())
    template.unlink()
    rng = np.random.default_rng(0)
    labels = json.dumps({"labels": ["Coniferous forest", "Peatbogs"], "projection": "x" * 700})
    patches = []
    for number in range(count):
        name = f"S2A_MSIL2A_20170613T101031_{number // 90}_{number % 90}"
        patch = folder / "BigEarthNet-v1.0" / name
        patch.mkdir(parents=True)
        for band in BANDS:
            pixels = rng.integers(0, 10_000, 120 * 120, dtype=np.uint16).tobytes()
            (patch / f"{name}_{band}.tif").write_bytes(before + pixels + after)
        (patch / f"{name}_labels_metadata.json").write_text(labels)
        patches.append(patch)
    for file in _LISTS:
        names = "".join(f"{p.name}\n" for p in patches) if file == "train.csv.gz" else ""
        (folder / file).write_bytes(gzip.compress(names.encode()))
    return patches
