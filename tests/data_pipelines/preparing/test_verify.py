import shutil

import numpy as np
import pytest

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.verify import verify
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


@pytest.fixture
def copy(data_dir, tmp_path):
    """A data directory with a copy of a dataset, to corrupt."""
    shutil.copytree(data_dir / "demo_scenes", tmp_path / "demo_scenes")
    return tmp_path


def dataset_folder(copy):
    return copy / "demo_scenes" / "tiny" / "1.0.0"


def test_the_contents_and_moments_match_the_stored_records(data_dir, capsys):
    contents = verify(open_dataset("demo_scenes/tiny", data_dir))
    source = select_subset(open_dataset("demo_scenes/tiny", data_dir), "train").examples
    pixels = np.stack([source[i]["image"] for i in range(len(source))]).reshape(-1, 4)
    moments = contents["train"].moments
    assert moments.pixels == len(pixels)
    np.testing.assert_allclose(moments.mean, pixels.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.std, pixels.std(axis=0, dtype=np.float64), rtol=1e-9)
    assert main(["demo_scenes/tiny", "--data_dir", str(data_dir), "--verify"]) == 0
    assert "verified: all 80 records are readable" in capsys.readouterr().out


def test_a_corrupt_record_is_reported(copy):
    (file,) = dataset_folder(copy).glob("*array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"file {file}, record \d+: can't be read"):
        verify(open_dataset("demo_scenes/tiny", copy))


def test_a_catalogue_of_other_records_is_an_error(copy):
    file = dataset_folder(copy) / "catalogue-train.npz"
    with np.load(file) as arrays:
        columns = dict(arrays)
    columns["column_label"] = columns["column_label"][::-1]
    np.savez(file, **columns)
    with pytest.raises(UserError, match="does not match the records of split train"):
        verify(open_dataset("demo_scenes/tiny", copy))


def test_statistics_of_other_pixels_are_an_error(copy):
    file = dataset_folder(copy) / "statistics.json"
    file.write_text(file.read_text().replace('"mean": [\n   ', '"mean": [\n   1'))
    with pytest.raises(UserError, match="the bands of split train have means"):
        verify(open_dataset("demo_scenes/tiny", copy))
