import pytest

from data_pipelines.errors import UserError
from ssl_jax.runs.config import load_config

CONFIG = "configs/pretrain/mae_vitb_ben4.py"


def test_overrides_keep_the_type_of_the_field():
    config = load_config(
        CONFIG,
        [
            "seed=3",
            "epochs=5",
            "data.bands=('red', 'nir')",
            "objective.norm_pix_loss=false",
            "data.data_dir=/elsewhere",
        ],
    )
    assert config.seed == 3
    assert config.epochs == 5.0
    assert isinstance(config.epochs, float)
    assert config.data.bands == ("red", "nir")
    assert config.objective.norm_pix_loss is False
    assert config.data.data_dir == "/elsewhere"


def test_get_config_gets_the_word_after_the_colon():
    assert load_config("configs/transfer/potsdam_upernet.py:vit_b").model.backbone.name == "vit_b"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sed=1", "config has no field 'sed'; did you mean seed"),
        ("data.bnads=()", "config.data has no field 'bnads'; did you mean bands"),
        ("seed.value=1", "config.seed has no field 'value'"),
        ("data=1", "is a section, not a value; expected one of its fields: data.bands"),
        ("seed=many", "found 'many'; expected a value of type int"),
        ("seed=1.5", "found '1.5'; expected a value of type int"),
        ("objective.norm_pix_loss=3", "expected a value of type bool"),
        ("seed", "has no value; expected --config.seed=VALUE"),
    ],
)
def test_an_invalid_override_is_reported_in_one_line(assignment, message):
    with pytest.raises(UserError) as error:
        load_config(CONFIG, [assignment])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_config_file_is_reported():
    with pytest.raises(UserError, match=r"config configs/none\.py: no such file"):
        load_config("configs/none.py")


def test_a_file_without_get_config_is_reported(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("")
    with pytest.raises(UserError, match=r"has no get_config"):
        load_config(str(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "from ssl_jax.plan import Study",
            "imports ssl_jax.plan, .* its current name is ssl_jax.studies.plan$",
        ),
        (
            "import ssl_jax.training.stopping",
            "imports ssl_jax.training.stopping, .* current name is ssl_jax.training.shutdown$",
        ),
        (
            "import data_pipelines.sources.pictures",
            "imports data_pipelines.sources.pictures, .* is data_pipelines.sources.images$",
        ),
        ("import ssl_jax.nowhere", "imports ssl_jax.nowhere, .* see CHANGELOG.md"),
        ("import not_installed", "imports not_installed, .* expected one that is installed"),
    ],
)
def test_a_missing_module_is_reported_with_its_current_name(tmp_path, line, message):
    file = tmp_path / "config.py"
    file.write_text(f"{line}\n")
    with pytest.raises(UserError, match=f"config {file}: {message}"):
        load_config(str(file))
