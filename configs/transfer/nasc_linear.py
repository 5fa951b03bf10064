"""Linear probing on scene classification of NaSC-TG2: a linear layer on a frozen backbone.

`get_config("vit_b")`, or `--config=configs/transfer/nasc_linear.py:vit_b`, is MAE's recipe (He
et al. 2022, table 10; facebookresearch/mae, FINETUNE.md and main_linprobe.py).
`get_config("resnet50")` is SimCLR's (Chen et al. 2020, appendix B.6; README of
google-research/simclr).

Unlike the papers, it uses whole scenes instead of random crops, so that the features are computed
once rather than in each epoch. Learning rates are scaled with the batch size, as in the papers.
"""

from ml_collections import ConfigDict

SIZE = 128  # pixels of a scene


def get_config(backbone: str = "vit_b") -> ConfigDict:
    """Return the config of a linear probe on a `vit_b` or a `resnet50`."""
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of the pretraining run; empty: random weights

    config.data = ConfigDict()
    config.data.name = "nasc_tg2/rgbn"
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.target = ""  # feature to predict, such as labels_43; empty: label or labels
    config.data.train = "all[2:8]"  # for 10 % of its labels: all[2:8][10%]
    config.data.evaluation = "all[2:8].rest"
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a corrupt record; "skip" counts and skips it

    config.model = ConfigDict()
    config.model.backbone = ConfigDict({"name": backbone})
    config.model.head = ConfigDict({"hidden": (), "dropout": 0.0})

    config.objective = ConfigDict()
    config.objective.name = "classification"
    config.objective.frozen = True
    config.objective.multi_label = False
    config.objective.label_smoothing = 0.0
    config.objective.class_weights = ()  # a number for each class, or balanced
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    config.augment.train = ConfigDict({"name": "evaluation", "size": SIZE})
    config.augment.evaluation = ConfigDict({"name": "evaluation", "size": SIZE})

    config.optimizer = ConfigDict()
    config.optimizer.reference_batch = 256
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 0.0

    # Learning rates, such as (0.5, 1.0, 2.0), to compare on a validation split of data.train.
    config.search = ConfigDict({"learning_rates": (), "validation": "20%"})

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0

    config.batch_size = 256
    config.epochs = 90.0  # in both papers
    config.steps = 0
    config.precision = "auto"  # bfloat16, on a V100 float16, on a CPU float32
    config.deterministic = False  # on a GPU: whether results repeat bit for bit, at a cost in speed

    config.every = ConfigDict({"log": 50, "save": 0, "evaluate": 0})
    # A loss that is not finite or at least 20 times the first one counts as diverged: the run skips
    # up to `skip` such batches, and stops at the next one.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 1
    if backbone.startswith("vit"):
        _mae(config)
    else:
        _simclr(config)
    return config


def _mae(config: ConfigDict) -> None:
    """Set the options of FINETUNE.md and main_linprobe.py."""
    config.model.backbone.patch_size = 8
    config.model.backbone.image_size = 120  # that of pretraining; position embeddings are resized
    config.model.backbone.position = "sincos"
    config.model.backbone.attention = "auto"  # cudnn where it is available, else xla or blockwise
    config.model.backbone.pool = "cls"  # --cls_token
    config.model.head.batch_norm = True  # main_linprobe.py: BatchNorm1d(affine=False, eps=1e-6)
    config.model.head.initial_std = 0.01  # main_linprobe.py: trunc_normal_(head.weight, std=0.01)
    config.optimizer.name = "lars"
    # MAE has 0.1 per 256 examples, for 1.28 million images. The length of a LARS step is a fraction
    # of the weights' norm, whatever the gradient, and 90 epochs of 4,000 scenes have 1/300 of those
    # steps: at 0.1 the layer does not converge within them.
    config.optimizer.learning_rate = 1.0
    config.optimizer.trust_coefficient = 0.001  # util/lars.py
    config.schedule.warmup_epochs = 10.0


def _simclr(config: ConfigDict) -> None:
    """Set the options of the README of google-research/simclr."""
    config.model.backbone.update(small_stem=False, norm="batch")
    config.model.head.batch_norm = False
    config.model.head.initial_std = 0.0  # --zero_init_logits_layer
    config.optimizer.name = "sgd"  # --optimizer=momentum
    config.optimizer.learning_rate = 0.1  # per 256 examples
    config.optimizer.nesterov = True  # model_util.py of google-research/simclr: use_nesterov=True
    config.schedule.warmup_epochs = 0.0
