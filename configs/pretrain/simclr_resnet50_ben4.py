"""Pretraining of a ResNet-50 by SimCLR on BigEarthNet's red, green, blue and NIR ("BEN4").

The method is that of Chen et al. 2020 (https://arxiv.org/abs/2002.05709), with the hyper-parameters
of google-research/simclr. The comments cite their sources: sections, tables and appendices of the
paper, files of the repository.
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
    config.data.evaluation = ""  # split to compute the pretext loss on; empty: none
    config.data.split_seed = 0
    config.data.threads = 16
    config.data.on_error = "stop"  # at a corrupt record; "skip" counts and skips it

    config.model = ConfigDict()
    # The small stem is for images of up to 32 pixels (appendix B.9). Batch norm is computed over
    # all devices (section 2.2), with eps 1e-5 and decay 0.9 (resnet.py, run.py).
    config.model.backbone = ConfigDict({"name": "resnet50", "small_stem": False, "norm": "batch"})
    config.model.backbone.stride_in = "3x3"  # resnet.py: not in the first 1×1 of a block
    # Section 2.1: 2048 -> 2048 -> 128; model_util.py: batch norm after both layers.
    config.model.projection = ConfigDict({"hidden": 2048, "out": 128, "layers": 2, "norm": "batch"})

    config.objective = ConfigDict()
    config.objective.name = "simclr"
    config.objective.temperature = 0.1  # table 5, and the default of run.py
    config.objective.accumulate = 1  # number of micro-batches per device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "simclr", "size": 120})
    # Appendix A and data_util.py, at colour strength 1.
    views.crop_scale = (0.08, 1.0)  # fraction of the area
    views.crop_ratio = (3 / 4, 4 / 3)  # width / height
    views.interpolation = "bicubic"
    views.horizontal_flip = True
    views.vertical_flip = True  # not in SimCLR: images from above have no upright orientation
    views.jitter_probability = 0.8
    views.brightness = 0.8  # a factor from 0.2 to 1.8, as for contrast and saturation
    views.contrast = 0.8
    # Saturation and hue are defined for red, green and blue only: with other bands they are
    # skipped, and gray is the mean of all bands.
    views.saturation = 0.8
    views.hue = 0.2
    views.gray_probability = 0.2
    views.blur_probability = 0.5  # kernel size: a tenth of the image's side
    views.blur_sigma = (0.1, 2.0)  # pixels

    config.optimizer = ConfigDict()
    config.optimizer.name = "lars"
    # Section 2.3: 0.3 per 256 examples, 4.8 for the whole batch; weight decay 1e-6. Biases and
    # batch norms are excluded from weight decay and trust ratio (model_util.py).
    config.optimizer.learning_rate = 0.3
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 1e-6
    config.optimizer.momentum = 0.9  # run.py
    config.optimizer.trust_coefficient = 0.001  # lars_optimizer.py, `eeta`

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # section 2.3: without restarts
    config.schedule.warmup_epochs = 10.0  # section 2.3
    config.schedule.warmup_steps = 0  # alternative to `warmup_epochs`
    config.schedule.final_fraction = 0.0  # of the peak learning rate

    config.batch_size = 4096  # section 2.3
    config.epochs = 100.0  # section 2.3; the paper's best networks are trained for 1000 epochs
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
