"""Fine-tuning of the whole network for scene classification of NaSC-TG2.

`get_config("vit_b")`, or `--config=configs/transfer/nasc_finetune.py:vit_b`, is MAE's recipe (He et
al. 2022, table 9; facebookresearch/mae, FINETUNE.md and main_finetune.py). `get_config("resnet50")`
is SimCLR's (Chen et al. 2020, appendix B.5). If `pretrained` is empty, the network is trained from
scratch.

Batches are smaller than in the papers, whose datasets are 300 times larger: with 4,000 scenes (2:8)
MAE's batches of 1,024 would give 3 steps per epoch, while 256 give 15. Learning rates are scaled
with the batch size, as in the papers.
"""

from ml_collections import ConfigDict

SIZE = 128  # pixels of a scene


def get_config(backbone: str = "vit_b") -> ConfigDict:
    """Return the config of fine-tuning a `vit_b` or a `resnet50`."""
    config = ConfigDict()
    config.seed = 0
    config.pretrained = ""  # workdir of the pretraining run; empty: trained from scratch

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
    # Both papers use a single linear layer.
    config.model.head = ConfigDict({"hidden": (), "dropout": 0.0, "batch_norm": False})

    config.objective = ConfigDict()
    config.objective.name = "classification"
    config.objective.frozen = False
    config.objective.multi_label = False
    config.objective.class_weights = ()  # a number for each class, or balanced
    config.objective.accumulate = 1

    config.augment = ConfigDict()
    config.augment.train = ConfigDict({"name": "finetune", "size": SIZE})
    config.augment.train.crop_scale = (0.08, 1.0)  # timm's create_transform, and SimCLR
    # In neither paper: images from above have no upright orientation.
    config.augment.train.vertical_flip = True
    # Both papers: the central 224 of 256 pixels, since random crops enlarge their content.
    config.augment.evaluation = ConfigDict({"name": "evaluation", "size": SIZE, "centre": 0.875})

    # Learning rates, such as (2.5e-4, 5e-4, 1e-3), to compare on a validation split of data.train.
    config.search = ConfigDict({"learning_rates": (), "validation": "20%"})

    config.batch_size = 256
    config.steps = 0
    config.precision = "auto"  # bfloat16, on a V100 float16, on a CPU float32
    config.deterministic = False  # on a GPU: whether results repeat bit for bit, at a cost in speed

    config.every = ConfigDict({"log": 50, "save": 500, "evaluate": 0})
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
    """Set the options of FINETUNE.md's command for ViT-B, else main_finetune.py's defaults."""
    config.model.backbone.patch_size = 8
    config.model.backbone.image_size = 120  # that of pretraining; position embeddings are resized
    config.model.backbone.position = "sincos"
    config.model.backbone.attention = "auto"  # cudnn where it is available, else xla or blockwise
    config.model.backbone.drop_path = 0.1  # --drop_path
    config.model.backbone.pool = "mean"  # --global_pool: mean of the patches, then a new norm
    config.model.head.initial_std = 2e-5  # main_finetune.py: trunc_normal_(head.weight, std=2e-5)

    config.objective.label_smoothing = 0.1  # --smoothing
    config.objective.mix = ConfigDict()
    config.objective.mix.mixup = 0.8  # --mixup
    config.objective.mix.cutmix = 1.0  # --cutmix
    config.objective.mix.probability = 1.0  # --mixup_prob
    config.objective.mix.switch_probability = 0.5  # --mixup_switch_prob
    config.objective.mix.mode = "batch"  # --mixup_mode; in MAE a batch is the 32 images of one GPU

    config.augment.train.operations = 2  # --aa rand-m9-mstd0.5-inc1; number: timm's default
    config.augment.train.magnitude = 9.0
    config.augment.train.magnitude_std = 0.5
    config.augment.train.erasing = 0.25  # --reprob, with --remode pixel

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4  # --blr, per 256 examples
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 0.05  # --weight_decay
    config.optimizer.b1 = 0.9  # betas and eps: torch.optim.AdamW
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8
    config.optimizer.layer_decay = 0.65  # --layer_decay

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0  # --warmup_epochs
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 1e-6 / 5e-4  # --min_lr, relative to the rate per 256 examples
    config.epochs = 100.0  # --epochs


def _simclr(config: ConfigDict) -> None:
    """Set the options of appendix B.5: only crops and flips, no regularisation, no warm-up."""
    config.model.backbone.update(small_stem=False, norm="batch")
    config.model.head.initial_std = 0.0  # README of google-research/simclr: zero_init_logits_layer
    config.objective.label_smoothing = 0.0

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.05  # per 256 examples; 0.8 for the paper's 4,096
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 0.0
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # learning_rate_schedule of google-research/simclr
    config.schedule.warmup_epochs = 0.0
    config.schedule.warmup_steps = 0
    config.schedule.final_fraction = 0.0
    config.epochs = 60.0  # as for 1 % of ImageNet, 12,811 images; for 10 %, the paper has 30
