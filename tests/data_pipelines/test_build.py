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


def test_build_needs_neither_tensorflow_nor_jax_nor_a_network(tmp_path):
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from data_pipelines.build import main\n"
        f"main(['demo_tiles/tiny', '--data_dir', {str(tmp_path)!r}])\n"
        "assert not {'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "│ validation │       16 │" in result.stdout


def test_a_user_error_is_printed_in_one_line_with_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "data_pipelines.build", "demo_tiles/x", "--data_dir"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: dataset demo_tiles/x: has no config 'x'")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_help_lists_the_datasets(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    assert "geotiff_tiles" in capsys.readouterr().out


def test_a_prepared_dataset_is_not_changed(tmp_path, capsys):
    folder = build("demo_aerial/tiny", tmp_path)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert main(["demo_aerial/tiny", "--data_dir", str(tmp_path)]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_a_failed_build_leaves_no_files_and_a_failed_rebuild_keeps_the_old_ones(tmp_path):
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


def test_overwrite_prepares_the_dataset_again(tmp_path):
    folder = build("demo_aerial/tiny", tmp_path)
    (folder / "stray").touch()
    assert build("demo_aerial/tiny", tmp_path, overwrite=True) == folder
    assert not (folder / "stray").exists()
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_missing_or_nonexistent_manual_dir_is_an_error(tmp_path):
    with pytest.raises(UserError, match="expected --manual_dir with a folder of GeoTIFFs"):
        build("geotiff_tiles/naip", tmp_path)
    with pytest.raises(UserError, match="nowhere: is not a folder with files"):
        build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "nowhere")


def test_a_dataset_prepared_with_other_fields_is_an_error(tmp_path):
    for year in ("2019", "2020"):  # names of classes, not numbers
        (tmp_path / "files" / year).mkdir(parents=True)
        pixels = np.zeros((8, 8, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "files" / year / "a.png")
    fields, other_fields = ["classes=2020,2019"], ["classes=2020,2019", "bands=nir,red,green"]
    folder = build("class_folders/years", tmp_path, tmp_path / "files", fields=fields)
    assert open_dataset("class_folders/years", tmp_path).classes == ("2020", "2019")
    assert build("class_folders/years", tmp_path, tmp_path / "files", fields=fields) == folder
    with pytest.raises(UserError, match=r"is prepared in .* with another config; expected --over"):
        build("class_folders/years", tmp_path, tmp_path / "files", fields=other_fields)


def test_a_builder_that_reads_manual_files_must_document_them(tmp_path):
    file = tmp_path / "undocumented.py"
    file.write_text(
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class Undocumented(DemoTiles):\n"
        "    def _split_generators(self, dl_manager):\n"
        "        return {'train': list(dl_manager.manual_dir.iterdir())}\n"
    )
    with pytest.raises(UserError, match="describe the files in MANUAL_DOWNLOAD_INSTRUCTIONS"):
        build(f"{file}/tiny", tmp_path / "data", manual_dir=tmp_path)
    assert not (tmp_path / "data" / "downloads").exists()
