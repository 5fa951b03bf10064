import itertools
import pickle
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.split_expressions import (
    SplitExpression,
    StratifiedSplit,
    split_stratified,
)
from data_pipelines.sources.subset import select_subset

BUILDER = """
import io
import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from data_pipelines.bands import NAIP

def png(value):
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "png")
    return io.BytesIO(file.getvalue())

class {name}(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({features}),
            metadata=tfds.core.MetadataDict({metadata}),
        )

    def _split_generators(self, dl_manager):
        return {{"train": self._generate_examples()}}

    def _generate_examples(self):
        for i in range(6):
            yield i, {example}
"""
SENSOR = '{"sensor": NAIP.to_dict()}'


def prepare_user_dataset(folder, name, features, example, metadata="{}"):
    """Prepare a dataset of a module outside the package; returns the name to open it by."""
    file = folder / f"{name.lower()}_module.py"
    text = BUILDER.format(name=name, features=features, example=example, metadata=metadata)
    file.write_text(textwrap.dedent(text))
    build(f"{file}:{name}", folder)
    return f"{file}:{name}"


def read_labels(source):
    return np.array([source[i]["label"] for i in range(len(source))])


def read_rows(source):
    return [int(source[i]["index"]) for i in range(len(source))]


def test_a_dataset_describes_its_contents(data_dir):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    assert scenes.image_shape == (32, 32, 4)
    assert scenes.image_dtype == np.uint16
    assert scenes.target == "label"
    assert scenes.classes[0] == "beach"
    assert scenes.splits == {"train": 80, "all": 80}
    aerial = open_dataset("demo_aerial/tiny", data_dir)
    assert aerial.target == "mask"
    assert aerial.classes[:2] == ("impervious", "building")
    assert aerial.colours[1] == (0, 0, 255)
    assert aerial.ignore_label == 255
    assert open_dataset("demo_tiles/tiny", data_dir).target == "none"


def test_examples_carry_image_target_and_index(data_dir):
    scene = select_subset(open_dataset("demo_scenes/tiny", data_dir), "train").examples[3]
    assert scene["image"].shape == (32, 32, 4)
    assert scene["label"].dtype == scene["index"].dtype == np.int32
    assert scene["index"] == 3
    tile = select_subset(open_dataset("demo_aerial/tiny", data_dir), "test").examples[0]
    assert tile["mask"].shape == (64, 64)
    assert tile["mask"].dtype == tile["image"].dtype == np.uint8


@pytest.mark.parametrize("bands", [("red",), ("nir", "B04"), ("green", "blue"), ("B", "G", "R")])
def test_the_selected_bands_are_read(data_dir, bands):
    all_bands = open_dataset("demo_tiles/tiny", data_dir)
    selected = open_dataset("demo_tiles/tiny", data_dir, bands)
    channels = list(all_bands.sensor.indices(bands))
    assert selected.image_shape == (32, 32, len(bands))
    assert selected.sensor == all_bands.sensor.select(bands)
    actual, stored = (
        select_subset(dataset, "train").examples[5]["image"] for dataset in (selected, all_bands)
    )
    np.testing.assert_array_equal(actual, stored[:, :, channels])


def test_all_is_every_split(data_dir):
    tiles = open_dataset("demo_tiles/tiny", data_dir)
    assert len(select_subset(tiles, "all")) == len(select_subset(tiles, "train")) + len(
        select_subset(tiles, "validation")
    )


def test_a_source_survives_pickling(data_dir):
    source = select_subset(open_dataset("demo_scenes/tiny", data_dir, ["nir"]), "all[5:5]").examples
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source) == 40
    np.testing.assert_array_equal(copy[7]["image"], source[7]["image"])


@pytest.mark.parametrize("size", ["2:8", "5:5", "8:2", "10%", "2 per class"])
def test_a_part_and_its_complement_are_the_split_and_the_part_has_every_class(data_dir, size):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    part, rest = (
        select_subset(scenes, f"all[{size}]{suffix}", 1).examples for suffix in ("", ".rest")
    )
    assert sorted(read_rows(part) + read_rows(rest)) == list(range(80))
    counts = np.bincount(read_labels(part), minlength=10)
    assert counts.max() - counts.min() <= 1


def test_a_stratified_split_depends_on_its_seed_alone(data_dir):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    first, same_seed, other_seed = (
        read_rows(select_subset(scenes, "all[2:8]", seed).examples) for seed in (0, 0, 1)
    )
    assert first == same_seed
    assert first != other_seed


@settings(max_examples=200, deadline=None)
@given(
    strata=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array),
    first=st.integers(0, 9),
    second=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_stratified_split_selects_its_fraction_in_total_and_of_every_class(
    strata, first, second, seed
):
    selected = split_stratified(strata, f"{first}:{second}", seed)
    fraction = first / (first + second)
    assert selected.sum() == len(strata) * first // (first + second)
    for stratum in np.unique(strata):
        members = strata == stratum
        assert abs(selected[members].sum() - members.sum() * fraction) < 1


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(3, 9), min_size=1, max_size=5),
    size=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_number_per_class_is_selected_exactly(counts, size, seed):
    strata = np.repeat(np.arange(len(counts)), counts)
    selected = split_stratified(strata, f"{size} per class", seed)
    assert np.bincount(strata[selected]).tolist() == [size] * len(counts)


@settings(max_examples=100, deadline=None)
@given(
    strata=st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array),
    percent=st.integers(1, 20),
    factor=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_fraction_contains_the_fractions_that_divide_it(strata, percent, factor, seed):
    smaller = split_stratified(strata, f"{percent}%", seed)
    assert (split_stratified(strata, f"{percent * factor}%", seed) >= smaller).all()


def test_a_number_per_class_contains_every_smaller_one():
    strata = np.repeat([0, 1, 2], 9)
    parts = [split_stratified(strata, f"{size} per class", 3) for size in range(1, 10)]
    for smaller, larger in itertools.pairwise(parts):
        assert (larger >= smaller).all()


def select_rows(scenes, split, seed=0):
    return set(read_rows(select_subset(scenes, split, seed).examples))


@settings(max_examples=60, deadline=None)
@given(
    first=st.sampled_from(["2:8", "5:5", "80%", "3 per class"]),
    second=st.sampled_from(["10%", "50%", "90%", "1 per class"]),
    third=st.sampled_from(["50%", "6:4"]),
    seed=st.integers(0, 99),
)
def test_each_bracket_splits_the_examples_selected_before_it(data_dir, first, second, third, seed):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    for outer in (f"all[{first}]", f"all[{first}].rest"):
        part = select_rows(scenes, f"{outer}[{second}]", seed)
        rest = select_rows(scenes, f"{outer}[{second}].rest", seed)
        assert part | rest == select_rows(scenes, outer, seed)
        assert not part & rest
    outer = f"all[{first}].rest[{second}].rest"
    part = select_rows(scenes, f"{outer}[{third}]", seed)
    rest = select_rows(scenes, f"{outer}[{third}].rest", seed)
    assert part | rest == select_rows(scenes, outer, seed)


def test_a_nested_split_is_stratified_too(data_dir):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    counts = np.bincount(read_labels(select_subset(scenes, "all[5:5][50%]").examples), minlength=10)
    assert counts.tolist() == [2] * 10


def test_every_example_may_be_selected():
    strata = np.repeat([0, 1], 6)
    counts = sum(split_stratified(strata, "2 per class", seed) for seed in range(60))
    assert (counts > 0).all()


@pytest.mark.parametrize("rest", ["", ".rest"])
def test_of_images_and_of_pictures_mean_the_same(rest):
    images, pictures = (
        SplitExpression.parse(f"train[8:2 of {noun}]{rest}") for noun in ("images", "pictures")
    )
    assert images == pictures
    assert images.steps == (StratifiedSplit("8:2", bool(rest), images=True),)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("all[2-8]", r"expected NAME, NAME\[2:8\], NAME\[10%\] or NAME\[16 per class\]"),
        ("all.rest", "expected NAME"),
        ("all[snow].rest", "expected NAME"),
        ("all[5:5][2-8]", "expected NAME"),
        ("all[0:0]", "expected NAME"),
        ("all[120%]", "expected NAME"),
        ("all[2:8", "expected NAME"),
        ("test", "has no split 'test'; it has train, all"),
        ("all[9 per class]", "found a class of 8 examples; expected at least 9"),
        ("all[1%]", "has none of the 80 examples"),
        ("all[100%].rest", "has none of the 80 examples"),
    ],
)
def test_invalid_split_expressions_are_explained(data_dir, split, message):
    with pytest.raises(UserError, match=message):
        select_subset(open_dataset("demo_scenes/tiny", data_dir), split)


def test_an_unprepared_dataset_names_the_command_that_prepares_it(tmp_path):
    command = f"run python -m data_pipelines.build demo_tiles/small --data_dir {tmp_path}$"
    with pytest.raises(UserError, match=command):
        open_dataset("demo_tiles/small", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo_nothing", "expected one of demo_tiles, demo_scenes"),
        ("demo_tiles/huge", "has no config 'huge'; expected one of default, small, tiny"),
        ("no.such.module", "no.such.module can't be imported"),
        ("data_pipelines.errors:UserError", "the TFDS builders \\(none\\)"),
        ("a/b/c.py:Builder", "can't be imported \\(FileNotFoundError"),
    ],
)
def test_unknown_builder_names_are_explained(data_dir, name, message):
    with pytest.raises(UserError, match=message):
        open_dataset(name, data_dir)


def test_a_missing_band_is_an_error(data_dir):
    with pytest.raises(UserError, match="sensor demo_tiles does not have it"):
        open_dataset("demo_tiles/tiny", data_dir, ["swir16"])


def test_multi_label_images_of_a_user_dataset_are_read(tmp_path):
    name = prepare_user_dataset(
        tmp_path,
        "Images",
        '{"image": tfds.features.Image(shape=(8, 8, 3)), '
        '"labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"]))}',
        '{"image": png(40 * i), "labels": [i % 3] if i else [0, 2]}',
    )
    images = open_dataset(name, tmp_path, ["green"])
    assert images.classes == ("a", "b", "c")
    assert images.sensor.names == ("green",)
    source = select_subset(images, "train").examples
    read = {
        int(e["image"][0, 0, 0]): e["labels"].tolist() for e in map(source.__getitem__, range(6))
    }
    assert read[0] == [1, 0, 1]
    assert read[80] == [0, 0, 1]
    part, rest = (
        select_subset(images, "train[5:5]").examples,
        select_subset(images, "train[5:5].rest").examples,
    )
    assert sorted(read_rows(part) + read_rows(rest)) == list(range(6))


def test_a_builder_that_needs_tensorflow_is_an_error(tmp_path):
    with pytest.raises(UserError, match="its builder needs TensorFlow"):
        prepare_user_dataset(
            tmp_path,
            "Arrays",
            '{"image": tfds.features.Image(shape=(8, 8, 3))}',
            '{"image": np.zeros((8, 8, 3), np.uint8)}',
        )


def test_tensors_of_a_user_dataset_may_have_any_encoding(tmp_path):
    name = prepare_user_dataset(
        tmp_path,
        "Tensors",
        '{"image": tfds.features.Tensor(shape=(4, 4, 4), dtype=np.uint16, encoding="zlib"), '
        '"label": np.int64}',
        '{"image": np.full((4, 4, 4), i, np.uint16), "label": i % 2}',
        '{"sensor": NAIP.to_dict(), "classes": ["even", "odd"]}',
    )
    source = select_subset(open_dataset(name, tmp_path), "train").examples
    for example in map(source.__getitem__, range(6)):
        assert (example["image"] % 2 == example["label"]).all()


@pytest.mark.parametrize(
    ("name", "features", "example", "metadata", "message"),
    [
        (
            "NoImage",
            '{"picture": np.int64}',
            '{"picture": i}',
            "{}",
            "has no feature `image`, only picture",
        ),
        (
            "NoSensor",
            '{"image": tfds.features.Tensor(shape=(4, 4, 4), dtype=np.uint8)}',
            '{"image": np.zeros((4, 4, 4), np.uint8)}',
            "{}",
            "does not define the sensor of its 4 bands",
        ),
        (
            "WrongSensor",
            '{"image": tfds.features.Tensor(shape=(4, 4, 2), dtype=np.uint8)}',
            '{"image": np.zeros((4, 4, 2), np.uint8)}',
            SENSOR,
            "its images have 2 bands, its sensor naip 4",
        ),
        (
            "Floats",
            '{"image": tfds.features.Tensor(shape=(4, 4, 4), dtype=np.float32)}',
            '{"image": np.zeros((4, 4, 4), np.float32)}',
            SENSOR,
            "its images are float32",
        ),
    ],
)
def test_an_unusable_dataset_is_explained(tmp_path, name, features, example, metadata, message):
    with pytest.raises(UserError, match=message):
        prepare_user_dataset(tmp_path, name, features, example, metadata)
    assert not list(tmp_path.rglob("*array_record*"))
