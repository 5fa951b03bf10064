import pytest
from prediction.aerial_scenes import read_demo_images, write_scene

from data_pipelines.errors import UserError
from ssl_jax.predict import main


@pytest.fixture(scope="module")
def workdir(trained):
    return str(trained("segmentation").workdir)


@pytest.fixture(scope="module")
def scene(data_dir, tmp_path_factory):
    image = read_demo_images(data_dir)[0]["image"]
    return str(write_scene(tmp_path_factory.mktemp("scenes") / "town.tif", image))


def test_scenes_are_mapped_into_a_folder_each_and_their_areas_printed(
    workdir, scene, data_dir, tmp_path, capsys
):
    other = write_scene(tmp_path / "park.tif", read_demo_images(data_dir)[1]["image"], crs=None)
    out = tmp_path / "maps"
    assert main([scene, str(other), "--checkpoint", workdir, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "scene town: 64 × 64 pixels" in printed
    assert "km²/s" in printed
    assert "doesn't say where on the Earth it is" in printed
    for name in ("town", "park"):
        assert (out / name / "classes.tif").exists()


def test_scenes_of_the_same_name_are_refused(workdir, scene, tmp_path):
    with pytest.raises(UserError, match="scene town: found twice"):
        main([scene, scene, "--checkpoint", workdir, "--out", str(tmp_path / "maps")])
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "0"], "expected finite numbers, and a positive scale"),
        (["--window", "32", "--stride", "40"], "found 40 with a window of 32 pixels"),
        (["--stride", "-1"], "found -1 with a window of"),
        (["--bands", "red,green"], "nir"),
    ],
)
def test_arguments_that_can_not_be_are_refused(workdir, scene, tmp_path, arguments, message):
    folder = tmp_path / "map"
    with pytest.raises(UserError, match=message):
        main([scene, "--checkpoint", workdir, "--out", str(folder), *arguments])
    assert not folder.exists()
