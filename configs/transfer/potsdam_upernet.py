"""Segmentation of ISPRS Potsdam with UperNet (the paper's Table 2).

Xiao et al. 2018 (https://arxiv.org/abs/1807.10221); recipes of mmsegmentation. The ResNet-50 recipe
stands here; `get_config("vit_b")`, or `--config=configs/transfer/potsdam_upernet.py:vit_b`, gives
the ViT-B one. Clutter is excluded from training and inference. The comments name files of
mmsegmentation's `configs`; "the ViT's recipe" is
mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py.
"""

from ml_collections import ConfigDict


def get_config(backbone: str = "resnet50") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of the pretraining run; empty: trained from scratch

    config.data = ConfigDict()
    config.data.name = "potsdam/rgbn"  # windows of 600 pixels, stride 300
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.train = "train"
    config.data.evaluation = "test"
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a damaged record; "skip" counts it and goes on without it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": backbone})
    # _base_/models/upernet_r50.py; the ViT's recipe has 768 channels.
    config.model.upernet = ConfigDict({"channels": 512, "auxiliary_channels": 256})
    config.model.upernet.pool_scales = (1, 2, 3, 6)
    config.model.upernet.dropout = 0.1
    config.model.upernet.norm = "batch"  # over all devices

    config.objective = ConfigDict()
    config.objective.name = "segmentation"
    config.objective.excluded = ("clutter",)
    config.objective.auxiliary_weight = 0.4  # _base_/models/upernet_r50.py
    config.objective.accumulate = 1  # micro-batches of a device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "segmentation", "size": 600})
    views.scale = (0.5, 2.0)  # _base_/datasets/potsdam.py
    views.horizontal_flip = True  # _base_/datasets/potsdam.py
    views.vertical_flip = True  # ours, as the rest: seen from above there is no upside
    views.quarter_turns = True
    views.brightness = 0.2  # a factor from 0.8 to 1.2
    views.contrast = 0.2

    # Over whole tiles, as mmsegmentation's `slide_inference`: every pixel counts once. The window
    # and its stride are those of the training, so that four see an inner pixel.
    config.evaluation = ConfigDict({"window": 600, "stride": 300, "flips": False})

    config.optimizer = ConfigDict()
    config.schedule = ConfigDict()
    config.schedule.name = "polynomial"
    config.schedule.warmup_epochs = 0.0
    if backbone.startswith("resnet"):
        _resnet(config)
    else:
        _vit(config)

    # Rates to be tried on a part of data.train and judged on the rest of its pictures, such as
    # (3e-3, 1e-2, 3e-2); the best one takes the place of optimizer.learning_rate.
    config.search = ConfigDict({"learning_rates": (), "validation": "20%"})

    config.batch_size = 16  # 2 on each of 8 devices, as in the ViT's recipe
    config.epochs = 0.0
    config.steps = 40_000  # schedule_40k.py
    config.precision = "auto"  # bfloat16 where the device has it, float32 elsewhere

    config.every = ConfigDict({"log": 50, "save": 2000, "evaluate": 4000})
    # A loss 20 times the first one, or none at all, stops the run; with skip, so many batches may
    # be left out before it does.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 2
    return config


def _resnet(config: ConfigDict) -> None:
    """Optimizer and schedule of _base_/schedules/schedule_40k.py."""
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.reference_batch = 0  # 0: the learning rate is not scaled with the batch
    config.optimizer.weight_decay = 5e-4
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.schedule.power = 0.9
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.01  # `eta_min` 1e-4


def _vit(config: ConfigDict) -> None:
    """Drop path, optimizer and schedule of the ViT's recipe."""
    config.model.backbone.patch_size = 8
    # Of the pretraining: the position table is resampled.
    config.model.backbone.image_size = 120
    config.model.backbone.drop_path = 0.1
    config.model.backbone.position = "sincos"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.reference_batch = 0  # 0: the learning rate is not scaled with the batch
    config.optimizer.weight_decay = 0.05
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8  # PyTorch's default
    config.optimizer.layer_decay = 0.65
    config.schedule.power = 1.0
    config.schedule.warmup_steps = 1500
    config.schedule.final_fraction = 0.0
