import pytest
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax.runs import workdir


@pytest.fixture
def config():
    return ConfigDict({"seed": 0, "data": {"name": "demo", "data_dir": "/a"}, "bands": ("red",)})


def test_a_workdir_accepts_the_same_config_again(config, tmp_path):
    workdir.record_config(config, tmp_path / "run")
    workdir.record_config(config, tmp_path / "run")
    assert workdir.read_results(tmp_path / "run") is None


def test_the_data_dir_may_change(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.data.data_dir = "/b"
    workdir.record_config(config, tmp_path)


def test_a_different_field_is_reported_with_both_values(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.data.name = "other"
    with pytest.raises(UserError, match=r"config\.data\.name = 'demo', this one has 'other'"):
        workdir.record_config(config, tmp_path)


def test_a_new_field_is_a_difference(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.more = 1
    with pytest.raises(UserError, match=r"config\.more = 'not set', this one has 1"):
        workdir.record_config(config, tmp_path)


@pytest.mark.parametrize(
    ("recorded", "given"),
    [("pictures", "images"), ("images", "pictures"), ("pictures", "pictures")],
)
def test_split_expressions_of_pictures_and_of_images_are_the_same(
    recorded, given, config, tmp_path
):
    config.data.train = "train[8:2 of images]"
    config.data.evaluation = "train[8:2 of images].rest"
    text = config.to_json().replace("of images", f"of {recorded}")
    (tmp_path / "config.json").write_text(text)
    config.data.train = f"train[8:2 of {given}]"
    config.data.evaluation = f"train[8:2 of {given}].rest"
    workdir.record_config(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == text
    config.data.train = f"train[7:3 of {given}]"
    with pytest.raises(
        UserError, match=r"config\.data\.train = 'train\[8:2 of images\]', this one"
    ):
        workdir.record_config(config, tmp_path)


def test_a_field_that_older_configs_lack_has_its_default(config, tmp_path):
    config.model = ConfigDict({"backbone": ConfigDict({"name": "vit_b"})})
    workdir.record_config(config, tmp_path)
    config.model.backbone.attention = "auto"
    config.deterministic = False
    workdir.record_config(config, tmp_path)
    config.model.backbone.attention = "xla"
    with pytest.raises(UserError, match=r"attention = 'auto', this one has 'xla'"):
        workdir.record_config(config, tmp_path)
