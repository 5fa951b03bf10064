import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tensorflow_datasets as tfds
from bigearthnet_archives import (
    LABELS_V1,
    SIZES,
    V1,
    V2,
    compress,
    make_band,
    pack_tar,
    write_band,
    write_lists,
    write_metadata_v2,
    write_patch,
    write_v1,
    write_v2,
)
from rasterio.enums import Resampling

from data_pipelines.bigearthnet.nomenclature import CLASSES_19, CLASSES_43, MERGED
from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.registry import find_builder
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

REALDATA = os.environ.get("SSL_JAX_REALDATA", "")
RGBN = ("B04", "B03", "B02", "B08")


@pytest.fixture(scope="module")
def v1(tmp_path_factory):
    return write_v1(tmp_path_factory.mktemp("v1"))


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    return write_v2(tmp_path_factory.mktemp("v2"))


@pytest.fixture(scope="module")
def v1_data(v1, tmp_path_factory):
    folder = tmp_path_factory.mktemp("v1_data")
    build("bigearthnet/v1/rgbn", folder, manual_dir=v1)
    return folder


def load_images(data_dir, config, split="all"):
    """Load the images of a prepared dataset, by the names of the patches."""
    source = select_subset(open_dataset(f"bigearthnet/{config}", data_dir), split).examples
    names = [name.decode() for name in source.example_ids()]
    return {name: source[i]["image"] for i, name in enumerate(names)}


def load_names(data_dir, split, config="v1/rgbn"):
    return set(load_images(data_dir, config, split))


def make_image(patch, bands=RGBN):
    return np.stack([make_band(patch, band) for band in bands], axis=-1)


def assert_complete_v1(data_dir):
    images = load_images(data_dir, "v1/rgbn")
    assert set(images) == set(V1)
    for name, image in images.items():
        np.testing.assert_array_equal(image, make_image(name))


def test_patch_names_with_and_without_the_leading_zero_are_found(v1_data):
    assert_complete_v1(v1_data)


def test_splits_follow_the_lists_and_all_is_their_union(v1_data):
    for split, name in (("train", V1[0]), ("validation", V1[1]), ("test", V1[2])):
        assert load_names(v1_data, split) == {name}
    assert load_names(v1_data, "unsplit") == {V1[3], V1[4]}
    assert load_names(v1_data, "all") == set(V1)


def test_split_expressions_filter_by_snow_and_cloud(v1_data):
    assert load_names(v1_data, "all[snow]") == {V1[3]}
    assert load_names(v1_data, "all[cloud]") == {V1[4]}
    assert load_names(v1_data, "all[not snow][not cloud]") == set(V1[:3])
    with pytest.raises(UserError, match="no boolean feature 'rain'; it has cloud, snow"):
        load_names(v1_data, "all[rain]")


def test_43_labels_are_merged_into_19(v1_data):
    merged = open_dataset("bigearthnet/v1/rgbn", v1_data)
    assert merged.classes == CLASSES_19
    labels = select_subset(merged, "train").examples[0]["labels"]
    # Arable land and rice fields are merged into one class, and airports are dropped.
    assert [CLASSES_19[i] for i in np.flatnonzero(labels)] == ["Arable land", "Marine waters"]
    corine = open_dataset("bigearthnet/v1/rgbn", v1_data, target="labels_43")
    assert corine.classes == CLASSES_43
    labels = select_subset(corine, "train").examples[0]["labels"]
    assert [CLASSES_43[i] for i in np.flatnonzero(labels)] == sorted(
        LABELS_V1, key=CLASSES_43.index
    )


def test_32_of_43_classes_are_merged_into_19():
    assert (len(CLASSES_43), len(MERGED), len(CLASSES_19)) == (43, 32, 19)
    assert set(MERGED.values()) == set(CLASSES_19)
    assert set(CLASSES_43) - set(MERGED) == {
        "Road and rail networks and associated land",
        "Port areas",
        "Airports",
        "Mineral extraction sites",
        "Dump sites",
        "Construction sites",
        "Green urban areas",
        "Sport and leisure facilities",
        "Bare rock",
        "Burnt areas",
        "Intertidal flats",
    }


@pytest.mark.parametrize("resampling", ["bilinear", "nearest", "cubic"])
def test_any_bands_are_selected_and_coarse_ones_resampled_like_rasterio(v1, tmp_path, resampling):
    selected = ("nir", "B05", "swir22", "coastal", "B8A")
    build(
        "bigearthnet/v1/rgbn",
        tmp_path,
        manual_dir=v1,
        fields=[f"bands={','.join(selected)}", f"resampling={resampling}", "name=v1/mine"],
    )
    dataset = open_dataset("bigearthnet/v1/mine", tmp_path)
    assert dataset.sensor.names == ("nir", "rededge1", "swir22", "coastal", "nir08")
    images = load_images(tmp_path, "v1/mine")
    for name in V1:
        for channel, band in enumerate(("B08", "B05", "B12", "B01", "B8A")):
            with rasterio.open(v1 / "BigEarthNet-v1.0" / name / f"{name}_{band}.tif") as file:
                expected = file.read(1, out_shape=(120, 120), resampling=Resampling[resampling])
            np.testing.assert_array_equal(images[name][..., channel], expected)


def test_rgb_has_the_three_bands(v1, tmp_path):
    build("bigearthnet/v1/rgb", tmp_path, manual_dir=v1)
    images = load_images(tmp_path, "v1/rgb")
    np.testing.assert_array_equal(images[V1[1]], make_image(V1[1], RGBN[:3]))


@pytest.mark.parametrize("order", ["by patch", "by band"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_archive_is_read_without_being_unpacked(v1, tmp_path, order, workers):
    archives = tmp_path / "archives"
    shutil.copytree(v1, archives, ignore=shutil.ignore_patterns("BigEarthNet-v1.0"))
    tar = pack_tar(v1 / "BigEarthNet-v1.0", order)
    (archives / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(tar, "gz"))
    before = sorted(archives.rglob("*"))
    build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=archives, workers=workers)
    assert_complete_v1(tmp_path / "data")
    assert sorted(archives.rglob("*")) == before


def test_folder_and_archive_have_the_same_examples_in_the_same_order(v1, v1_data, tmp_path):
    archives = tmp_path / "archives"
    shutil.copytree(v1, archives, ignore=shutil.ignore_patterns("BigEarthNet-v1.0"))
    tar = pack_tar(v1 / "BigEarthNet-v1.0", "by band")
    (archives / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(tar, "gz"))
    build("bigearthnet/v1/rgbn", tmp_path, manual_dir=archives)
    from_folder, from_archive = (
        select_subset(open_dataset("bigearthnet/v1/rgbn", folder), "all[60%]", 1).examples
        for folder in (v1_data, tmp_path)
    )
    assert from_folder.example_ids().tolist() == from_archive.example_ids().tolist()
    for i in range(len(from_folder)):
        for name, values in from_folder[i].items():
            np.testing.assert_array_equal(values, from_archive[i][name])


@pytest.mark.parametrize("kind", ["folder", "zst", "split gz"])
def test_version_2_is_read_from_folders_and_archives(v2, tmp_path, kind):
    manual = v2
    if kind != "folder":
        manual = tmp_path / "archives"
        manual.mkdir()
        write_metadata_v2(manual)
        archive = compress(pack_tar(v2 / "BigEarthNet-S2"), kind.split()[-1])
        if kind == "zst":
            (manual / "BigEarthNet-S2.tar.zst").write_bytes(archive)
        else:
            third = len(archive) // 3
            for part, start in (("aa", 0), ("ab", third), ("ac", 2 * third)):
                end = start + third if part != "ac" else None
                (manual / f"BigEarthNet-S2.tar.gz{part}").write_bytes(archive[start:end])
    build("bigearthnet/v2/rgbn", tmp_path / "data", manual_dir=manual)
    images = load_images(tmp_path / "data", "v2/rgbn")
    assert set(images) == set(V2)
    for name, image in images.items():
        np.testing.assert_array_equal(image, make_image(name))
    for split, name in (("train", V2[0]), ("validation", V2[1]), ("test", V2[2])):
        assert load_names(tmp_path / "data", split, "v2/rgbn") == {name}
    assert load_names(tmp_path / "data", "all[snow]", "v2/rgbn") == {V2[3]}
    labels = select_subset(
        open_dataset("bigearthnet/v2/rgbn", tmp_path / "data"), "validation"
    ).examples[0]
    assert [CLASSES_19[i] for i in np.flatnonzero(labels["labels"])] == [
        "Pastures",
        "Marine waters",
    ]


def test_a_dry_run_prints_a_summary_and_writes_nothing(v1, tmp_path, capsys):
    arguments = ["bigearthnet/v1/rgbn", "--data_dir", str(tmp_path), "--manual_dir", str(v1)]
    assert main([*arguments, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "with train 1, validation 1, test 1, unsplit 2; 0 of the lists missing" in out
    assert "split validation: 1 examples" in out
    assert not list(tmp_path.rglob("*.json"))


def test_missing_lists_can_be_excluded(v1, tmp_path):
    manual = tmp_path / "manual"
    (manual / "BigEarthNet-v1.0").mkdir(parents=True)
    (manual / "BigEarthNet-v1.0" / V1[0]).symlink_to(v1 / "BigEarthNet-v1.0" / V1[0])
    shutil.copy(v1 / "train.csv.gz", manual)
    with pytest.raises(UserError) as error:
        build("bigearthnet/v1/rgbn", tmp_path, manual_dir=manual)
    message = str(error.value)
    assert "lacks val.csv.gz, test.csv.gz, patches_with_seasonal_snow.csv.gz, patch" in message
    assert "zenodo.org/records/12687186" in message
    fields = [word.removeprefix("--config.") for word in message.split() if word.startswith("--")]
    assert fields == ["lists=train", "name=v1/NAME"]
    build("bigearthnet/v1/rgbn", tmp_path, manual_dir=manual, fields=fields)
    assert load_names(tmp_path, "train", "v1/NAME") == {V1[0]}


def test_without_lists_all_patches_are_unsplit(v1, tmp_path):
    build("bigearthnet/v1/rgbn", tmp_path, manual_dir=v1, fields=["lists=,", "name=v1/x"])
    assert load_names(tmp_path, "unsplit", "v1/x") == set(V1)


# Ways to corrupt a patch, and the error messages.
CORRUPTIONS = {
    "a band is missing": (
        lambda patch: (patch / f"{patch.name}_B03.tif").unlink(),
        f"patch {V1[0]}: lacks {V1[0]}_B03.tif",
    ),
    "a band is truncated": (
        lambda patch: os.truncate(patch / f"{patch.name}_B04.tif", 5000),
        f"{V1[0]}_B04.tif: can't be read as GeoTIFF, JPEG, PNG",
    ),
    "a band has the wrong size": (
        lambda patch: write_band(patch / f"{patch.name}_B08.tif", make_band(V1[0], "B08", 60)),
        f"{V1[0]}_B08.tif: has 60 × 60 pixels; expected 120 × 120",
    ),
    "a band has the wrong type": (
        lambda patch: write_band(
            patch / f"{patch.name}_B02.tif", make_band(V1[0], "B02", dtype="float32")
        ),
        f"{V1[0]}_B02.tif: its pixels are float32; expected uint16",
    ),
    "there is no JSON": (
        lambda patch: (patch / f"{patch.name}_labels_metadata.json").unlink(),
        f"patch {V1[0]}: lacks {V1[0]}_labels_metadata.json",
    ),
    "the JSON has no labels": (
        lambda patch: (patch / f"{patch.name}_labels_metadata.json").write_text("{}"),
        f"{V1[0]}_labels_metadata.json: has no labels",
    ),
    "the JSON is invalid": (
        lambda patch: (patch / f"{patch.name}_labels_metadata.json").write_text('{"labels": ['),
        f"{V1[0]}_labels_metadata.json: has no labels",
    ),
    "a label is unknown": (
        lambda patch: (patch / f"{patch.name}_labels_metadata.json").write_text(
            '{"labels": ["Moon"]}'
        ),
        f"patch {V1[0]}: found the label 'Moon'; expected one of the 43",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_bad_patch_stops_the_build_or_is_skipped_and_listed(tmp_path, corruption, kind):
    corrupt, message = CORRUPTIONS[corruption]
    manual = tmp_path / "manual"
    for name in V1[:2]:
        write_patch(manual / "BigEarthNet-v1.0", name, LABELS_V1)
    write_lists(manual, train=list(V1[:2]))
    corrupt(manual / "BigEarthNet-v1.0" / V1[0])
    if kind == "archive":
        tar = pack_tar(manual / "BigEarthNet-v1.0")
        (manual / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(tar, "gz"))
        shutil.rmtree(manual / "BigEarthNet-v1.0")
    with pytest.raises(UserError) as error:
        build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]

    folder = build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual, skip=True)
    assert load_names(tmp_path / "data", "train") == {V1[1]}
    (listed,) = (folder / "skipped.txt").read_text().splitlines()
    assert message in listed


def test_the_same_patch_in_two_folders_is_refused(tmp_path):
    manual = tmp_path / "manual"
    for folder in ("one", "other"):
        write_patch(manual / folder, V1[0], LABELS_V1)
    write_lists(manual, train=[V1[0]])
    with pytest.raises(UserError, match=f"example {V1[0]}: found twice in split train"):
        build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_patch_in_two_splits_is_refused(tmp_path):
    write_patch(tmp_path / "manual", V1[0], LABELS_V1)
    write_lists(tmp_path / "manual", train=[V1[0]], test=[V1[0]])
    with pytest.raises(UserError, match=f"found patch {V1[0]}, which is also in split train"):
        build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=tmp_path / "manual")


def test_a_folder_without_patches_and_archive_is_refused(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    write_lists(manual)
    (manual / "BigEarthNet-S1-v1.0.tar.gz").touch()
    with pytest.raises(
        UserError, match="expected folders with patches of version 1, or BigEarthNet-S2-v1"
    ):
        build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual)


@pytest.mark.skipif(not REALDATA, reason="SSL_JAX_REALDATA is not set")
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_real_patches_have_the_pixels_that_rasterio_reads(tmp_path, kind):
    real = Path(REALDATA, "bigearthnet_v1", "BigEarthNet-v1.0")
    manual = tmp_path / "manual"
    manual.mkdir()
    patches = sorted(path.name for path in real.iterdir())
    write_lists(manual, train=patches[:4], validation=patches[4:6], test=patches[6:])
    if kind == "folder":
        (manual / real.name).symlink_to(real)
    else:
        (manual / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(pack_tar(real), "gz"))
    fields = [f"bands={','.join(SIZES)}", "name=v1/every"]
    build("bigearthnet/v1/rgbn", tmp_path, manual_dir=manual, fields=fields)
    images = load_images(tmp_path, "v1/every")
    assert set(images) == set(patches)
    for name, image in images.items():
        for channel, band in enumerate(SIZES):
            with rasterio.open(real / name / f"{name}_{band}.tif") as file:
                expected = file.read(1, out_shape=(120, 120), resampling=Resampling.bilinear)
            np.testing.assert_array_equal(image[..., channel], expected)


def test_a_dataset_prepared_by_tfds_itself_can_be_opened(v1, tmp_path):
    builder = find_builder("bigearthnet").builder(
        data_dir=tmp_path, config="v1/rgbn", file_format="array_record"
    )
    config = tfds.download.DownloadConfig(manual_dir=v1, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    dataset = open_dataset("bigearthnet/v1/rgbn", tmp_path)
    np.testing.assert_array_equal(
        select_subset(dataset, "train").examples[0]["image"], make_image(V1[0])
    )
    snowy = select_subset(dataset, "all[snow]").examples[0]
    np.testing.assert_array_equal(snowy["image"], make_image(V1[3]))
    assert len(select_subset(dataset, "all[60%]")) == 3


def test_version_2_without_its_second_table(v2, tmp_path):
    """Patches in neither table are unsplit and have no labels."""
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "BigEarthNet-S2").symlink_to(v2 / "BigEarthNet-S2")
    shutil.copy(v2 / "metadata.parquet", manual)
    with pytest.raises(UserError, match="lacks metadata_for_patches_with_snow") as error:
        build("bigearthnet/v2/rgbn", tmp_path, manual_dir=manual)
    words = str(error.value).split()
    fields = [word.removeprefix("--config.") for word in words if word.startswith("--")]
    build("bigearthnet/v2/rgbn", tmp_path, manual_dir=manual, fields=fields)
    assert load_names(tmp_path, "train", "v2/NAME") == {V2[0]}
    assert load_names(tmp_path, "unsplit", "v2/NAME") == {V2[3]}
    dataset = open_dataset("bigearthnet/v2/NAME", tmp_path)
    assert not select_subset(dataset, "unsplit").examples[0]["labels"].any()


def test_a_partly_unpacked_archive_is_refused(v1, tmp_path):
    manual = tmp_path / "manual"
    shutil.copytree(v1, manual)
    tar = pack_tar(v1 / "BigEarthNet-v1.0")
    (manual / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(tar, "gz"))
    build("bigearthnet/v1/rgbn", tmp_path / "whole", manual_dir=manual)
    assert_complete_v1(tmp_path / "whole")
    shutil.rmtree(manual / "BigEarthNet-v1.0" / V1[1])
    with pytest.raises(UserError, match=r"found 4 patches in folders and the archive.*, and 1 pat"):
        build("bigearthnet/v1/rgbn", tmp_path / "half", manual_dir=manual)


def test_patches_of_the_other_version_and_cyclic_links_are_ignored(v1, v2, tmp_path):
    manual = tmp_path / "manual"
    shutil.copytree(v1, manual)
    shutil.copytree(v2 / "BigEarthNet-S2", manual / "BigEarthNet-S2")
    (manual / "round").symlink_to(manual)
    build("bigearthnet/v1/rgbn", tmp_path, manual_dir=manual)
    assert_complete_v1(tmp_path)
