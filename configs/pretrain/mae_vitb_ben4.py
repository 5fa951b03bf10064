"""MAE + ViT-B on BigEarthNet's red, green, blue and near infrared (the paper's "BEN4").

He et al. 2022 (https://arxiv.org/abs/2111.06377); hyper-parameters of facebookresearch/mae.
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
    config.model.decoder = ConfigDict({"dim": 512, "depth": 8, "heads": 16})

    config.objective = ConfigDict()
    config.objective.name = "mae"
    config.objective.mask_ratio = 0.75
    config.objective.norm_pix_loss = True
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    config.augment.train = ConfigDict({"name": "mae", "size": 120})

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1.5e-4  # per 256 examples
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 0.05
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    config.optimizer.layer_decay = 1.0

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 40.0
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0

    config.batch_size = 4096
    config.epochs = 800.0
    config.steps = 0  # 0: as many as `epochs` asks for
    config.precision = "auto"

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
    config.keep = 2
    return config
