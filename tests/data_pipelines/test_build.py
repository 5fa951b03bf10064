import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

FAILS = """
from data_pipelines.demo.tiles import DemoTiles, DemoTilesConfig
from data_pipelines.errors import UserError

class Fails(DemoTiles):
    BUILDER_CONFIGS = (DemoTilesConfig(name="tiny", train=4, validation=1, image_size=32),)
    fail = False

    def _generate_examples(self, split, count):
        yield from super()._generate_examples(split, count)
        if type(self).fail:
            raise UserError("patch 17: has no label; expected one")
"""


def test_building_needs_neither_tensorflow_nor_a_network_nor_jax(tmp_path):
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network was asked for')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from data_pipelines.build import main\n"
        f"main(['demo_tiles/tiny', '--data_dir', {str(tmp_path)!r}])\n"
        "assert not {'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "│ validation │       16 │" in done.stdout


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "data_pipelines.build", "demo_tiles/x", "--data_dir"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: dataset demo_tiles/x: has no config 'x'")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_help_lists_the_datasets(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "geotiff_tiles" in capsys.readouterr().out


def test_what_is_prepared_is_left_alone(tmp_path, capsys):
    folder = build("demo_aerial/tiny", tmp_path)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert main(["demo_aerial/tiny", "--data_dir", str(tmp_path)]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_a_failed_build_leaves_nothing_and_a_failed_rebuild_what_was_there(tmp_path):
    from data_pipelines.registry import find_builder

    (tmp_path / "fails.py").write_text(FAILS)
    name, data_dir = f"{tmp_path / 'fails.py'}:Fails", tmp_path / "data"
    builder = find_builder(name).builder
    builder.fail = True
    with pytest.raises(UserError, match=r"^patch 17: has no label; expected one$"):
        build(name, data_dir)
    assert not [file for file in data_dir.rglob("*") if "array_record" in file.name]
    with pytest.raises(UserError, match="is not prepared"):
        open_dataset(name, data_dir)

    builder.fail = False
    build(name, data_dir)
    builder.fail = True
    with pytest.raises(UserError, match="patch 17"):
        build(name, data_dir, overwrite=True)
    assert len(select_subset(open_dataset(name, data_dir), "train")) == 4


def test_overwriting_prepares_again(tmp_path):
    folder = build("demo_aerial/tiny", tmp_path)
    (folder / "stray").touch()
    assert build("demo_aerial/tiny", tmp_path, overwrite=True) == folder
    assert not (folder / "stray").exists()
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_manual_files_are_asked_for_and_looked_for(tmp_path):
    with pytest.raises(UserError, match="expected --manual_dir with a folder of GeoTIFFs"):
        build("geotiff_tiles/naip", tmp_path)
    with pytest.raises(UserError, match="nowhere: is no folder with files"):
        build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "nowhere")


def test_fields_of_a_config_that_is_prepared_otherwise_are_not_ignored(tmp_path):
    for year in ("2019", "2020"):  # names of classes, not numbers
        (tmp_path / "files" / year).mkdir(parents=True)
        pixels = np.zeros((8, 8, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "files" / year / "a.png")
    one, other = ["classes=2020,2019"], ["classes=2020,2019", "bands=nir,red,green"]
    folder = build("class_folders/years", tmp_path, tmp_path / "files", fields=one)
    assert open_dataset("class_folders/years", tmp_path).classes == ("2020", "2019")
    assert build("class_folders/years", tmp_path, tmp_path / "files", fields=one) == folder
    with pytest.raises(UserError, match=r"is prepared in .* with another config; expected --over"):
        build("class_folders/years", tmp_path, tmp_path / "files", fields=other)


def test_a_builder_that_reads_files_must_say_which(tmp_path):
    file = tmp_path / "silent.py"
    file.write_text(
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class Silent(DemoTiles):\n"
        "    def _split_generators(self, dl_manager):\n"
        "        return {'train': list(dl_manager.manual_dir.iterdir())}\n"
    )
    with pytest.raises(UserError, match="MANUAL_DOWNLOAD_INSTRUCTIONS what belongs there"):
        build(f"{file}/tiny", tmp_path / "data", manual_dir=tmp_path)
    assert not (tmp_path / "data" / "downloads").exists()
