"""The description of a full-size run, computed from shapes only, takes seconds."""

import time

import pytest

from ssl_jax.runs.config import load_config
from ssl_jax.sizing.describe import describe

CONFIGS = ("pretrain/mae_vitb_ben4", "pretrain/simclr_resnet50_ben4", "transfer/potsdam_upernet")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_description_takes_seconds(name):
    config = load_config(f"configs/{name}.py", ["data.data_dir=nowhere"])
    start = time.process_time()
    describe(config, 8)
    seconds = time.process_time() - start
    print(f"\n--describe of {name}: {seconds:.1f} s of CPU time")
    assert seconds < 20
