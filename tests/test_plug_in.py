"""Custom datasets: a TFDS builder in a package of the user."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from image_mask_files import write

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.training.metric_writer import read_records

BUILDER = '''
import numpy as np
import tensorflow_datasets as tfds
from data_pipelines.bands import SENTINEL2_L2A

BANDS = ("nir", "red", "green")


class Orchards(tfds.core.GeneratorBasedBuilder):
    """Tiles from a custom file format: a text file with the seed of a tile on each line."""

    VERSION = tfds.core.Version("2.1.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "tiles.txt"

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=(32, 32, 3), dtype=np.uint16, encoding=tfds.features.Encoding.BYTES
                    ),
                    "label": tfds.features.ClassLabel(names=["apple", "pear"]),
                    "irrigated": np.bool_,
                }
            ),
            metadata=tfds.core.MetadataDict(sensor=SENTINEL2_L2A.select(BANDS).to_dict()),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(dl_manager.manual_dir / "tiles.txt")}

    def _generate_examples(self, file):
        for number, line in enumerate(file.read_text().splitlines()):
            seed = int(line)
            label = seed % 2
            rng = np.random.default_rng(seed)
            image = rng.integers(0, 1000, (32, 32, 3)) + np.array([2000 * label, 500, 500])
            yield number, {
                "image": image.astype(np.uint16), "label": label, "irrigated": seed % 3 == 0
            }
'''


def run(command, path, cwd=None):
    process = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{path}:{os.getcwd()}"},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_builder_in_any_importable_module_is_prepared_and_trained_on(tmp_path):
    package = tmp_path / "their_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "orchards.py").write_text(BUILDER)
    files = tmp_path / "files"
    files.mkdir()
    (files / "tiles.txt").write_text("".join(f"{seed}\n" for seed in range(96)))
    name, data = "their_project.orchards:Orchards", str(tmp_path / "data")
    out = run(["data_pipelines.build", name, "--data_dir", data, "--manual_dir", files], tmp_path)
    assert "│ train │       96 │" in out

    workdir = tmp_path / "run"
    fields = {
        "data.name": name,
        "data.data_dir": data,
        "data.bands": "('red','nir')",
        "data.train": "train[not irrigated][5:5]",
        "data.evaluation": "train[not irrigated][5:5].rest",
        "data.split_seed": 3,
        "model.backbone.name": "image_statistics",
        "model.head.hidden": "(16,)",
        "augment.train.size": 32,
        "augment.evaluation.size": 32,
        "batch_size": 32,
        "epochs": 0.0,
        "steps": 100,
        "optimizer.learning_rate": 0.03,
        "search.learning_rates": (),
    }
    overrides = [f"--config.{field}={value}" for field, value in fields.items()]
    config = ["--config", "configs/transfer/nasc_mlp.py", "--workdir", workdir]
    run(["ssl_jax.train", *config, *overrides], tmp_path)
    results = json.loads((workdir / "results.json").read_text())
    assert results["metrics"]["top1"] == 1.0  # pears are bright in the near infrared
    assert results["data"]["bands"] == ["red", "nir"]
    # The results describe the examples used: 64 tiles are not irrigated.
    recorded = results["data"]["examples"]
    assert recorded["train"]["split"] == "train[not irrigated][5:5]"
    assert recorded["train"]["seed"] == 3
    assert recorded["train"]["classes"] == {"apple": 16, "pear": 16}
    assert recorded["evaluation"]["examples"] == 32
    assert len({subset["digest"] for subset in recorded.values()}) == 2
    assert np.isfinite([record["loss"] for record in read_records(workdir / "metrics.jsonl")]).all()


def test_the_builder_of_the_documentation_works_as_printed(tmp_path, monkeypatch):
    readme = Path("data_pipelines/README.md").read_text()
    example = re.search(r"```python\n# their_project/orchards.py\n(.*?)```", readme, re.DOTALL)[1]
    (command,) = re.findall(r"^python -m (data_pipelines.build their_project.*)$", readme, re.M)
    package = tmp_path / "their_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "orchards.py").write_text(example)
    for number in range(6):
        pixels = np.full((3, 120, 120), 100 * number, np.uint16)
        kind = ("apple", "pear")[number % 2]
        write(tmp_path / "orchards" / f"{kind}_{number}.tif", pixels)
    run([*command.split(), "--verify"], tmp_path, cwd=tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = select_subset(
        open_dataset("their_project.orchards:Orchards", tmp_path / "data"), "all[5:5]"
    ).examples
    assert {int(source[i]["label"]) for i in range(len(source))} == {0, 1}
