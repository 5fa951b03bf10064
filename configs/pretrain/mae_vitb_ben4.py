"""MAE + ViT-B on BigEarthNet's red, green, blue and near infrared (the paper's "BEN4").

He et al. 2022 (https://arxiv.org/abs/2111.06377); hyper-parameters of facebookresearch/mae. The
comments say where each is from: tables are the paper's, files that repository's.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of a run whose backbone is the starting point

    config.data = ConfigDict()
    config.data.name = "bigearthnet/v1/rgbn"
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.train = "all"  # the 590,326 patches, as in the paper
    config.data.evaluation = ""
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a damaged record; "skip" counts it and goes on without it

    config.model = ConfigDict()
    # Patch 8 gives 225 tokens at 120 pixels, as in CROMA; patch 15 (64 tokens) is the fast preset.
    config.model.backbone = ConfigDict({"name": "vit_b", "patch_size": 8, "image_size": 120})
    config.model.backbone.position = "sincos"  # fixed, models_mae.py
    config.model.backbone.pool = "cls"  # what a frozen backbone represents an image by
    config.model.backbone.drop_path = 0.0  # table 8: none in pretraining
    # Table 1: 8 blocks of 512; 16 heads, models_mae.py.
    config.model.decoder = ConfigDict({"dim": 512, "depth": 8, "heads": 16})

    config.objective = ConfigDict()
    config.objective.name = "mae"
    config.objective.mask_ratio = 0.75  # section 4.1
    config.objective.norm_pix_loss = True  # table 1d; PRETRAIN.md
    config.objective.accumulate = 1  # micro-batches of a device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "mae", "size": 120})
    views.crop_scale = (0.2, 1.0)  # share of the area; main_pretrain.py
    views.crop_ratio = (3 / 4, 4 / 3)  # width / height; the default of RandomResizedCrop
    views.interpolation = "bicubic"  # main_pretrain.py
    views.horizontal_flip = True  # main_pretrain.py
    views.vertical_flip = False

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    # Table 8: 1.5e-4 per 256 examples, 2.4e-3 in all. Biases and norms don't decay.
    config.optimizer.learning_rate = 1.5e-4
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 0.05  # table 8
    config.optimizer.b1 = 0.9  # table 8
    config.optimizer.b2 = 0.95  # table 8
    config.optimizer.eps = 1e-8  # PyTorch's default
    config.optimizer.layer_decay = 1.0  # none in pretraining

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # table 8; at every step, util/lr_sched.py
    config.schedule.warmup_epochs = 40.0  # table 8
    config.schedule.warmup_steps = 0  # instead of epochs
    config.schedule.final_fraction = 0.0  # `min_lr` 0, main_pretrain.py

    config.batch_size = 4096  # table 8
    config.epochs = 800.0  # section 4; the paper's best networks are trained for 1600
    config.steps = 0  # 0: as many as `epochs` asks for
    config.precision = "auto"  # bfloat16 where the device has it, float32 elsewhere

    # What the features are worth so far: nearest neighbours and ridge regression onto the labels of
    # a few thousand patches, and whether they have collapsed. Nothing is learned from these labels.
    config.probe = ConfigDict()
    config.probe.name = ""  # a dataset with the bands above; empty: that of config.data
    config.probe.train = "train[1%]"  # empty: no probe
    config.probe.evaluation = "validation[2%]"

    config.every = ConfigDict({"log": 50, "save": 1000, "evaluate": 0, "probe": 1000})
    # A loss 20 times the first one, or none at all, stops the run; with skip, so many batches may
    # be left out before it does.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 2  # newest bundles kept
    return config
