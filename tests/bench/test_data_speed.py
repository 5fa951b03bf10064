"""Reading and building at the speed of the disk: ratios within one run, printed and held.

Run with `./launch/test.sh --bench`; a quiet machine gives steadier figures.
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
from archives_of_patches import write_many

from data_pipelines.preparing.build import build
from data_pipelines.sources.loader import Loader
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

NAME = "bigearthnet/v1/rgbn"
BANDS = ("B04", "B03", "B02", "B08")
READ = 4000  # patches that the loader reads
BUILT = 20_000
FEW = 1000


def read_with_rasterio(patch: Path) -> np.ndarray:
    """A patch as one reads it without preparing anything: (120, 120, 4)."""
    bands = []
    for band in BANDS:
        with rasterio.open(patch / f"{patch.name}_{band}.tif") as file:
            bands.append(file.read(1))
    return np.stack(bands, axis=-1)


def read_away(patch: Path) -> int:
    """Read a patch in another process, without sending it home."""
    return read_with_rasterio(patch).nbytes


def read_all(patches: list[Path]) -> float:
    """Seconds that two processes take to read patches with rasterio and do nothing with them."""
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        began = time.perf_counter()
        assert sum(pool.imap(read_away, patches, 16)) == len(patches) * 120 * 120 * 4 * 2
        return time.perf_counter() - began


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "patches"
    return folder, write_many(folder, READ)


@pytest.fixture(scope="module")
def data_dir(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    build(NAME, folder, manual_dir=archive[0], workers=2)
    assert open_dataset(NAME, folder).splits["train"] == READ
    return folder


@pytest.fixture
def one_core():
    """Run on one core of the machine."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def rate_of(loader: Loader, batches: int) -> float:
    """Examples a second, after the first batch."""
    stream = loader.batches()
    size = len(next(stream)["index"])
    began = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return size * batches / (time.perf_counter() - began)


def test_shuffled_batches_on_one_core(archive, data_dir, one_core):
    rng = np.random.default_rng(0)
    chosen = [archive[1][i] for i in rng.permutation(READ)[:1000]]
    began = time.perf_counter()
    for patch in chosen:
        read_with_rasterio(patch)
    with_rasterio = len(chosen) / (time.perf_counter() - began)
    source = select_subset(open_dataset(NAME, data_dir), "train").examples
    loaded = rate_of(Loader(source, 256, seed=0), 60)
    print(
        f"\nshuffled 120 × 120 × 4 uint16 tiles in batches of 256, one core: {loaded:,.0f}/s; "
        f"four GeoTIFFs a patch with rasterio: {with_rasterio:,.0f}/s; ratio "
        f"{loaded / with_rasterio:.1f}"
    )
    assert loaded >= 5000
    assert loaded >= 20 * with_rasterio


def peak_memory(command: list[str], cwd: Path) -> tuple[float, int]:
    """Seconds, and the largest resident memory of the processes together in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            everyone = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in everyone))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return time.perf_counter() - began, peak


def test_building_from_tiffs(tmp_path):
    """In time of rasterio alone with as many workers; in memory, of a twentieth of the patches."""
    patches = write_many(tmp_path / "many", BUILT)
    write_many(tmp_path / "few", FEW)
    seconds, memory = {}, {}
    read_all(patches)  # whoever opens these files first takes longer
    alone = read_all(patches)
    for name in ("few", "many"):
        command = [sys.executable, "-m", "data_pipelines.build", NAME, "--workers", "2"]
        folders = ["--data_dir", str(tmp_path / f"data_{name}"), "--manual_dir"]
        seconds[name], memory[name] = peak_memory(
            [*command, *folders, str(tmp_path / name)], Path.cwd()
        )
    assert open_dataset(NAME, tmp_path / "data_many").splits == {"train": BUILT, "all": BUILT}
    alone = min(alone, read_all(patches))
    print(
        f"\nbuilding {BUILT:,} patches with 2 workers: {seconds['many']:.1f} s; rasterio alone "
        f"with 2 workers: {alone:.1f} s; ratio {seconds['many'] / alone:.2f}\n"
        f"memory of all processes: {memory['few'] / 2**20:.0f} MiB with {FEW:,} patches, "
        f"{memory['many'] / 2**20:.0f} MiB with {BUILT:,}"
    )
    assert seconds["many"] <= 1.3 * alone
    # Names and labels are kept, pixels are not: those of 20,000 patches take 2.3 GB.
    assert memory["many"] - memory["few"] < 64 * 2**20


@pytest.mark.parametrize("factor", [1.25, 2.0, 5.0])
def test_a_loader_faster_than_the_step_is_not_waited_for(data_dir, factor):
    """The step is one that leaves the processor alone, as one on an accelerator does."""
    source = select_subset(open_dataset(NAME, data_dir), "train").examples
    batch_size = 256
    step = factor * batch_size / rate_of(Loader(source, batch_size, seed=0), 40)
    loader = Loader(source, batch_size, seed=1)
    stream = loader.batches()
    next(stream)  # the first one can't have been read ahead
    loader.wait_seconds = 0.0
    began = time.perf_counter()
    for _ in range(round(12 / step)):
        time.sleep(step)
        next(stream)
    waiting = loader.wait_seconds / (time.perf_counter() - began)
    print(
        f"\na step of {1000 * step:.1f} ms, {factor} × as long as the loader takes for a batch: "
        f"waiting {waiting:.2%} of the time"
    )
    assert waiting < 0.02


def test_a_cut_of_half_a_million_tiles_reads_no_pixels(data_dir):
    """What a stratified cut reads is the catalogue: a thousandth of the dataset."""
    folder = Path(data_dir, NAME, "1.0.0")
    catalogue = (folder / "catalogue-train.npz").stat().st_size
    records = sum(file.stat().st_size for file in folder.glob("*array_record*"))
    began = time.perf_counter()
    source = select_subset(open_dataset(NAME, data_dir), "train[not snow][10%]").examples
    seconds = time.perf_counter() - began
    sizes = json.loads((folder / "dataset_info.json").read_text())["splits"]
    print(
        f"\ncatalogue {catalogue:,} bytes beside {records:,} of records; cut in {seconds:.2f} s "
        f"to {len(source)} of {READ} ({len(sizes)} split)"
    )
    assert catalogue < records / 1000
