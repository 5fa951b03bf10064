"""Scene classification of NaSC-TG2 by an MLP on a frozen backbone (the paper's Table 1).

`data.train` is the training part of a stratified train:validation split, whose ratio in the paper
is 2:8, 5:5 or 8:2. The backbone must be the one of `pretrained`; if `pretrained` is empty, it keeps
its random weights.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the config of the run."""
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of the pretraining run; empty: random weights

    config.data = ConfigDict()
    config.data.name = "nasc_tg2/rgbn"
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.target = ""  # feature to predict, such as labels_43; empty: label or labels
    config.data.train = "all[2:8]"
    config.data.evaluation = "all[2:8].rest"
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a corrupt record; "skip" counts and skips it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": "resnet50"})
    config.model.head = ConfigDict({"hidden": (512,), "dropout": 0.0, "batch_norm": False})

    config.objective = ConfigDict()
    config.objective.name = "classification"
    config.objective.frozen = True  # the paper's 94 % suggests that its ImageNet backbone is frozen
    config.objective.multi_label = False
    config.objective.label_smoothing = 0.0
    config.objective.class_weights = ()  # a number for each class, or balanced
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    # Without augmentation, the features of a frozen backbone are computed only once.
    config.augment.train = ConfigDict({"name": "evaluation", "size": 128})
    config.augment.evaluation = ConfigDict({"name": "evaluation", "size": 128})

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.reference_batch = 0  # 0: the learning rate is not scaled with the batch
    config.optimizer.weight_decay = 1e-4
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8  # PyTorch's default, like b1 and b2
    config.optimizer.layer_decay = 1.0

    # The learning rates are compared on a validation split of data.train, never on data.evaluation;
    # the best one replaces optimizer.learning_rate. (): no search.
    config.search = ConfigDict({"learning_rates": (3e-4, 1e-3, 3e-3), "validation": "20%"})

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 0.0
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0

    config.batch_size = 256
    config.epochs = 100.0
    config.steps = 0
    config.precision = "auto"  # bfloat16, on a V100 float16, on a CPU float32
    config.deterministic = False  # on a GPU: whether results repeat bit for bit, at a cost in speed

    config.every = ConfigDict({"log": 50, "save": 0, "evaluate": 0})
    # A loss that is not finite or at least 20 times the first one counts as diverged: the run skips
    # up to `skip` such batches, and stops at the next one.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 1
    return config
