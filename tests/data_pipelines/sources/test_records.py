"""Records that can't be read: what is said of them, and what is seen in their place."""

import io
import pickle
import re
import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from corruption import copy_of, damage
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BadRecords, SkippingSource
from data_pipelines.sources.loader import Loader, evaluation_batches
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.records import BadRecord, Decoder
from data_pipelines.sources.subset import select_subset

SCENES, TILES = "demo_scenes/tiny", "demo_tiles/tiny"


@pytest.fixture
def scenes(data_dir, tmp_path):
    """The shard of a dataset with labels, of which records 7, 8 and the last can't be read."""
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    return shard, damage(shard, SCENES, tmp_path, "train", BAD)


BAD = (7, 8, 79)


def opened(folder, on_error="skip", split="all", name=SCENES):
    bad = BadRecords(on_error)
    return select_subset(open_dataset(name, folder, bad_records=bad), split).examples, bad


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one if name != "index")


def test_a_damaged_record_names_file_and_example_in_one_line(scenes, tmp_path):
    shard, numbers = scenes
    source, _ = opened(tmp_path, "stop")
    for position, number in zip(BAD, numbers, strict=True):
        with pytest.raises(BadRecord) as bad:
            source[position]
        assert f"file {shard}, record {number} (example {position} of" in str(bad.value)
        assert "data hash mismatch" in str(bad.value)
        assert "--config.data.on_error=skip" in str(bad.value)
        assert "\n" not in str(bad.value)
    for position in set(range(80)) - set(BAD):
        source[position]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("length", [1, 100, 30_000])
def test_damaged_bytes_are_never_taken_for_good_ones(share, length, data_dir, tmp_path):
    good, _ = opened(data_dir, "stop")
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    content = bytearray(shard.read_bytes())
    start = int(share * len(content))
    content[start : start + length] = bytes(b ^ 0x5A for b in content[start : start + length])
    shard.write_bytes(content)
    read, _ = opened(tmp_path, "stop")
    told = []
    for position in range(80):
        try:
            record = read[position]
        except UserError as error_message:
            told.append(str(error_message))
        else:
            assert same(record, good[position])
    assert all(str(shard) in error_message for error_message in told)


@pytest.mark.parametrize(
    "damaged", [b"", b"\0" * 300_000, slice(0, -1), slice(0, 100_000), slice(0, -65536)]
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_file_without_its_end_is_named_and_never_skipped(damaged, on_error, data_dir, tmp_path):
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    shard.write_bytes(shard.read_bytes()[damaged] if isinstance(damaged, slice) else damaged)
    source, _ = opened(tmp_path, on_error)
    with pytest.raises(UserError, match=rf"^file {shard}: none of its records .*copy it again"):
        source[0]


def test_a_file_that_is_missing_is_named_and_never_skipped(data_dir, tmp_path):
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    shard.unlink()
    with pytest.raises(UserError, match=rf"file {shard}: none of its records"):
        opened(tmp_path)[0][0]


def test_a_record_of_other_features_is_undecodable(data_dir, tmp_path):
    """Whole bytes of something else: a shard of another dataset under this one's name."""
    shard = copy_of(data_dir, TILES, tmp_path)["train"]
    scenes = next((data_dir / SCENES).glob("*/*.array_record-*"))
    shard.write_bytes(scenes.read_bytes())
    feature_file = shard.parent / "features.json"
    assert "64" not in feature_file.read_text()
    feature_file.write_text(feature_file.read_text().replace('"32"', '"16"'))
    with pytest.raises(BadRecord, match=r"record 0 .*: can't be read \(ValueError: cannot reshape"):
        opened(tmp_path, "stop", "train", TILES)[0][0]


@pytest.mark.parametrize("threads", [0, 4])
def test_training_sees_the_next_good_example_in_place_of_a_bad_one(scenes, tmp_path, threads):
    source, _ = opened(tmp_path)
    good = {0: 0, 7: 9, 8: 9, 79: 0}
    loader = Loader(source, 16, seed=2, threads=threads, steps=10)
    batches = list(loader.batches())
    assert len(batches) == 10
    for step, batch in enumerate(batches):
        for place, position in enumerate(loader.rows(step)):
            seen = {name: values[place] for name, values in batch.items()}
            assert seen["index"] == position
            assert same(seen, source.source[good.get(position, position)])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_process_count_and_start_sees_the_same_and_counts_the_same(
    scenes, tmp_path, processes
):
    _, numbers = scenes
    whole = list(Loader(opened(tmp_path)[0], 16, 5, threads=0, steps=12).batches())
    found = []
    shares = []
    for process in range(processes):
        source, bad = opened(tmp_path)
        shares.append(list(Loader(source, 16, 5, process, processes, 3, steps=12).batches(2)))
        found += bad.found
    for batch, *parts in zip(whole[2:], *shares, strict=True):
        for name, values in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    assert {entry["index"] for entry in found} == set(numbers)


def test_nothing_is_counted_that_is_only_read_ahead(scenes, tmp_path):
    source, bad = opened(tmp_path)
    loader = Loader(source, 8, seed=0, threads=4, steps=3)
    list(loader.batches())
    used = set(np.concatenate([loader.rows(step) for step in range(3)]))
    assert used.isdisjoint(BAD) or bad.found
    expected = {position for position in BAD if position in used}
    expected |= {8} if 7 in used else set()  # met on the way to a good one
    assert len(bad.found) == len(expected)


@pytest.mark.parametrize(("processes", "threads"), [(1, 0), (1, 4), (2, 4)])
def test_evaluation_counts_all_good_examples_once_and_no_bad_one(
    scenes, tmp_path, processes, threads
):
    seen, counted = [], []
    for process in range(processes):
        source, bad = opened(tmp_path)
        batches = list(evaluation_batches(source, 24, process, processes, threads))
        assert not any(values[~b["valid"]].any() for b in batches for values in b.values())
        seen += [index for batch in batches for index in batch["index"][batch["valid"]]]
        counted += bad.found
    assert sorted(seen) == sorted(set(range(80)) - set(BAD))
    assert len({entry["index"] for entry in counted}) == len(BAD)


def test_by_default_a_bad_record_ends_evaluation_and_training(scenes, tmp_path):
    source, _ = opened(tmp_path, "stop")
    for batches in (Loader(source, 16, 0, threads=3).batches(), evaluation_batches(source, 16)):
        with pytest.raises(BadRecord, match=r"record \d+ \(example"):
            list(batches)


def test_each_is_told_once_and_counted_once_however_many_threads_meet_it(scenes, tmp_path, capsys):
    shard, numbers = scenes
    source, bad = opened(tmp_path)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [source[i] for i in range(80)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(BAD)
    assert all(re.match(r"warning: file .*, record \d+ .*; going on without it$", x) for x in lines)
    assert [(e["file"], e["index"]) for e in bad.found] == [
        (str(shard), n) for n in sorted(numbers)
    ]


def test_they_are_remembered_by_whoever_goes_on(scenes, tmp_path):
    folder = tmp_path / "run" / "bad_records"
    source, first = opened(tmp_path)
    source[7]  # met before the folder is known
    first.persist_in(folder, 0)
    other = BadRecords("skip")
    other.persist_in(folder, 1)
    SkippingSource(source.source, other)[79]
    later = BadRecords("skip")
    later.persist_in(folder, 0)
    assert len(later.found) == 3
    untouched = BadRecords("skip")
    untouched.persist_in(tmp_path / "good", 0)
    assert not (tmp_path / "good").exists()


def test_a_dataset_that_moved_is_not_counted_twice(scenes, tmp_path):
    source, bad = opened(tmp_path)
    source[79]
    (tmp_path / "moved").mkdir()
    (tmp_path / "demo_scenes").rename(tmp_path / "moved" / "demo_scenes")
    moved = select_subset(open_dataset(SCENES, tmp_path / "moved", bad_records=bad), "all").examples
    moved[79]
    assert len(bad.found) == 1


def test_where_all_are_bad_nothing_can_be_skipped(data_dir, tmp_path):
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    damage(shard, SCENES, tmp_path, "train", range(80))
    source, _ = opened(tmp_path)
    with pytest.raises(UserError, match="none of 80 examples can be read"):
        source[0]


def test_a_cell_that_is_bad_spoils_its_windows_and_only_its_own_pixels(data_dir, tmp_path):
    name = "demo_aerial/tiny"
    shard = copy_of(data_dir, name, tmp_path)["test"]
    damage(shard, name, tmp_path, "test", [0])
    good = open_dataset(name, data_dir)
    bad = BadRecords("skip")
    damaged = open_dataset(name, tmp_path, bad_records=bad)
    batches = list(evaluation_batches(select_subset(damaged, "test").examples, 4, threads=0))
    windows = np.concatenate([batch["valid"] for batch in batches])[
        : len(select_subset(good, "test"))
    ]
    assert 0 < (~windows).sum() < len(windows)
    assert len(bad.found) == 1
    images = (select_subset(dataset, "test").images() for dataset in (good, damaged))
    for one, other in zip(*images, strict=True):
        assert (one.height, one.width) == (other.height, other.width)
        whole = (0, 0, one.height, one.width)
        there, here = one.read(*whole), other.read(*whole)
        lost = here["mask"] != there["mask"]
        assert (here["mask"][lost] == damaged.ignore_label).all()
        assert not here["image"][lost].any()
        np.testing.assert_array_equal(here["image"][~lost], there["image"][~lost])


def test_what_skips_is_named_as_it_should_be():
    with pytest.raises(UserError, match=r"config.data.on_error: found 'ignore'; expected stop or"):
        BadRecords("ignore")


def test_a_damaged_catalogue_is_named(data_dir, tmp_path):
    shard = copy_of(data_dir, SCENES, tmp_path)["train"]
    file = shard.parent / "catalogue-train.npz"
    for content in (b"", b"no zip", file.read_bytes()[:-30], pickle.dumps(np.array([object]))):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"file {file}: is no catalogue of records, or damage"):
            opened(tmp_path)


def test_an_encoded_image_of_another_shape_is_undecodable():
    stored = tf_example_pb2.Example().features.feature["image"]
    file = io.BytesIO()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(file, "PNG")
    stored.bytes_list.value.append(file.getvalue())
    assert Decoder.for_feature("image", tfds.features.Image(shape=(5, 5, 3)))(stored).shape == (
        5,
        5,
        3,
    )
    with pytest.raises(ValueError, match=r"found shape \(5, 5, 3\), expected \(4, 4, 3\)"):
        Decoder.for_feature("image", tfds.features.Image(shape=(4, 4, 3)))(stored)
