"""Class folders as people have them: other sizes, names, numbers, no data."""

import unicodedata

import numpy as np
import pytest
import rasterio
from class_folder_images import load_examples, make_smooth_image, write_image
from PIL import Image

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.preparing.verify import verify
from data_pipelines.sources.opening import open_dataset

NAME = "class_folders/mine"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "files"


def write(path, size=16, bands=3, dtype=np.uint8, seed=0):
    pixels = make_smooth_image(seed, size, bands, dtype)
    write_image(path, pixels)
    return pixels


def run_command(folder, capsys, *arguments):
    """Run the build command, and return what it prints."""
    data_dir = folder.parent / "data"
    command = [NAME, "--data_dir", str(data_dir), "--manual_dir", str(folder), "--overwrite"]
    assert main([*command, *arguments]) == 0
    return capsys.readouterr().out


def build_examples(folder, *fields, split="train"):
    build(NAME, folder.parent, manual_dir=folder, fields=fields, overwrite=True)
    return load_examples(NAME, folder.parent, split)


def test_classes_spelt_in_several_ways_are_one_and_told(folder, capsys):
    for split, names in (("train", ("Beach", "Sea Lake")), ("val", ("beach", "sea_lake", "Ice"))):
        for name in names:
            for number in range(1 + (split == "train")):
                write(folder / split / name / f"{number}.tif")
    output = run_command(folder, capsys)
    assert "one class each: Beach for Beach and beach, Sea Lake for Sea Lake and sea_lake" in output
    dataset = open_dataset(NAME, folder.parent / "data")
    assert dataset.classes == ("Beach", "Ice", "Sea Lake")
    labels = sorted(
        label for _, label in load_examples(NAME, folder.parent / "data", "validation").values()
    )
    assert labels == ["Beach", "Ice", "Sea Lake"]
    assert "warning: class Ice has no example in train, only in validation" in output


def test_the_examples_of_each_class_are_printed_by_split(folder, capsys):
    for split, counts in (("train", {"a": 3, "b": 1}), ("test", {"a": 1})):
        for name, count in counts.items():
            for number in range(count):
                write(folder / split / name / f"{number}.png")
    output = run_command(folder, capsys)
    cells = [line.strip("│").split("│") for line in output.splitlines() if "%" in line]
    rows = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}
    assert rows == {"a": ["3 (75.0%)", "1 (100.0%)"], "b": ["1 (25.0%)", "0 (0.0%)"]}
    assert "warning" not in output


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_any_letters_are_found(folder, form):
    pixels = {}
    for number, name in enumerate(("größe [1]", "a#b", "50% ?")):
        path = folder / unicodedata.normalize(form, f"Wälder/{name}.tif")
        pixels[f"Wälder/{name}"] = write(path, seed=number)
    examples = build_examples(folder)
    assert examples.keys() == pixels.keys()
    for key, expected in pixels.items():
        np.testing.assert_array_equal(examples[key][0], expected)


def test_the_commonest_size_speaks_and_others_are_refused_by_name(folder, capsys):
    write(folder / "a" / "0.png", size=15)
    for number in range(1, 4):
        write(folder / "a" / f"{number}.png")
    output = run_command(folder, capsys, "--dry_run")
    assert "images: 16 × 16 pixels; 1 of 4 have another size, such as" in output
    assert "0.png, 15 × 15: refused" in output
    message = r"0.png: has 15 × 15 pixels; expected 16 × 16, or --config.fit=crop, resize or pad"
    with pytest.raises(UserError, match=message):
        build_examples(folder)


def test_images_of_another_size_can_be_cropped_padded_or_resized(folder):
    write(folder / "a" / "0.tif")
    write(folder / "a" / "1.tif", seed=1)
    large = np.moveaxis(np.indices((20, 18)), 0, -1).astype(np.uint16)
    large = np.concatenate([large, large[..., :1]], axis=-1).astype(np.uint8)
    write_image(folder / "a" / "2.tif", large)
    small = make_smooth_image(3, 14, 3)
    for fit in ("crop", "pad"):
        examples = build_examples(folder, f"fit={fit}")
        np.testing.assert_array_equal(examples["a/2"][0], large[2:18, 1:17])
    write_image(folder / "a" / "3.tif", small)
    with pytest.raises(UserError, match=r"expected 16 × 16, or --config.fit=resize or pad"):
        build_examples(folder, "fit=crop")
    padded = build_examples(folder, "fit=pad")["a/3"][0]
    np.testing.assert_array_equal(
        padded[:14, :14], np.where(small.any(-1, keepdims=True), small, 1)
    )
    assert not padded[14:].any()
    assert not padded[:, 14:].any()
    pixels = verify(open_dataset(NAME, folder.parent))["train"].moments.pixels
    assert pixels == 3 * 256 + 14 * 14  # padding is not measured
    resized = build_examples(folder, "fit=resize")["a/3"][0]
    expected = [
        np.rint(Image.fromarray(small[..., band].astype(np.float32)).resize((16, 16), 2))
        for band in range(3)
    ]
    np.testing.assert_array_equal(resized, np.stack(expected, axis=-1))


def test_a_few_images_of_other_bands_or_dtypes_do_not_speak_for_all(folder, capsys):
    write(folder / "a" / "0.tif", bands=4, dtype=np.uint16)
    for number in range(1, 4):
        write(folder / "a" / f"{number}.tif")
    output = run_command(folder, capsys, "--dry_run")
    assert "numbers: uint8" in output
    assert "other files: 1 of 4 have other bands or dtypes than 1.tif, such as" in output
    assert "0.tif: 4 of uint16" in output


def test_transparent_pixels_of_pictures_have_no_data(folder):
    pixels = make_smooth_image(0, 16, 4) | 1
    pixels[..., 3] = 255
    pixels[:4, :, 3] = 0
    write_image(folder / "a" / "0.png", pixels)
    (found, _) = build_examples(folder)["a/0"]
    assert not found[:4].any()
    np.testing.assert_array_equal(found[4:], pixels[4:, :, :3])
    dataset = open_dataset(NAME, folder.parent)
    means = [band.mean for band in dataset.sensor.bands]
    np.testing.assert_allclose(means, pixels[4:, :, :3].mean(axis=(0, 1)))


def test_numbers_of_other_dtypes_bands_by_name_and_offsets_as_in_other_builders(folder):
    numbers = np.random.default_rng(0).uniform(0.01, 0.5, (16, 16, 4)).astype(np.float32)
    numbers[:4] = np.nan
    write_image(folder / "a" / "0.tif", numbers)
    with rasterio.open(folder / "a" / "0.tif", "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
    with pytest.raises(UserError, match=r"float32, 0.01.* to 0.49.*; .*--config.scale=1 "):
        build_examples(folder)
    (found, _) = build_examples(folder, "scale=1", "offset=0.1", "bands=red,nir")["a/0"]
    expected = np.rint((numbers[4:, :, [2, 3]].astype(float) + 0.1) * 1e4)
    np.testing.assert_array_equal(found[4:], expected)
    assert not found[:4].any()


def test_numbers_of_16_bits_are_told_with_the_scale_to_give(folder, capsys):
    for number in range(3):
        pixels = np.random.default_rng(number).normal(40_000, 2_000, (16, 16, 3))
        write_image(folder / "a" / f"{number}.tif", pixels.astype(np.uint16))
    output = run_command(folder, capsys)
    assert "100% of the values are above 10,000" in output
    assert "expected --config.scale=1.5259e-05 for images stretched to that range" in output
