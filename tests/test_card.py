import json

import pytest
from ml_collections import ConfigDict

from data_pipelines.bands import SENTINEL2_L2A
from data_pipelines.errors import UserError
from ssl_jax.card import ModelCard

CARD = ModelCard(
    sensor=SENTINEL2_L2A.select(("red", "nir")),
    image_shape=(120, 120, 2),
    image_dtype="uint16",
    target="mask",
    classes=("land", "water"),
    colours=((0, 1, 2), (3, 4, 5)),
    ignore_label=255,
    config=ConfigDict({"data": {"bands": ("red", "nir")}, "steps": 3}),
)


def test_a_card_survives_json():
    card = CARD.after(7, {"mIoU": 0.5})
    back = ModelCard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert back == card
    assert back.config.data.bands == ("red", "nir")
    assert back.step == 7
    assert back.metrics == {"mIoU": 0.5}


def test_a_card_of_another_format_is_refused():
    with pytest.raises(UserError, match="format 99, expected 1"):
        ModelCard.from_dict({**CARD.to_dict(), "format": 99})
