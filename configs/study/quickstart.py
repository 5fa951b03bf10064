"""The study of the paper in miniature: the same runs with tiny networks on synthetic demo datasets.

`--config configs/study/quickstart.py:smallest` only checks that everything runs: its results are
meaningless.
"""

from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from configs.study import paper
from configs.transfer import nasc_mlp
from data_pipelines.errors import UserError
from ssl_jax.studies.plan import Study


@dataclass(frozen=True)
class Sizes:
    """Datasets and sizes of the quickstart; crops and patches are in pixels."""

    tiles: str = "demo_tiles/small"  # for SimCLR and MAE
    objects: str = "demo_objects/small"  # in place of ImageNet
    scenes: str = "demo_scenes/small"  # for Table 1
    aerial: str = "demo_aerial/small"  # for Table 2

    resnet_width: int = 16  # channels of the first stage; each of the four stages has one block
    vit_dim: int = 96
    vit_depth: int = 4
    vit_heads: int = 3
    patch: int = 8
    decoder_dim: int = 64
    decoder_depth: int = 1
    projection: int = 64
    head: int = 64
    upernet: int = 32

    crop: int = 48  # of tiles and objects; scenes are resized to it
    aerial_crop: int = 64

    batch: int = 64  # of pretraining
    simclr_steps: int = 110
    mae_steps: int = 800
    supervised_steps: int = 120
    scene_batch: int = 64
    scene_steps: int = 200
    aerial_batch: int = 8
    aerial_steps: int = 90


SETTINGS = {
    "default": Sizes(),
    "smallest": Sizes(
        tiles="demo_tiles/tiny",
        objects="demo_objects/tiny",
        scenes="demo_scenes/tiny",
        aerial="demo_aerial/tiny",
        resnet_width=8,
        vit_dim=24,
        vit_depth=4,
        decoder_dim=24,
        projection=16,
        head=16,
        upernet=8,
        crop=32,
        aerial_crop=32,
        batch=16,
        simclr_steps=4,
        mae_steps=4,
        supervised_steps=4,
        scene_batch=8,
        scene_steps=20,
        aerial_batch=8,
        aerial_steps=3,
    ),
}


def get_config(setting: str = "default") -> ConfigDict:
    """Return the config of the study.

    Args:
        setting: One of `SETTINGS`.

    Raises:
        UserError: If the setting is unknown.
    """
    if setting not in SETTINGS:
        raise UserError(f"quickstart:{setting}: expected one of {', '.join(SETTINGS)}")
    sizes = SETTINGS[setting]
    config = paper.get_config()
    config.seeds = (0,)
    del config.imagenet
    resnet = {"name": "resnet18", "width": sizes.resnet_width, "stages": (1, 1, 1, 1)}
    vit = {
        "name": "vit_ti",
        "dim": sizes.vit_dim,
        "depth": sizes.vit_depth,
        "heads": sizes.vit_heads,
        "patch_size": sizes.patch,
        "image_size": sizes.crop,
    }

    for simclr in (config.simclr_ben3, config.simclr_ben4):
        _shrink_pretraining(
            simclr, resnet, sizes.tiles, sizes.crop, sizes.batch, sizes.simclr_steps
        )
        simclr.model.projection.update(hidden=sizes.projection, out=sizes.projection)
    _shrink_pretraining(config.mae, vit, sizes.tiles, sizes.crop, sizes.batch, sizes.mae_steps)
    config.mae.model.decoder.update(dim=sizes.decoder_dim, depth=sizes.decoder_depth, heads=2)

    # The learning rates of the paper's recipes are for larger batches and many more steps.
    config.simclr_ben3.optimizer = config.simclr_ben4.optimizer = _make_adamw(3e-3)
    config.mae.optimizer = _make_adamw(2e-3)

    _shrink_run(config.scenes, sizes.scenes, sizes.scene_batch, sizes.scene_steps)
    config.scenes.model.head.hidden = (sizes.head,)
    config.scenes.optimizer.learning_rate = 3e-3
    config.scenes.search.learning_rates = ()  # each would take as long as a run
    for views in config.scenes.augment.values():
        views.size = sizes.crop

    for aerial in (config.aerial_resnet50, config.aerial_vitb):
        _shrink_run(aerial, sizes.aerial, sizes.aerial_batch, sizes.aerial_steps)
        aerial.model.upernet.update(channels=sizes.upernet, auxiliary_channels=sizes.upernet)
        aerial.augment.train.size = sizes.aerial_crop
        aerial.optimizer = _make_adamw(1e-3)
        aerial.schedule.warmup_steps = sizes.aerial_steps // 10
    config.aerial_resnet50.model.backbone = resnet
    config.aerial_vitb.model.backbone = vit

    # In place of ImageNet weights: a classifier of everyday objects, trained end to end.
    config.supervised = nasc_mlp.get_config()
    _shrink_pretraining(
        config.supervised, resnet, sizes.objects, sizes.crop, sizes.batch, sizes.supervised_steps
    )
    config.supervised.data.update(bands=paper.RGB, evaluation="validation")
    config.supervised.model.head.hidden = ()
    config.supervised.objective.frozen = False
    config.supervised.augment.train.update(name="finetune", crop_scale=(0.5, 1.0))
    config.supervised.augment.evaluation.size = sizes.crop
    config.supervised.optimizer = _make_adamw(3e-3)
    config.supervised.search.learning_rates = ()
    return config


def study(config: ConfigDict) -> Study:
    """Return the study, with everyday objects in place of ImageNet."""
    run = paper.make_pretraining("supervised_objects", config.supervised, config)
    objects = paper.Backbone(
        "resnet50_imagenet_rgb",
        "ResNet50, everyday objects RGB",
        config.supervised.model.backbone,
        paper.RGB,
        {"2:8": 92.85, "5:5": 93.64, "8:2": 94.05},
        (run,),
        note="A stand-in for ImageNet: a classifier of procedural pictures of everyday objects. "
        "The paper's figures are those of ImageNet.",
    )
    resnet, vit = config.simclr_ben4.model.backbone, config.mae.model.backbone
    note = (
        f"In miniature: ResNet50 stands for one of four blocks from {resnet.width} channels on, "
        f"ViT-B for a ViT of {vit.depth} blocks of {vit.dim}, and BEN for {config.mae.data.name}, "
        "procedural tiles. None was trained for more than minutes: the paper's figures stand "
        "beside these for orientation and can't be compared with them one by one."
    )
    return paper.make_study("The paper's study in miniature", config, objects, note)


def _shrink_pretraining(
    section: ConfigDict, backbone: dict[str, Any], data: str, crop: int, batch: int, steps: int
) -> None:
    _shrink_run(section, data, batch, steps)
    section.data.train = "train"
    section.model.backbone = backbone
    section.augment.train.size = crop
    section.schedule.warmup_steps = steps // 10


def _shrink_run(section: ConfigDict, data: str, batch: int, steps: int) -> None:
    section.data.update(name=data, threads=2)
    section.batch_size = batch
    section.epochs, section.steps = 0.0, steps
    section.schedule.warmup_epochs = 0.0
    section.every.update(log=max(1, steps // 50), save=0, evaluate=0)
    if "probe" in section:  # without labels, as the tiles have none, it only detects collapse
        section.probe.update(train="validation", evaluation="")
        section.every.probe = 0


def _make_adamw(learning_rate: float) -> ConfigDict:
    return ConfigDict(
        {
            "name": "adamw",
            "learning_rate": learning_rate,
            "reference_batch": 0,
            "weight_decay": 0.05,
            "b1": 0.9,
            "b2": 0.95,
            "layer_decay": 1.0,
        }
    )
