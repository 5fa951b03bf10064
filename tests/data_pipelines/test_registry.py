import pytest

from data_pipelines.demo.scenes import DemoScenes
from data_pipelines.errors import UserError
from data_pipelines.registry import BUILDERS, find_builder


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_is_found_under_its_tfds_name(name):
    assert find_builder(name).builder.name == name


def test_a_builder_is_found_by_name_module_or_class():
    by_name = find_builder("demo_scenes")
    assert by_name == (DemoScenes, "default")
    assert find_builder("data_pipelines.demo.scenes") == by_name
    assert find_builder("data_pipelines.demo.scenes:DemoScenes/tiny") == (DemoScenes, "tiny")


def test_a_module_in_a_file_is_imported_once(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import tensorflow_datasets as tfds\n"
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class Mine(DemoTiles):\n    pass\n"
    )
    assert find_builder(str(file)).builder is find_builder(f"{file}:Mine").builder


def test_a_module_of_several_builders_needs_the_class(tmp_path):
    file = tmp_path / "several.py"
    file.write_text(
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class OneOfThem(DemoTiles):\n    pass\nclass AnotherOne(DemoTiles):\n    pass\n"
    )
    with pytest.raises(UserError, match="OneOfThem, AnotherOne"):
        find_builder(str(file))


def test_a_module_that_fails_says_why(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("1 / 0")
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero"):
        find_builder(str(file))
