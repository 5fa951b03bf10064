"""SimCLR + ResNet-50 on BigEarthNet's red, green, blue and near infrared (the paper's "BEN4").

Chen et al. 2020 (https://arxiv.org/abs/2002.05709); hyper-parameters of google-research/simclr. The
comments say where each is from: sections, tables and appendices are the paper's, files that
repository's.
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
    # The ordinary stem also at 120 pixels: the small one is for up to 32 (appendix B.9). Batch norm
    # is over all devices (section 2.2), with eps 1e-5 and decay 0.9 (resnet.py, run.py).
    config.model.backbone = ConfigDict({"name": "resnet50", "small_stem": False, "norm": "batch"})
    # 2048 -> 2048 -> 128, section 2.1; batch norm after both layers, model_util.py.
    config.model.projection = ConfigDict({"hidden": 2048, "out": 128, "layers": 2, "norm": "batch"})

    config.objective = ConfigDict()
    config.objective.name = "simclr"
    config.objective.temperature = 0.1  # table 5, and the default of run.py
    config.objective.accumulate = 1  # micro-batches of a device

    config.augment = ConfigDict()
    views = config.augment.train = ConfigDict({"name": "simclr", "size": 120})
    # Appendix A and data_util.py, at colour strength 1.
    views.crop_scale = (0.08, 1.0)  # share of the area
    views.crop_ratio = (3 / 4, 4 / 3)  # width / height
    views.interpolation = "bicubic"
    views.horizontal_flip = True
    views.vertical_flip = True  # ours: seen from above there is no upside
    views.jitter_probability = 0.8
    views.brightness = 0.8  # a factor from 0.2 to 1.8; so contrast and saturation
    views.contrast = 0.8
    # Saturation and hue have a meaning for red, green and blue alone: with other bands they are
    # left out, and gray is the mean of all bands.
    views.saturation = 0.8
    views.hue = 0.2
    views.gray_probability = 0.2
    views.blur_probability = 0.5  # with a kernel of a tenth of the image
    views.blur_sigma = (0.1, 2.0)  # pixels

    config.optimizer = ConfigDict()
    config.optimizer.name = "lars"
    # Section 2.3: 0.3 per 256 examples, 4.8 in all; decay 1e-6. Biases and batch norm have neither
    # decay nor trust ratio (model_util.py).
    config.optimizer.learning_rate = 0.3
    config.optimizer.reference_batch = 256
    config.optimizer.weight_decay = 1e-6
    config.optimizer.momentum = 0.9  # run.py
    config.optimizer.trust_coefficient = 0.001  # lars_optimizer.py, `eeta`

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # section 2.3: without restarts
    config.schedule.warmup_epochs = 10.0  # section 2.3
    config.schedule.warmup_steps = 0  # instead of epochs
    config.schedule.final_fraction = 0.0  # of the learning rate

    config.batch_size = 4096  # section 2.3
    config.epochs = 100.0  # section 2.3; the paper's best networks are trained for 1000
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
