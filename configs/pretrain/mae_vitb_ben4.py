"""Pretraining of a ViT-B by MAE on BigEarthNet's red, green, blue and NIR ("BEN4").

The method is that of He et al. 2022 (https://arxiv.org/abs/2111.06377), with the hyper-parameters
of facebookresearch/mae. The comments cite their sources: tables and sections of the paper, files of
the repository.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the config of the run."""
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of a run whose backbone initialises this one; empty: random

    config.data = ConfigDict()
    config.data.name = "bigearthnet/v1/rgbn"
    config.data.data_dir = "data"
    config.data.bands = ("red", "green", "blue", "nir")
    config.data.train = "all"  # all 590,326 patches, as in the paper of configs/study
    config.data.evaluation = ""
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a corrupt record; "skip" counts and skips it

    config.model = ConfigDict()
    # Patches of 8 pixels give 225 tokens at 120 pixels, as in CROMA; 15 pixels (64 tokens) are
    # faster.
    config.model.backbone = ConfigDict({"name": "vit_b", "patch_size": 8, "image_size": 120})
    config.model.backbone.attention = "auto"  # cudnn where it is available, else xla or blockwise
    config.model.backbone.position = "sincos"  # fixed position embeddings, models_mae.py
    config.model.backbone.pool = "cls"  # representation of an image by a frozen backbone
    config.model.backbone.drop_path = 0.0  # table 8: not used in pretraining
    # Table 1: 8 blocks with 512 channels; models_mae.py: 16 heads.
    config.model.decoder = ConfigDict({"dim": 512, "depth": 8, "heads": 16})

    config.objective = ConfigDict()
    config.objective.name = "mae"
    config.objective.mask_ratio = 0.75  # section 4.1
    config.objective.norm_pix_loss = True  # table 1d; PRETRAIN.md
    config.objective.accumulate = 1  # number of micro-batches per device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "mae", "size": 120})
    views.crop_scale = (0.2, 1.0)  # fraction of the area; main_pretrain.py
    views.crop_ratio = (3 / 4, 4 / 3)  # width / height; the default of RandomResizedCrop
    views.interpolation = "bicubic"  # main_pretrain.py
    views.horizontal_flip = True  # main_pretrain.py
    views.vertical_flip = False

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    # Table 8: 1.5e-4 per 256 examples, 2.4e-3 for the whole batch. Biases and norms are excluded
    # from weight decay.
    config.optimizer.learning_rate = 1.5e-4
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 0.05  # table 8
    config.optimizer.b1 = 0.9  # table 8
    config.optimizer.b2 = 0.95  # table 8
    config.optimizer.eps = 1e-8  # PyTorch's default
    config.optimizer.layer_decay = 1.0  # not used in pretraining

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # table 8; updated at every step, util/lr_sched.py
    config.schedule.warmup_epochs = 40.0  # table 8
    config.schedule.warmup_steps = 0  # alternative to `warmup_epochs`
    config.schedule.final_fraction = 0.0  # `min_lr` 0, main_pretrain.py

    config.batch_size = 4096  # table 8
    config.epochs = 800.0  # section 4; the paper's best networks are trained for 1600 epochs
    config.steps = 0  # 0: determined by `epochs`
    config.precision = "auto"  # bfloat16, on a V100 float16, on a CPU float32
    config.deterministic = False  # on a GPU: whether results repeat bit for bit, at a cost in speed

    # Periodic evaluation of the features: nearest neighbours and ridge regression on the labels of
    # a few thousand patches, and detection of collapse. The network does not learn from the labels.
    config.probe = ConfigDict()
    config.probe.name = ""  # a dataset with the bands above; empty: the one of config.data
    config.probe.train = "train[1%]"  # empty: no probe
    config.probe.evaluation = "validation[2%]"

    config.every = ConfigDict({"log": 50, "save": 1000, "evaluate": 0, "probe": 1000})
    # A loss that is not finite or at least 20 times the first one counts as diverged: the run skips
    # up to `skip` such batches, and stops at the next one.
    config.bad_loss = ConfigDict({"explosion": 20.0, "skip": 0})
    config.keep = 2  # newest checkpoints kept
    return config
