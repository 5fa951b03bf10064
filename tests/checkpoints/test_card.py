import json

import pytest

from data_pipelines.bands import SENTINEL2_L2A
from data_pipelines.errors import UserError
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.config import load_config

CARD = ModelCard(
    sensor=SENTINEL2_L2A.select(("red", "nir")),
    image_shape=(120, 120, 2),
    image_dtype="uint16",
    target="mask",
    classes=("land", "water"),
    colours=((0, 1, 2), (3, 4, 5)),
    ignore_label=255,
    config=load_config("configs/transfer/potsdam_upernet.py", ["data.bands=('red','nir')"]),
)


def test_a_card_is_restored_from_json():
    card = CARD.at_step(7, {"mIoU": 0.5}, {})
    back = ModelCard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert back == card
    assert back.config.data.bands == ("red", "nir")
    assert back.step == 7
    assert back.metrics == {"mIoU": 0.5}


def test_a_metric_on_a_card_may_be_nan():
    """The IoU of a class without pixels is NaN."""
    card = CARD.at_step(7, {"IoU": float("nan")}, {})
    assert str(ModelCard.from_dict(json.loads(json.dumps(card.to_dict())))) == str(card)


@pytest.mark.parametrize(
    "config",
    [
        "pretrain/simclr_resnet50_ben3",
        "pretrain/simclr_resnet50_ben4",
        "pretrain/mae_vitb_ben4",
        "transfer/nasc_mlp",
        "transfer/potsdam_upernet",
    ],
)
def test_cards_of_all_configs_are_accepted(config):
    card = {**CARD.to_dict(), "config": load_config(f"configs/{config}.py").to_dict()}
    ModelCard.from_dict(json.loads(json.dumps(card)))


def test_a_card_of_another_format_is_refused():
    with pytest.raises(UserError, match="format 99, expected 1"):
        ModelCard.from_dict({**CARD.to_dict(), "format": 99})
