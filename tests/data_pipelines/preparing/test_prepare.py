"""A build that is killed, fails or runs twice leaves a complete dataset or none."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from bigearthnet_archives import LABELS_V1, write_lists, write_patch
from waiting import TIMEOUT_SECONDS, wait_for, wait_for_file

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

# Reading a patch takes $PAUSE seconds, so that a signal arrives while the build is running.
PATCHES = """
import os
import time
import numpy as np
import tensorflow_datasets as tfds
from typing import NamedTuple
from data_pipelines.bands import NAIP
from data_pipelines.reading import Reading

class Item(NamedTuple):
    number: int
    split: str

def read(item):
    time.sleep(float(os.environ.get("PAUSE", 0)))
    pixels = np.random.default_rng(item.number).integers(0, 255, (64, 64, 4)).astype(np.uint8)
    yield f"{{item.number:04}}", {{"image": pixels, "label": item.number % 3}}

class Patches(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({{
                "image": tfds.features.Tensor(
                    shape=(64, 64, 4), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
                ),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }}),
            metadata=tfds.core.MetadataDict(sensor=NAIP.to_dict()),
        )

    def _split_generators(self, dl_manager):
        items = [Item(n, "test" if n % 4 == 0 else "train") for n in range({count})]
        return Reading(items, read, {{"train": {train}, "test": {test}}}, chunk=4).splits()

    def _generate_examples(self):
        pass
"""


def write_builder(folder, count=400, known_counts=True):
    file = folder / "patches.py"
    train, test = (count - -(-count // 4), -(-count // 4)) if known_counts else (None, None)
    file.write_text(PATCHES.format(count=count, train=train, test=test))
    return file


def start_build(builder, data_dir, *options, pause=0.0):
    """Start a build that pauses for `pause` seconds at each patch."""
    command = [sys.executable, "-m", "data_pipelines.build", str(builder), "--data_dir"]
    # A shell's background job ignores Ctrl-C, and so do its children: the tests may be such a job.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [*command, str(data_dir), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PAUSE": str(pause)},
        )
    finally:
        signal.signal(signal.SIGINT, before)


def hash_files(folder):
    """Return {file: hash} of a dataset's files, without the JSON files."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*"))
        if path.suffix != ".json"
    }


def list_dataset_files(data_dir):
    """Return the files of complete datasets below a data directory, and all other files."""
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    complete = [path for path in files if path.parent.name == "1.0.0"]
    return complete, [path for path in files if path not in complete]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return hash_files(build(str(write_builder(folder)), folder / "data"))


@pytest.mark.parametrize(
    ("pattern", "seconds"), [("*.incomplete", 0.0), ("train-00000", 0.0), ("train-00000", 1.0)]
)
def test_a_build_killed_at_any_moment_leaves_no_incomplete_dataset(
    tmp_path, uninterrupted, pattern, seconds
):
    builder = write_builder(tmp_path)
    data_dir = tmp_path / "data"
    process = start_build(builder, data_dir, "--workers", "2", pause=0.05)
    wait_for_file(data_dir, pattern, process)
    time.sleep(seconds)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    complete, _ = list_dataset_files(data_dir)
    assert not complete
    with pytest.raises(UserError, match="is not prepared"):
        open_dataset(str(builder), data_dir)
    wait_for(lambda: not any(worker.is_running() for worker in workers))  # the workers exit too

    restarted = start_build(builder, data_dir, "--workers", "2")
    _, errors = restarted.communicate()
    assert restarted.returncode == 0, errors
    assert "an earlier build was interrupted: " in errors
    complete, rest = list_dataset_files(data_dir)
    assert hash_files(complete[0].parent) == uninterrupted
    assert not rest


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_a_graceful_shutdown_deletes_the_partial_dataset(tmp_path, number, code):
    data_dir = tmp_path / "data"
    process = start_build(write_builder(tmp_path), data_dir, "--workers", "2", pause=0.05)
    wait_for_file(data_dir, "train-00000", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == code
    assert errors == "interrupted; no partial files were left\n"
    assert list_dataset_files(data_dir) == ([], [])


def test_a_build_killed_while_replacing_a_dataset_leaves_the_old_or_the_new_one(tmp_path):
    data_dir = tmp_path / "data"
    builder = str(write_builder(tmp_path, count=8))
    folder = build(builder, data_dir)
    old = hash_files(folder)
    folder.rename(folder.with_name("1.0.0.replaced"))  # as between the two renames
    assert build(builder, data_dir) == folder
    assert hash_files(folder) == old
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


def test_the_number_of_workers_changes_no_byte(tmp_path, uninterrupted):
    builder = write_builder(tmp_path)
    folder = build(str(builder), tmp_path / "data", workers=3)
    assert hash_files(folder) == uninterrupted


def test_a_second_build_of_the_same_dataset_is_refused(tmp_path):
    data_dir = tmp_path / "data"
    builder = write_builder(tmp_path, count=40)
    first = start_build(builder, data_dir, pause=1.0)
    wait_for_file(data_dir, "*.incomplete", first)
    second = start_build(builder, data_dir)
    _, errors = second.communicate(timeout=TIMEOUT_SECONDS)
    assert second.returncode == 2
    assert "another process is preparing it" in errors
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_the_death_of_a_worker_is_reported_in_one_line(tmp_path):
    data_dir = tmp_path / "data"
    process = start_build(write_builder(tmp_path), data_dir, "--workers", "2", pause=0.05)
    wait_for_file(data_dir, "train-00000", process)
    forkserver = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in forkserver if child.ppid() != process.pid]
    os.kill(workers[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert errors.startswith("error: a worker process died; if the machine ran out of memory")
    assert errors.count("\n") == 1
    assert list_dataset_files(data_dir) == ([], [])


def make_small_disk_command(megabytes, command):
    """Return a command that runs `command` with a disk of that size mounted at `small`."""
    script = f"mount -t tmpfs -o size={megabytes}m tmpfs small && {command}; echo rc=$?; find small"
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]


can_mount = (
    shutil.which("unshare")
    and not subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True
    ).returncode
)


@pytest.mark.skipif(not can_mount, reason="mounting a small disk needs user namespaces")
@pytest.mark.parametrize("known_counts", [True, False])
def test_a_full_disk_is_reported_before_or_during_the_build(tmp_path, known_counts):
    """Before if the number of examples is known, otherwise during the build."""
    builder = write_builder(tmp_path, count=400, known_counts=known_counts)
    (tmp_path / "small").mkdir()
    command = f"{sys.executable} -m data_pipelines.build {builder} --data_dir small"
    result = subprocess.run(
        make_small_disk_command(2, command),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert "rc=2" in result.stdout, result.stderr
    if known_counts:
        assert "the dataset takes 6.6 MB, and 2.1 MB are free" in result.stderr
    else:
        assert "the disk is full after" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "array_record" not in result.stdout
    assert "incomplete" not in result.stdout


def test_memory_does_not_grow_with_the_number_of_patches(tmp_path):
    """The pixels of the larger build take 164 MB; only a fraction of them may stay in memory."""
    peaks = {}
    for count in (1000, 10_000):
        builder = write_builder(tmp_path, count=count)
        process = start_build(builder, tmp_path / f"data{count}", "--workers", "1")
        peak = 0
        observed = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, observed.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        process.communicate()
        peaks[count] = peak
    assert peaks[10_000] - peaks[1000] < 9000 * 64 * 64 * 4 / 4


def test_a_truncated_archive_leaves_no_files(tmp_path):
    import gzip

    from bigearthnet_archives import pack_tar

    manual = tmp_path / "manual"
    names = [f"S2A_MSIL2A_20170613T101031_0_{n}" for n in range(3)]
    for name in names:
        write_patch(tmp_path / "patches" / "BigEarthNet-v1.0", name, LABELS_V1)
    manual.mkdir()
    write_lists(manual, train=names)
    archive = gzip.compress(pack_tar(tmp_path / "patches" / "BigEarthNet-v1.0"))
    (manual / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(archive[: len(archive) * 2 // 3])
    for skip in (False, True):  # a corrupt archive is not skipped as an invalid patch
        with pytest.raises(UserError, match=r"tar.gz: is corrupt or incomplete after \d+ files"):
            build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual, skip=skip)
        assert list_dataset_files(tmp_path / "data") == ([], [])


def test_examples_that_do_not_match_the_features_are_reported(tmp_path):
    file = write_builder(tmp_path, count=8)
    file.write_text(file.read_text().replace("item.number % 3}", "item.number}"))
    with pytest.raises(UserError, match=r"example '0003': does not match its dataset's features"):
        build(str(file), tmp_path / "data")
    folder = build(str(file), tmp_path / "data", skip=True)
    assert len((folder / "skipped.txt").read_text().splitlines()) == 5
    source = select_subset(open_dataset(str(file), tmp_path / "data"), "all").examples
    np.testing.assert_array_equal(sorted(s["label"] for s in map(source.__getitem__, range(3))),
                                  [0, 1, 2])  # fmt: skip
    assert Path(folder).is_dir()
