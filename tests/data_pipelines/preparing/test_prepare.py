"""A build that is killed, starved or run twice leaves a whole dataset or none."""

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
from archives_of_patches import LABELS_V1, write_lists, write_patch
from waiting import HANG, wait_for

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

# Patches that take their time where $PAUSE says so: a signal then finds the build at work.
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


def patches(folder, count=400, known=True):
    file = folder / "patches.py"
    train, test = (count - -(-count // 4), -(-count // 4)) if known else (None, None)
    file.write_text(PATCHES.format(count=count, train=train, test=test))
    return file


def start(builder, data_dir, *options, pause=0.0):
    """Start a build that pauses for so many seconds at each patch."""
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


def contents(folder):
    """{file: hash} of what a dataset consists of; where it lies stands in none of them."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*"))
        if path.suffix != ".json"
    }


def datasets(data_dir):
    """Files below a data directory that are in a whole dataset, and those that are in none."""
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    whole = [path for path in files if path.parent.name == "1.0.0"]
    return whole, [path for path in files if path not in whole]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return contents(build(str(patches(folder)), folder / "data"))


@pytest.mark.parametrize(
    ("sign", "seconds"), [("*.incomplete", 0.0), ("train-00000", 0.0), ("train-00000", 1.0)]
)
def test_killed_at_any_moment_it_leaves_no_broken_dataset(tmp_path, undisturbed, sign, seconds):
    builder = patches(tmp_path)
    data_dir = tmp_path / "data"
    process = start(builder, data_dir, "--workers", "2", pause=0.05)
    wait_for(lambda: list(data_dir.rglob(sign)), process)
    time.sleep(seconds)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    whole, _ = datasets(data_dir)
    assert not whole
    with pytest.raises(UserError, match="is not prepared"):
        open_dataset(str(builder), data_dir)
    wait_for(lambda: not any(worker.is_running() for worker in workers))  # they don't live on

    again = start(builder, data_dir, "--workers", "2")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "an earlier build was interrupted: " in errors
    whole, rest = datasets(data_dir)
    assert contents(whole[0].parent) == undisturbed
    assert not rest


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_asked_to_stop_it_removes_what_it_began(tmp_path, number, code):
    data_dir = tmp_path / "data"
    process = start(patches(tmp_path), data_dir, "--workers", "2", pause=0.05)
    wait_for(lambda: list(data_dir.rglob("train-00000")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == code
    assert errors == "interrupted; nothing half-written is left\n"
    assert datasets(data_dir) == ([], [])


def test_killed_while_replacing_it_leaves_the_old_dataset_or_the_new(tmp_path):
    data_dir = tmp_path / "data"
    builder = str(patches(tmp_path, count=8))
    folder = build(builder, data_dir)
    old = contents(folder)
    folder.rename(folder.with_name("1.0.0.replaced"))  # as between the two renames
    assert build(builder, data_dir) == folder
    assert contents(folder) == old
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


def test_the_number_of_workers_changes_no_byte(tmp_path, undisturbed):
    builder = patches(tmp_path)
    folder = build(str(builder), tmp_path / "data", workers=3)
    assert contents(folder) == undisturbed


def test_a_second_build_of_the_same_dataset_is_refused(tmp_path):
    data_dir = tmp_path / "data"
    builder = patches(tmp_path, count=40)
    first = start(builder, data_dir, pause=1.0)
    wait_for(lambda: list(data_dir.rglob("*.incomplete")), first)
    second = start(builder, data_dir)
    _, errors = second.communicate(timeout=HANG)
    assert second.returncode == 2
    assert "another process is preparing it" in errors
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_a_worker_that_dies_is_told_in_a_line(tmp_path):
    data_dir = tmp_path / "data"
    process = start(patches(tmp_path), data_dir, "--workers", "2", pause=0.05)
    wait_for(lambda: list(data_dir.rglob("train-00000")), process)
    forkserver = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in forkserver if child.ppid() != process.pid]
    os.kill(workers[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert errors.startswith("error: a worker process died; if the machine ran out of memory")
    assert errors.count("\n") == 1
    assert datasets(data_dir) == ([], [])


def on_a_small_disk(megabytes, command):
    """Run a command with `small` below the working directory a disk of that size."""
    script = f"mount -t tmpfs -o size={megabytes}m tmpfs small && {command}; echo rc=$?; find small"
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]


can_mount = (
    shutil.which("unshare")
    and not subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True
    ).returncode
)


@pytest.mark.skipif(not can_mount, reason="a disk of a chosen size needs user namespaces")
@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk_is_told_before_or_when_it_happens(tmp_path, known):
    """Before, where the number of examples is known; else when it happens."""
    builder = patches(tmp_path, count=400, known=known)
    (tmp_path / "small").mkdir()
    command = f"{sys.executable} -m data_pipelines.build {builder} --data_dir small"
    done = subprocess.run(
        on_a_small_disk(2, command),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert "rc=2" in done.stdout, done.stderr
    if known:
        assert "the dataset takes 6.6 MB, and 2.1 MB are free" in done.stderr
    else:
        assert "the disk is full after" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "array_record" not in done.stdout
    assert "incomplete" not in done.stdout


def test_memory_does_not_grow_with_the_number_of_patches_read(tmp_path):
    """The pixels of the larger build take 164 MB; few of them stay."""
    peaks = {}
    for count in (1000, 10_000):
        builder = patches(tmp_path, count=count)
        process = start(builder, tmp_path / f"data{count}", "--workers", "1")
        peak = 0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        process.communicate()
        peaks[count] = peak
    assert peaks[10_000] - peaks[1000] < 9000 * 64 * 64 * 4 / 4


def test_a_truncated_archive_leaves_nothing(tmp_path):
    import gzip

    from archives_of_patches import packed

    manual = tmp_path / "manual"
    names = [f"S2A_MSIL2A_20170613T101031_0_{n}" for n in range(3)]
    for name in names:
        write_patch(tmp_path / "patches" / "BigEarthNet-v1.0", name, LABELS_V1)
    manual.mkdir()
    write_lists(manual, train=names)
    whole = gzip.compress(packed(tmp_path / "patches" / "BigEarthNet-v1.0"))
    (manual / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(whole[: len(whole) * 2 // 3])
    for skip in (False, True):  # an archive is no single bad patch
        with pytest.raises(UserError, match=r"tar.gz: is damaged or not complete after \d+ files"):
            build("bigearthnet/v1/rgbn", tmp_path / "data", manual_dir=manual, skip=skip)
        assert datasets(tmp_path / "data") == ([], [])


def test_examples_that_are_not_what_their_features_say_are_named(tmp_path):
    file = patches(tmp_path, count=8)
    file.write_text(file.read_text().replace("item.number % 3}", "item.number}"))
    with pytest.raises(UserError, match=r"example '0003': isn't what its features say"):
        build(str(file), tmp_path / "data")
    folder = build(str(file), tmp_path / "data", skip=True)
    assert len((folder / "skipped.txt").read_text().splitlines()) == 5
    source = select_subset(open_dataset(str(file), tmp_path / "data"), "all").examples
    np.testing.assert_array_equal(sorted(s["label"] for s in map(source.__getitem__, range(3))),
                                  [0, 1, 2])  # fmt: skip
    assert Path(folder).is_dir()
