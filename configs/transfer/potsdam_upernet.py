"""Semantic segmentation of ISPRS Potsdam with UperNet (the paper's Table 2).

The network is that of Xiao et al. 2018 (https://arxiv.org/abs/1807.10221), the recipes are those of
mmsegmentation. The default is the one for ResNet-50; `get_config("vit_b")`, or
`--config=configs/transfer/potsdam_upernet.py:vit_b`, is the one for ViT-B. Clutter is excluded from
training and inference. The comments cite files in mmsegmentation's `configs`; "the ViT recipe" is
mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py.
"""

from ml_collections import ConfigDict


def get_config(backbone: str = "resnet50") -> ConfigDict:
    """Return the config of a UperNet on a `resnet50` or a `vit_b`."""
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
    config.data.on_error = "stop"  # at a corrupt record; "skip" counts and skips it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": backbone})
    # _base_/models/upernet_r50.py; the ViT recipe has 768 channels.
    config.model.upernet = ConfigDict({"channels": 512, "auxiliary_channels": 256})
    config.model.upernet.pool_scales = (1, 2, 3, 6)
    config.model.upernet.dropout = 0.1
    config.model.upernet.norm = "batch"  # computed over all devices

    config.objective = ConfigDict()
    config.objective.name = "segmentation"
    config.objective.excluded = ("clutter",)
    config.objective.auxiliary_weight = 0.4  # _base_/models/upernet_r50.py
    config.objective.class_weights = ()  # a number for each class, or balanced
    config.objective.accumulate = 1  # number of micro-batches per device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "segmentation", "size": 600})
    views.scale = (0.5, 2.0)  # _base_/datasets/potsdam.py
    views.horizontal_flip = True  # _base_/datasets/potsdam.py
    # The following are not in mmsegmentation's recipe: images from above have no upright
    # orientation.
    views.vertical_flip = True
    views.quarter_turns = True
    views.brightness = 0.2  # a factor from 0.8 to 1.2
    views.contrast = 0.2

    # Sliding windows over whole tiles, in which each pixel counts once. Window and stride are those
    # of the dataset, so that four windows cover an inner pixel; their logits are blended.
    config.evaluation = ConfigDict({"window": 600, "stride": 300, "flips": False})

    config.optimizer = ConfigDict()
    config.schedule = ConfigDict()
    config.schedule.name = "polynomial"
    config.schedule.warmup_epochs = 0.0
    if backbone.startswith("resnet"):
        _resnet(config)
    else:
        _vit(config)

    # Learning rates, such as (3e-3, 1e-2, 3e-2), to compare on a validation split of data.train,
    # which is by image; the best one replaces optimizer.learning_rate.
    config.search = ConfigDict({"learning_rates": (), "validation": "20%"})

    config.batch_size = 16  # 2 on each of 8 devices, as in the ViT recipe
    config.epochs = 0.0
    config.steps = 40_000  # schedule_40k.py
    config.precision = "auto"  # bfloat16, on a V100 float16, on a CPU float32
    config.deterministic = False  # on a GPU: whether results repeat bit for bit, at a cost in speed

    config.every = ConfigDict({"log": 50, "save": 2000, "evaluate": 4000})
    # A loss that is not finite or at least 20 times the first one counts as diverged: the run skips
    # up to `skip` such batches, and stops at the next one.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 2
    return config


def _resnet(config: ConfigDict) -> None:
    """Set the optimizer and schedule of _base_/schedules/schedule_40k.py."""
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
    """Set the drop path, optimizer and schedule of the ViT recipe."""
    config.model.backbone.patch_size = 8
    config.model.backbone.image_size = 120  # that of pretraining; position embeddings are resized
    config.model.backbone.drop_path = 0.1
    config.model.backbone.position = "sincos"
    config.model.backbone.attention = "auto"  # cudnn where it is available, else xla or blockwise
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
