"""Preparation with Apache Beam's local runner."""

import numpy as np
import pytest
from bigearthnet_archives import LABELS_V1, V1, compress, pack_tar, write_lists, write_patch

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build_with
from data_pipelines.preparing.builders import BuildOptions, make_builder
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

pytest.importorskip("apache_beam", reason="Apache Beam isn't installed: the extra [beam]")


def prepare(name, options):
    return build_with(name, make_builder(name, options), options).folder


def build_and_open(data_dir, manual, **options):
    prepare("bigearthnet/v1/rgbn", BuildOptions(data_dir, manual, **options))
    return open_dataset("bigearthnet/v1/rgbn", data_dir)


@pytest.fixture(scope="module", params=["folder", "archive"])
def manual(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("manual")
    patches = folder if request.param == "folder" else tmp_path_factory.mktemp("unpacked")
    for name in V1:
        write_patch(patches / "BigEarthNet-v1.0", name, LABELS_V1)
    write_lists(folder, train=list(V1[:3]), test=[V1[3]], snow=[V1[4]])
    if request.param == "archive":
        tar = pack_tar(patches / "BigEarthNet-v1.0")
        (folder / "BigEarthNet-S2-v1.0.tar.gz").write_bytes(compress(tar, "gz"))
    return folder


def test_beam_prepares_the_same_dataset_as_worker_processes(manual, tmp_path):
    local = build_and_open(tmp_path / "local", manual)
    distributed = build_and_open(tmp_path / "beam", manual, beam_runner="DirectRunner")
    assert distributed.splits == local.splits
    for split in ("train", "test", "unsplit", "all[snow]", "all[50%]"):
        expected, actual = (select_subset(d, split).examples for d in (local, distributed))
        assert actual.example_ids().tolist() == expected.example_ids().tolist()
        for index in range(len(expected)):
            for name, values in expected[index].items():
                np.testing.assert_array_equal(actual[index][name], values)


def test_an_invalid_item_stops_beam_or_is_skipped_and_listed(tmp_path, capsys):
    manual = tmp_path / "manual"
    for name in V1[:2]:
        write_patch(manual, name, LABELS_V1)
    write_lists(manual, train=list(V1[:2]))
    (manual / V1[0] / f"{V1[0]}_B03.tif").unlink()
    message = f"patch {V1[0]}: lacks {V1[0]}_B03.tif"
    with pytest.raises(UserError, match=f"^{message}.*other files in [^\\[]*$"):
        build_and_open(tmp_path / "data", manual, beam_runner="DirectRunner")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]

    arguments = ["bigearthnet/v1/rgbn", "--data_dir", str(tmp_path / "data"), "--manual_dir"]
    options = ["--beam_runner", "DirectRunner", "--on_error", "skip", "--verify"]
    assert main([*arguments, str(manual), *options]) == 0
    out = capsys.readouterr().out
    assert "1 skipped, listed in" in out
    assert "verified: all 1 records" in out
    assert open_dataset("bigearthnet/v1/rgbn", tmp_path / "data").splits["train"] == 1


BEAM_BUILDER = """
import apache_beam as beam
import numpy as np
from data_pipelines.demo.tiles import DemoTiles, DemoTilesConfig, draw_tile

def example(number):
    return number, {"image": draw_tile((7, number), 32)}

class WithBeam(DemoTiles):
    BUILDER_CONFIGS = (DemoTilesConfig(name="tiny", train=6, validation=0, image_size=32),)

    def _split_generators(self, dl_manager):
        return {"train": beam.Create(range(6)) | beam.Map(example)}
"""


def test_a_builder_written_for_beam_is_prepared(tmp_path):
    file = tmp_path / "with_beam.py"
    file.write_text(BEAM_BUILDER)
    prepare(str(file), BuildOptions(tmp_path / "data", beam_runner="DirectRunner"))
    source = select_subset(open_dataset(str(file), tmp_path / "data"), "train").examples
    from data_pipelines.demo.tiles import draw_tile

    for number in range(6):
        np.testing.assert_array_equal(source[number]["image"], draw_tile((7, number), 32))


def test_a_generator_is_an_error_with_beam(tmp_path):
    with pytest.raises(UserError, match="split train: found a generator"):
        prepare("demo_tiles/tiny", BuildOptions(tmp_path, beam_runner="DirectRunner"))


def test_an_unknown_beam_runner_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"--beam_runner: found 'Nonsense' \(.*DirectRunner"):
        prepare("demo_tiles/tiny", BuildOptions(tmp_path, beam_runner="Nonsense"))
