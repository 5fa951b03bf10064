"""Unreadable records: the errors that they raise, and the examples that replace them."""

import io
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from corruption import copy_dataset, corrupt_records
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import UserError
from data_pipelines.preparing import shards
from data_pipelines.preparing.build import build
from data_pipelines.sources import records
from data_pipelines.sources.bad_records import BadRecords, SkippingSource
from data_pipelines.sources.loader import Loader, evaluation_batches
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.records import BadRecord, Decoder
from data_pipelines.sources.subset import select_subset

SCENES, TILES = "demo_scenes/tiny", "demo_tiles/tiny"


@pytest.fixture
def scenes(data_dir, tmp_path):
    """A shard of a dataset with labels, of which examples 7, 8 and the last are corrupt."""
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    return shard, corrupt_records(shard, SCENES, tmp_path, "train", BAD)


BAD = (7, 8, 79)


def open_examples(folder, on_error="skip", split="all", name=SCENES):
    bad = BadRecords(on_error)
    return select_subset(open_dataset(name, folder, bad_records=bad), split).examples, bad


def are_equal(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first if name != "index")


def test_the_error_of_a_corrupt_record_names_file_and_example_in_one_line(scenes, tmp_path):
    shard, numbers = scenes
    source, _ = open_examples(tmp_path, "stop")
    for position, number in zip(BAD, numbers, strict=True):
        with pytest.raises(BadRecord) as bad:
            source[position]
        assert f"file {shard}, record {number} (example {position} of" in str(bad.value)
        assert "data hash mismatch" in str(bad.value)
        assert "--config.data.on_error=skip" in str(bad.value)
        assert "\n" not in str(bad.value)
    for position in set(range(80)) - set(BAD):
        source[position]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("length", [1, 100, 30_000])
def test_corrupt_bytes_are_always_detected(fraction, length, data_dir, tmp_path):
    valid, _ = open_examples(data_dir, "stop")
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    content = bytearray(shard.read_bytes())
    start = int(fraction * len(content))
    content[start : start + length] = bytes(b ^ 0x5A for b in content[start : start + length])
    shard.write_bytes(content)
    corrupt, _ = open_examples(tmp_path, "stop")
    errors = []
    for position in range(80):
        try:
            record = corrupt[position]
        except UserError as error:
            errors.append(str(error))
        else:
            assert are_equal(record, valid[position])
    assert all(str(shard) in error for error in errors)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 300_000, slice(0, -1), slice(0, 100_000), slice(0, -65536)]
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_truncated_shard_is_named_and_never_skipped(content, on_error, data_dir, tmp_path):
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    shard.write_bytes(shard.read_bytes()[content] if isinstance(content, slice) else content)
    source, _ = open_examples(tmp_path, on_error)
    with pytest.raises(UserError, match=rf"^file {shard}: none of its records .*copy it again"):
        source[0]


def test_a_missing_shard_is_named_and_never_skipped(data_dir, tmp_path):
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    shard.unlink()
    with pytest.raises(UserError, match=rf"file {shard}: none of its records"):
        open_examples(tmp_path)[0][0]


def test_a_record_with_other_features_is_unreadable(data_dir, tmp_path):
    """A valid shard of another dataset, under the name of this dataset's shard."""
    shard = copy_dataset(data_dir, TILES, tmp_path)["train"]
    scenes = next((data_dir / SCENES).glob("*/*.array_record-*"))
    shard.write_bytes(scenes.read_bytes())
    feature_file = shard.parent / "features.json"
    assert "64" not in feature_file.read_text()
    feature_file.write_text(feature_file.read_text().replace('"32"', '"16"'))
    with pytest.raises(BadRecord, match=r"record 0 .*: can't be read \(ValueError: cannot reshape"):
        open_examples(tmp_path, "stop", "train", TILES)[0][0]


@pytest.mark.parametrize("threads", [0, 4])
def test_training_replaces_a_bad_example_by_the_next_valid_one(scenes, tmp_path, threads):
    source, _ = open_examples(tmp_path)
    replacements = {7: 9, 8: 9, 79: 0}
    loader = Loader(source, 16, seed=2, threads=threads, steps=10)
    batches = list(loader.batches())
    assert len(batches) == 10
    for step, batch in enumerate(batches):
        for row, position in enumerate(loader.rows(step)):
            example = {name: values[row] for name, values in batch.items()}
            assert example["index"] == position
            assert are_equal(example, source.source[replacements.get(position, position)])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_batches_and_bad_records_are_the_same_for_any_process_count_and_start(
    scenes, tmp_path, processes
):
    _, numbers = scenes
    expected = list(Loader(open_examples(tmp_path)[0], 16, 5, threads=0, steps=12).batches())
    entries = []
    local = []
    for process in range(processes):
        source, bad = open_examples(tmp_path)
        local.append(list(Loader(source, 16, 5, process, processes, 3, steps=12).batches(2)))
        entries += bad.entries
    for batch, *parts in zip(expected[2:], *local, strict=True):
        for name, values in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    assert {entry["index"] for entry in entries} == set(numbers)


def test_records_that_are_only_prefetched_are_not_listed(scenes, tmp_path):
    source, bad = open_examples(tmp_path)
    loader = Loader(source, 8, seed=0, threads=4, steps=3)
    list(loader.batches())
    used = set(np.concatenate([loader.rows(step) for step in range(3)]))
    assert used.isdisjoint(BAD) or bad.entries
    expected = {position for position in BAD if position in used}
    expected |= {8} if 7 in used else set()  # read in the search for a replacement
    assert len(bad.entries) == len(expected)


@pytest.mark.parametrize(("processes", "threads"), [(1, 0), (1, 4), (2, 4)])
def test_evaluation_reads_all_valid_examples_once_and_no_bad_one(
    scenes, tmp_path, processes, threads
):
    indices, entries = [], []
    for process in range(processes):
        source, bad = open_examples(tmp_path)
        batches = list(evaluation_batches(source, 24, process, processes, threads))
        assert not any(values[~b["valid"]].any() for b in batches for values in b.values())
        indices += [index for batch in batches for index in batch["index"][batch["valid"]]]
        entries += bad.entries
    assert sorted(indices) == sorted(set(range(80)) - set(BAD))
    assert len({entry["index"] for entry in entries}) == len(BAD)


def test_by_default_a_bad_record_stops_evaluation_and_training(scenes, tmp_path):
    source, _ = open_examples(tmp_path, "stop")
    for batches in (Loader(source, 16, 0, threads=3).batches(), evaluation_batches(source, 16)):
        with pytest.raises(BadRecord, match=r"record \d+ \(example"):
            list(batches)


def test_a_bad_record_is_reported_and_listed_once_for_any_number_of_threads(
    scenes, tmp_path, capsys
):
    shard, numbers = scenes
    source, bad = open_examples(tmp_path)
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
    assert all(re.match(r"warning: file .*, record \d+ .*; skipping it$", x) for x in lines)
    assert [(e["file"], e["index"]) for e in bad.entries] == [
        (str(shard), n) for n in sorted(numbers)
    ]


def test_bad_records_persist_for_resumed_runs(scenes, tmp_path):
    folder = tmp_path / "run" / "bad_records"
    source, first = open_examples(tmp_path)
    source[7]  # read before the folder is known
    first.persist_in(folder, 0)
    second = BadRecords("skip")
    second.persist_in(folder, 1)
    SkippingSource(source.source, second)[79]
    resumed = BadRecords("skip")
    resumed.persist_in(folder, 0)
    assert len(resumed.entries) == 3
    empty = BadRecords("skip")
    empty.persist_in(tmp_path / "valid", 0)
    assert not (tmp_path / "valid").exists()


def test_records_of_a_moved_dataset_are_not_listed_twice(scenes, tmp_path):
    source, bad = open_examples(tmp_path)
    source[79]
    (tmp_path / "moved").mkdir()
    (tmp_path / "demo_scenes").rename(tmp_path / "moved" / "demo_scenes")
    moved = select_subset(open_dataset(SCENES, tmp_path / "moved", bad_records=bad), "all").examples
    moved[79]
    assert len(bad.entries) == 1


def test_skipping_fails_if_all_records_are_bad(data_dir, tmp_path):
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    corrupt_records(shard, SCENES, tmp_path, "train", range(80))
    source, _ = open_examples(tmp_path)
    with pytest.raises(UserError, match="none of 80 examples can be read"):
        source[0]


def test_a_bad_block_invalidates_its_windows_but_only_its_own_pixels_of_the_image(
    data_dir, tmp_path
):
    name = "demo_aerial/tiny"
    shard = copy_dataset(data_dir, name, tmp_path)["test"]
    corrupt_records(shard, name, tmp_path, "test", [0])
    valid = open_dataset(name, data_dir)
    bad = BadRecords("skip")
    corrupt = open_dataset(name, tmp_path, bad_records=bad)
    batches = list(evaluation_batches(select_subset(corrupt, "test").examples, 4, threads=0))
    is_valid = np.concatenate([batch["valid"] for batch in batches])[
        : len(select_subset(valid, "test"))
    ]
    assert 0 < (~is_valid).sum() < len(is_valid)
    assert len(bad.entries) == 1
    images = (select_subset(dataset, "test").images() for dataset in (valid, corrupt))
    for first, second in zip(*images, strict=True):
        assert (first.height, first.width) == (second.height, second.width)
        window = (0, 0, first.height, first.width)
        expected, actual = first.read(*window), second.read(*window)
        lost = actual["mask"] != expected["mask"]
        assert (actual["mask"][lost] == corrupt.ignore_label).all()
        assert not actual["image"][lost].any()
        np.testing.assert_array_equal(actual["image"][~lost], expected["image"][~lost])


def test_an_unknown_error_policy_is_an_error():
    with pytest.raises(UserError, match=r"config.data.on_error: found 'ignore'; expected stop or"):
        BadRecords("ignore")


def test_a_corrupt_catalogue_is_named(data_dir, tmp_path):
    shard = copy_dataset(data_dir, SCENES, tmp_path)["train"]
    file = shard.parent / "catalogue-train.npz"
    for content in (b"", b"no zip", file.read_bytes()[:-30], pickle.dumps(np.array([object]))):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"file {file}: is corrupt, or not a catalogue"):
            open_examples(tmp_path)


def test_an_encoded_image_of_another_shape_is_an_error():
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


FEW_FILES = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 60))
from data_pipelines.preparing import shards
shards.SHARD_BYTES = 1
from data_pipelines.preparing.build import build
from data_pipelines.preparing.verify import verify
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
folder = build("demo_scenes/tiny", sys.argv[1])
assert len(list(Path(folder).glob("*array_record*"))) == 80
dataset = open_dataset("demo_scenes/tiny", sys.argv[1])
verify(dataset)
source = select_subset(dataset, "all").examples
print(sum(int(source[i]["image"].sum()) for i in [*range(80), *range(80)]))
"""


def test_a_dataset_may_have_more_shards_than_a_process_may_open_files(data_dir, tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", FEW_FILES, str(tmp_path)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    source, _ = open_examples(data_dir)
    assert int(process.stdout) == 2 * sum(int(source[i]["image"].sum()) for i in range(80))


def test_shards_are_read_by_many_threads_while_files_are_closed(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    monkeypatch.setattr(records, "allow_open_files", lambda count: 3)
    build(SCENES, tmp_path)
    expected, _ = open_examples(data_dir)
    source, _ = open_examples(tmp_path)
    rows = np.random.default_rng(0).integers(0, 80, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.__getitem__, rows))
    for row, record in zip(rows, found, strict=True):
        assert are_equal(record, expected[row])
