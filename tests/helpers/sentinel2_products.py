"""A small Sentinel-2 product, as ESA ships them."""

import zipfile

import numpy as np
from image_mask_files import write
from rasterio.transform import from_origin

SIDE = 240  # pixels of 10 m
RESOLUTIONS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B8A": 20, "B11": 20, "B01": 60}
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13))
METADATA = """<?xml version="1.0"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD">
<n1:General_Info><Product_Image_Characteristics>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">{quantification}
</BOA_QUANTIFICATION_VALUE><AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST><BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
</Product_Image_Characteristics></n1:General_Info></n1:Level-2A_User_Product>
"""


def write_product(folder, tile="T32UQD", offsets=OFFSETS, quantification=10_000, seed=0):
    """Write a product of level 2A; returns its numbers, {band: (h, w) uint16}."""
    product = folder / f"S2A_MSIL2A_20220601T101031_N0400_R022_{tile}_20220601T163000.SAFE"
    images = product / "GRANULE" / f"L2A_{tile}_A036256_20220601T101559" / "IMG_DATA"
    rng, numbers = np.random.default_rng(seed), {}
    for band, finest in RESOLUTIONS.items():
        pixels = rng.integers(1000, 5000, (SIDE * 10 // finest,) * 2).astype(np.uint16)
        pixels[: 60 * 10 // finest] = 0  # outside of the swath
        numbers[band] = pixels
        for resolution in (r for r in (10, 20, 60) if r >= finest):
            step = resolution // finest
            path = f"R{resolution}m/{tile}_20220601T101031_{band}_{resolution}m.jp2"
            write(
                images / path,
                pixels[None, ::step, ::step],
                driver="JP2OpenJPEG",
                QUALITY="100",
                REVERSIBLE="YES",
                crs="EPSG:32632",
                transform=from_origin(600_000, 5_900_000, resolution, resolution),
            )
    write(images / f"R10m/{tile}_20220601T101031_TCI_10m.jp2", np.ones((3, 9, 9), np.uint8),
          driver="JP2OpenJPEG")  # fmt: skip
    text = METADATA.format(offsets=offsets, quantification=quantification)
    (product / "MTD_MSIL2A.xml").write_text(text)
    return numbers


def zip_product(folder, archive):
    """Write an archive of a folder with a product."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for path in folder.rglob("*.*"):
            if path.is_file():
                opened.write(path, path.relative_to(folder))
    return archive
