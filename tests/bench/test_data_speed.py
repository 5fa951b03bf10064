"""Speed of reading and building datasets, relative to plain rasterio on the same machine.

Run with `./launch/test.sh --bench`, preferably on an idle machine.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from bigearthnet_archives import write_many_patches

from data_pipelines.preparing.build import build
from data_pipelines.sources.loader import Loader
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

NAME = "bigearthnet/v1/rgbn"
BANDS = ("B04", "B03", "B02", "B08")
LOADED_PATCHES = 4000
BUILT_PATCHES = 20_000
FEW_PATCHES = 1000


def read_with_rasterio(patch: Path) -> np.ndarray:
    """Read a patch from its files, (120, 120, 4), without a prepared dataset."""
    bands = []
    for band in BANDS:
        with rasterio.open(patch / f"{patch.name}_{band}.tif") as file:
            bands.append(file.read(1))
    return np.stack(bands, axis=-1)


def read_in_worker(patch: Path) -> int:
    """Read a patch in a worker process, without sending it back."""
    return read_with_rasterio(patch).nbytes


def measure_rasterio(patches: list[Path]) -> float:
    """Measure the seconds that two processes take to only read patches with rasterio."""
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        start = time.perf_counter()
        assert sum(pool.imap(read_in_worker, patches, 16)) == len(patches) * 120 * 120 * 4 * 2
        return time.perf_counter() - start


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "patches"
    return folder, write_many_patches(folder, LOADED_PATCHES)


@pytest.fixture(scope="module")
def data_dir(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    build(NAME, folder, manual_dir=archive[0], workers=2)
    assert open_dataset(NAME, folder).splits["train"] == LOADED_PATCHES
    return folder


@pytest.fixture
def one_core():
    """Restrict the test to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def measure_throughput(loader: Loader, batches: int) -> float:
    """Measure the examples per second, after the first batch."""
    stream = loader.batches()
    size = len(next(stream)["index"])
    start = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return size * batches / (time.perf_counter() - start)


def test_shuffled_batches_on_one_core(archive, data_dir, one_core):
    rng = np.random.default_rng(0)
    patches = [archive[1][i] for i in rng.permutation(LOADED_PATCHES)[:1000]]
    start = time.perf_counter()
    for patch in patches:
        read_with_rasterio(patch)
    with_rasterio = len(patches) / (time.perf_counter() - start)
    source = select_subset(open_dataset(NAME, data_dir), "train").examples
    loaded = measure_throughput(Loader(source, 256, seed=0), 60)
    print(
        f"\nshuffled 120 × 120 × 4 uint16 tiles in batches of 256, one core: {loaded:,.0f}/s; "
        f"four GeoTIFFs per patch with rasterio: {with_rasterio:,.0f}/s; ratio "
        f"{loaded / with_rasterio:.1f}"
    )
    assert loaded >= 5000
    assert loaded >= 20 * with_rasterio


def measure_command(command: list[str], cwd: Path) -> tuple[float, int]:
    """Measure the seconds and the peak of resident memory, in bytes, of a command's processes."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    parent, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            processes = [parent, *parent.children(recursive=True)]
            peak = max(peak, sum(p.memory_info().rss for p in processes))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return time.perf_counter() - start, peak


def test_building_from_tiffs(tmp_path):
    """Building takes little more time than rasterio, and no memory that grows with the patches."""
    patches = write_many_patches(tmp_path / "many", BUILT_PATCHES)
    write_many_patches(tmp_path / "few", FEW_PATCHES)
    seconds, memory = {}, {}
    measure_rasterio(patches)  # the first to open these files takes longer
    rasterio_seconds = measure_rasterio(patches)
    for name in ("few", "many"):
        command = [sys.executable, "-m", "data_pipelines.build", NAME, "--workers", "2"]
        folders = ["--data_dir", str(tmp_path / f"data_{name}"), "--manual_dir"]
        seconds[name], memory[name] = measure_command(
            [*command, *folders, str(tmp_path / name)], Path.cwd()
        )
    assert open_dataset(NAME, tmp_path / "data_many").splits == {
        "train": BUILT_PATCHES,
        "all": BUILT_PATCHES,
    }
    rasterio_seconds = min(rasterio_seconds, measure_rasterio(patches))
    ratio = seconds["many"] / rasterio_seconds
    print(
        f"\nbuilding {BUILT_PATCHES:,} patches with 2 workers: {seconds['many']:.1f} s; rasterio "
        f"with 2 workers: {rasterio_seconds:.1f} s; ratio {ratio:.2f}\n"
        f"memory of all processes: {memory['few'] / 2**20:.0f} MiB with {FEW_PATCHES:,} patches, "
        f"{memory['many'] / 2**20:.0f} MiB with {BUILT_PATCHES:,}"
    )
    assert ratio <= 1.3
    # Names and labels are kept, pixels are not: those of 20,000 patches take 2.3 GB.
    assert memory["many"] - memory["few"] < 64 * 2**20


@pytest.mark.parametrize("factor", [1.25, 2.0, 5.0])
def test_training_does_not_wait_for_a_loader_faster_than_the_step(data_dir, factor):
    """The simulated step does not use the CPU, as a step on an accelerator."""
    source = select_subset(open_dataset(NAME, data_dir), "train").examples
    batch_size = 256
    step = factor * batch_size / measure_throughput(Loader(source, batch_size, seed=0), 40)
    loader = Loader(source, batch_size, seed=1)
    stream = loader.batches()
    next(stream)  # the first one can't be prefetched
    loader.wait_seconds = 0.0
    start = time.perf_counter()
    for _ in range(round(12 / step)):
        time.sleep(step)
        next(stream)
    waiting = loader.wait_seconds / (time.perf_counter() - start)
    print(
        f"\na step of {1000 * step:.1f} ms, {factor} × the loader's time for a batch: "
        f"waiting {waiting:.2%} of the time"
    )
    assert waiting < 0.02


def test_a_stratified_subset_reads_no_pixels(data_dir):
    """It reads only the catalogue, a thousandth of the dataset."""
    folder = Path(data_dir, NAME, "1.0.0")
    catalogue = (folder / "catalogue-train.npz").stat().st_size
    records = sum(file.stat().st_size for file in folder.glob("*array_record*"))
    start = time.perf_counter()
    source = select_subset(open_dataset(NAME, data_dir), "train[not snow][10%]").examples
    seconds = time.perf_counter() - start
    sizes = json.loads((folder / "dataset_info.json").read_text())["splits"]
    print(
        f"\ncatalogue {catalogue:,} bytes, records {records:,} bytes; {len(source)} of "
        f"{LOADED_PATCHES} examples selected in {seconds:.2f} s ({len(sizes)} split)"
    )
    assert catalogue < records / 1000
