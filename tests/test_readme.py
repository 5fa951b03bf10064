"""The Python code of the README runs as it is printed."""

import re
from pathlib import Path

import numpy as np

from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

BLOCKS = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)


def find_block(beginning: str) -> str:
    (block,) = (block for block in BLOCKS if block.startswith(beginning))
    return block


def test_a_builder_in_a_file_is_prepared_by_the_path_of_the_file(tmp_path):
    tile = "def my_tile(number):\n    return np.full((120, 120, 4), number, np.uint16)\n"
    builder = find_block("# my_tiles.py").replace("range(1000)", "range(20)")
    file = tmp_path / "my_tiles.py"
    file.write_text(f"{builder}\n\n{tile}")
    build(str(file), tmp_path / "data")
    dataset = open_dataset(str(file), tmp_path / "data")
    assert dataset.sensor.names == ("red", "green", "blue", "nir")
    halves = [select_subset(dataset, f"train[50%]{rest}").examples for rest in ("", ".rest")]
    assert [len(half) for half in halves] == [10, 10]
    for example in (half[i] for half in halves for i in range(10)):
        assert example["label"] == example["image"][0, 0, 0] % 2


def test_a_checkpoint_is_restored_in_a_notebook(trained):
    run = trained("classification").workdir
    code = find_block("import ssl_jax").replace(
        "runs/quickstart/scenes/simclr_resnet50_ben4/8-2/seed0", str(run)
    )
    images = np.random.default_rng(0).integers(0, 5000, (2, 32, 32, 4)).astype(np.uint16)
    names = {"images": images}
    exec(code, names)
    model = names["model"]
    assert model.card.sensor.names == ("red", "green", "blue", "nir")
    assert "top1" in model.card.metrics
    by_name = model(images[..., [3, 0, 1, 2]], bands=("nir", "red", "green", "blue"))
    np.testing.assert_array_equal(by_name, model(images))
    in_order_of_the_card = images[..., [1, 2, 3, 0]]
    np.testing.assert_array_equal(names["scores"], model(in_order_of_the_card))


def test_names_for_custom_datasets_are_exported_by_the_package():
    from data_pipelines import Band, Reading, Sensor, UserError, bands, errors, reading

    assert Band is bands.Band
    assert Sensor is bands.Sensor
    assert Reading is reading.Reading
    assert UserError is errors.UserError
