"""SimCLR + ResNet-50 on BigEarthNet's red, green, blue and near infrared (the paper's "BEN4").

Chen et al. 2020 (https://arxiv.org/abs/2002.05709); hyper-parameters of google-research/simclr.
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
    config.data.evaluation = ""  # the pretext loss on a held-out split; none by default
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a damaged record; "skip" counts it and goes on without it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": "resnet50"})
    config.model.projection = ConfigDict({"hidden": 2048, "out": 128, "layers": 2})

    config.objective = ConfigDict()
    config.objective.name = "simclr"
    config.objective.temperature = 0.1  # SimCLR, table 5 and the reference's default
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    config.augment.train = ConfigDict({"name": "simclr", "size": 120})

    config.optimizer = ConfigDict()
    config.optimizer.name = "lars"
    config.optimizer.learning_rate = 0.3  # per 256 examples: SimCLR, section 2.2
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 1e-6
    config.optimizer.momentum = 0.9

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 10.0
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0

    config.batch_size = 4096
    config.epochs = 100.0
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
