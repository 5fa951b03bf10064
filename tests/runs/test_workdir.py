import pytest
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax.runs import workdir


@pytest.fixture
def config():
    return ConfigDict({"seed": 0, "data": {"name": "demo", "data_dir": "/a"}, "bands": ("red",)})


def test_a_folder_is_claimed_once_and_by_the_same_config_again(config, tmp_path):
    workdir.record_config(config, tmp_path / "run")
    workdir.record_config(config, tmp_path / "run")
    assert workdir.read_results(tmp_path / "run") is None


def test_where_the_data_lies_may_change(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.data.data_dir = "/b"
    workdir.record_config(config, tmp_path)


def test_the_first_field_that_differs_is_named_with_both_values(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.data.name = "other"
    with pytest.raises(UserError, match=r"config\.data\.name = 'demo', this one has 'other'"):
        workdir.record_config(config, tmp_path)


def test_a_field_more_is_a_difference(config, tmp_path):
    workdir.record_config(config, tmp_path)
    config.more = 1
    with pytest.raises(UserError, match=r"config\.more = 'nothing', this one has 1"):
        workdir.record_config(config, tmp_path)
