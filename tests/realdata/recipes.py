"""Configs of `configs/` for real images, with networks small enough to train in a minute."""

from pathlib import Path

from ssl_jax.runs.config import load_config

SCENE = f"{Path(__file__).with_name('sentinel2_scene.py')}"
SMALL = ["batch_size=64", "epochs=0.0", "schedule.warmup_epochs=0.0", "every.log=10"]
RESNET = {"name": "resnet18", "stages": (1, 1, 1, 1), "width": 16}


def make_pretraining_config(kind, dataset, data_dir, steps):
    config = load_config(f"configs/pretrain/{kind}.py", SMALL)
    config.data.update(name=dataset, data_dir=str(data_dir), train="train", threads=2)
    config.probe.update(train="train", evaluation="validation")
    config.steps = steps
    config.augment.train.size = 48
    config.schedule.warmup_steps = 10
    if kind.startswith("simclr"):
        config.model.backbone = RESNET
        config.model.projection.update(hidden=256, out=64)
        config.optimizer.learning_rate = 1.0
    else:
        config.model.backbone = {"name": "vit_ti", "depth": 4, "patch_size": 8, "image_size": 48}
        config.model.decoder.update(dim=96, depth=2, heads=3)
        config.optimizer.learning_rate = 4e-3
    return config
