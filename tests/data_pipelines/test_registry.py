import pytest

from data_pipelines.demo.scenes import DemoScenes
from data_pipelines.errors import UserError
from data_pipelines.names import BUILDERS
from data_pipelines.registry import find_builder


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_is_found_under_its_tfds_name(name):
    assert find_builder(name).builder.name == name


def test_a_builder_is_found_by_name_module_or_class():
    by_name = find_builder("demo_scenes")
    assert by_name == (DemoScenes, "default")
    assert find_builder("data_pipelines.demo.scenes") == by_name
    assert find_builder("data_pipelines.demo.scenes:DemoScenes/tiny") == (DemoScenes, "tiny")


def test_a_module_in_a_file_is_imported_once(tmp_path):
    file = tmp_path / "custom.py"
    file.write_text(
        "import tensorflow_datasets as tfds\n"
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class Custom(DemoTiles):\n    pass\n"
    )
    assert find_builder(str(file)).builder is find_builder(f"{file}:Custom").builder


def test_the_class_is_required_if_a_module_has_several_builders(tmp_path):
    file = tmp_path / "several.py"
    file.write_text(
        "from data_pipelines.demo.tiles import DemoTiles\n"
        "class First(DemoTiles):\n    pass\nclass Second(DemoTiles):\n    pass\n"
    )
    with pytest.raises(UserError, match="First, Second"):
        find_builder(str(file))


def test_the_error_of_a_failed_import_is_reported(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("1 / 0")
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero"):
        find_builder(str(file))
