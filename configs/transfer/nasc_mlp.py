"""Scene classification of NaSC-TG2: an MLP head on a frozen backbone (the paper's Table 1).

`data.train` is the training side of a stratified train:validation cut; in the paper 2:8, 5:5, 8:2.
The backbone must be the one of `pretrained`; with `pretrained` empty it stays as initialised.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of the pretraining run whose backbone is put to the test

    config.data = ConfigDict()
    config.data.name = "nasc_tg2/rgbn"
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.target = ""  # feature to learn, such as labels_43; empty: label or labels
    config.data.train = "all[2:8]"
    config.data.evaluation = "all[2:8].rest"
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a damaged record; "skip" counts it and goes on without it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": "resnet50"})
    config.model.head = ConfigDict({"hidden": (512,), "dropout": 0.0, "batch_norm": False})

    config.objective = ConfigDict()
    config.objective.name = "classification"
    config.objective.frozen = True  # the paper's 94 % speaks for a frozen ImageNet backbone
    config.objective.multi_label = False
    config.objective.label_smoothing = 0.0
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    # Without augmentation the features of a frozen backbone are computed once, not once per epoch.
    config.augment.train = ConfigDict({"name": "evaluation", "size": 128})
    config.augment.evaluation = ConfigDict({"name": "evaluation", "size": 128})

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.reference_batch = 0  # 0: the learning rate is not scaled with the batch
    config.optimizer.weight_decay = 1e-4
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8  # PyTorch's default, as b1 and b2
    config.optimizer.layer_decay = 1.0

    # Each rate is tried on a part of data.train and judged on the rest, never on data.evaluation;
    # the best one takes the place of optimizer.learning_rate. () for no search.
    config.search = ConfigDict({"learning_rates": (3e-4, 1e-3, 3e-3), "validation": "20%"})

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 0.0
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0

    config.batch_size = 256
    config.epochs = 100.0
    config.steps = 0
    config.precision = "auto"

    config.every = ConfigDict({"log": 50, "save": 0, "evaluate": 0})
    # A loss 20 times the first one, or none at all, stops the run; with skip, so many batches may
    # be left out before it does.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 1
    return config
