"""What profiles cost: a build, loading a checkpoint and a call of the model.

Run with `./launch/test.sh --bench`, preferably on an idle machine.
"""

import time
from functools import partial

import jax
import numpy as np
import pytest
import rasterio
import tensorflow_datasets as tfds
from bigearthnet_archives import write_many_patches
from data_profile.spectral_images import make_images
from small_configs import make_small_config

import ssl_jax
from data_pipelines.preparing.encoding import Moments
from data_pipelines.private import ExampleSerializer
from data_pipelines.profiles.counts import SplitCounts, count_image
from ssl_jax.runs.training import train

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Tensor(
            shape=(120, 120, 4), dtype=np.uint16, encoding=tfds.features.Encoding.BYTES
        )
    }
)


def measure(function, repeats=5):
    """Return the fewest seconds of several calls."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def test_counting_pixels_takes_little_of_reading_a_patch(tmp_path):
    """Less than a twentieth of reading a patch's four files and serialising it."""
    folder = tmp_path / "patches"
    write_many_patches(folder, 50)
    patches = sorted(folder.rglob("*_B04.tif"))
    serialiser = ExampleSerializer(FEATURES.get_serialized_info())

    def read(patch):
        bands = []
        for band in ("B04", "B03", "B02", "B08"):
            with rasterio.open(str(patch).replace("B04", band)) as file:
                bands.append(file.read(1))
        return np.stack(bands, axis=-1)

    def encode_all():
        for patch in patches:
            image = read(patch)
            Moments.from_image(image)
            encoded = FEATURES.encode_example({"image": image})
            serialiser.get_tf_example(encoded).SerializeToString(deterministic=True)

    images = make_images(50, side=120)  # noise would have more different values
    total = SplitCounts()

    def count_all():
        for image in images:
            total.add(count_image(image))

    whole, counting = measure(encode_all), measure(count_all)
    print(f"\ncounting takes {counting / 50 * 1e3:.2f} ms of a patch, the rest "
          f"{whole / 50 * 1e3:.2f} ms: {counting / whole:.1%} more")  # fmt: skip
    assert counting < 0.05 * whole


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    backbone = {"name": "resnet50"}
    config = make_small_config("simclr", data_dir, backbone)
    config.steps = 1
    config.augment.train.size = 120
    config.model.projection = {"hidden": 64, "out": 16, "layers": 2}
    folder = tmp_path_factory.mktemp("resnet50")
    train(config, folder)
    return folder


def test_a_call_and_loading_take_little_longer(workdir):
    model = ssl_jax.load(workdir)
    for count in (1, 16, 64):
        images = make_images(count, side=120)
        jax.block_until_ready(model(images))
        call = measure(partial(model, images), 3)
        check = measure(partial(model._check, images), 50)
        print(f"\n{count} images: {call * 1e3:.1f} ms, of which the check {check * 1e3:.2f} ms: "
              f"{check / call:.2%}")  # fmt: skip
        assert check < 0.01 * call
    loading = measure(partial(ssl_jax.load, workdir))
    parsing = measure(lambda: type(model.card).from_dict(model.card.to_dict()))
    print(f"loading {loading:.2f} s, of which reading the card {parsing:.3f} s")
    assert parsing < 0.2
