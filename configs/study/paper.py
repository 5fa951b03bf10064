"""The paper's study: every cell of its Tables 1 and 2, and the baselines that keep one honest.

A section is the config of a run, or of several that differ in what the study varies. So every field
can be set: `--config.mae.epochs=400`, `--config.seeds='(0,)'`. Pretraining is done once, with the
seed of its section; `seeds` vary the transfer: the head, the order of the examples and, in Table 1,
which of them are labelled.
"""

from dataclasses import dataclass, field

from ml_collections import ConfigDict

from configs.pretrain import mae_vitb_ben4, simclr_resnet50_ben3, simclr_resnet50_ben4
from configs.transfer import nasc_mlp, potsdam_upernet
from ssl_jax.studies.plan import Cell, Contrast, Row, Run, Study, Table

RGB = ("red", "green", "blue")
RGBN = (*RGB, "nir")


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data_dir = "data"
    config.seeds = (0, 1, 2)
    config.ratios = ("2:8", "5:5", "8:2")  # train : validation, of the scenes
    config.imagenet = ""  # what `python -m ssl_jax.convert import` made of ImageNet weights

    config.simclr_ben3 = simclr_resnet50_ben3.get_config()
    config.simclr_ben4 = simclr_resnet50_ben4.get_config()
    config.mae = mae_vitb_ben4.get_config()
    config.scenes = nasc_mlp.get_config()
    config.aerial_resnet50 = potsdam_upernet.get_config("resnet50")
    config.aerial_vitb = potsdam_upernet.get_config("vit_b")
    return config


def study(config: ConfigDict) -> Study:
    """The study, with ImageNet weights that the user brings."""
    awaits = (
        ""
        if config.imagenet
        else (
            "ImageNet weights: `python -m ssl_jax.convert import FILE.safetensors --as resnet50 "
            "--bands red,green,blue --workdir W`, then --config.imagenet=W"
        )
    )
    imagenet = Backbone(
        "resnet50_imagenet_rgb",
        "ResNet50, ImageNet RGB",
        config.simclr_ben3.model.backbone,
        RGB,
        published={"2:8": 92.85, "5:5": 93.64, "8:2": 94.05},
        bundle=config.imagenet,
        awaits=awaits,
    )
    return compose("The paper's study", config, imagenet)


@dataclass(frozen=True)
class Backbone:
    """A backbone that is put to the test: a row of Table 1.

    Attributes:
        name: in the names of runs.
        title: in the table.
        model: `config.model.backbone`.
        bands: what it sees.
        published: the paper's top-1 in percent, by ratio.
        pretraining: the run that makes it; none for a baseline or for given weights.
        bundle: the workdir of given weights.
        awaits: what the user has to bring before it can be tested.
        note: what a reader of the table must know of it.
    """

    name: str
    title: str
    model: ConfigDict
    bands: tuple[str, ...] = RGBN
    published: dict[str, float] = field(default_factory=dict)
    pretraining: tuple[Run, ...] = ()
    bundle: str = ""
    awaits: str = ""
    note: str = ""

    @property
    def baseline(self) -> bool:
        """Whether nothing was learned before the transfer."""
        return not (self.pretraining or self.bundle or self.awaits)


def compose(title: str, config: ConfigDict, rgb: Backbone, note: str = "") -> Study:
    """The study of both tables, with `rgb` for the row of a network that knows pictures."""
    pretrained, baselines = _pretrained(config), _baselines(config)
    backbones = (rgb, *pretrained, *baselines)
    pretrainings = [run for backbone in backbones for run in backbone.pretraining]
    scene_runs = [run for backbone in backbones for run in _scene_runs(backbone, config)]
    scenes = _scenes(config, rgb, pretrained, baselines)
    aerial, aerial_runs = _aerial(config, *pretrained[1:])
    return Study(title, (*pretrainings, *scene_runs, *aerial_runs), (scenes, aerial), note)


def _pretrained(config: ConfigDict) -> tuple[Backbone, Backbone, Backbone]:
    """SimCLR on three bands, SimCLR on four and MAE on four."""
    ben3 = Backbone(
        "simclr_resnet50_ben3",
        "SimCLR ResNet50, BEN3",
        config.simclr_ben3.model.backbone,
        RGB,
        {"2:8": 92.25, "5:5": 93.37, "8:2": 94.45},
        (pretraining("simclr_resnet50_ben3", config.simclr_ben3, config),),
    )
    ben4 = Backbone(
        "simclr_resnet50_ben4",
        "SimCLR ResNet50, BEN4",
        config.simclr_ben4.model.backbone,
        RGBN,
        {"2:8": 92.90, "5:5": 95.59, "8:2": 97.13},
        (pretraining("simclr_resnet50_ben4", config.simclr_ben4, config),),
    )
    mae = Backbone(
        "mae_vitb_ben4",
        "MAE ViT-B, BEN4",
        config.mae.model.backbone,
        RGBN,
        {"2:8": 93.28, "5:5": 96.11, "8:2": 98.30},
        (pretraining("mae_vitb_ben4", config.mae, config),),
    )
    return ben3, ben4, mae


def _baselines(config: ConfigDict) -> tuple[Backbone, Backbone, Backbone]:
    """Both networks as they are initialised, and no network at all."""
    resnet, vit = config.simclr_ben4.model.backbone, config.mae.model.backbone
    statistics = Backbone(
        "image_statistics",
        "Image statistics",
        ConfigDict({"name": "image_statistics"}),
        note="No network: mean, deviation, minimum and maximum of each band, and the MLP head.",
    )
    return (
        Backbone("random_resnet50", "ResNet50, random weights", resnet),
        Backbone("random_vitb", "ViT-B, random weights", vit),
        statistics,
    )


def _scenes(
    config: ConfigDict,
    rgb: Backbone,
    pretrained: tuple[Backbone, Backbone, Backbone],
    baselines: tuple[Backbone, Backbone, Backbone],
) -> Table:
    """Table 1."""
    ben3, ben4, mae = pretrained
    random_resnet, random_vit, statistics = baselines
    return Table(
        name="scenes",
        title="Table 1. Scene classification: top-1 accuracy (%) by train : validation ratio",
        subject="Scene classification",
        columns=tuple(config.ratios),
        metrics=("top-1",) * len(config.ratios),
        rows=tuple(_scene_row(backbone, config) for backbone in (rgb, *pretrained, *baselines)),
        contrasts=(
            Contrast("pretraining by SimCLR", ben4.title, random_resnet.title),
            Contrast("pretraining by MAE", mae.title, random_vit.title),
            Contrast("the near infrared", ben4.title, ben3.title),
            Contrast("SimCLR over everyday pictures", ben4.title, rgb.title, headline=False),
            Contrast("MAE over SimCLR", mae.title, ben4.title, headline=False),
            Contrast("SimCLR over image statistics", ben4.title, statistics.title, headline=False),
        ),
        note="An MLP head on a frozen backbone. BEN3 is red, green and blue; BEN4 has the near "
        "infrared too, and so have the baselines.",
    )


def _aerial(config: ConfigDict, ben4: Backbone, mae: Backbone) -> tuple[Table, list[Run]]:
    """Table 2, and its runs."""
    upernets = (
        ("ResNet50", "resnet50", config.aerial_resnet50, ben4, "SimCLR"),
        ("ViT-B", "vitb", config.aerial_vitb, mae, "MAE"),
    )
    rows, contrasts, aerial_runs = [], [], []
    for network, name, section, backbone, method in upernets:
        scratch = f"{network} UperNet, without SSL"
        ssl = f"{network} UperNet, with SSL ({method}, BEN4)"
        for row, suffix, start in ((scratch, "scratch", ()), (ssl, "ssl", backbone.pretraining)):
            runs = [_aerial_run(f"{name}_{suffix}", s, section, backbone, start, config)
                    for s in config.seeds]  # fmt: skip
            names = tuple(run.name for run in runs)
            aerial_runs += runs
            rows.append(Row(row, (Cell(names, "mIoU"), Cell(names, "OA"))))
        contrasts.append(Contrast(f"pretraining of the {network}", ssl, scratch))
    table = Table(
        name="aerial",
        title="Table 2. Semantic segmentation of aerial images, clutter excluded (%)",
        subject="Segmentation",
        columns=("mIoU", "OA"),
        metrics=("mIoU", "overall accuracy"),
        rows=tuple(rows),
        contrasts=tuple(contrasts),
        note="The paper says in words: SSL adds up to 1.96 points of mIoU, and the ViT is a little "
        "below the CNN.",
    )
    return table, aerial_runs


def pretraining(name: str, section: ConfigDict, config: ConfigDict) -> Run:
    """The run `pretrain/NAME` of a section."""
    return Run(f"pretrain/{name}", _copy(section, config))


def _scene_row(backbone: Backbone, config: ConfigDict) -> Row:
    cells = tuple(
        Cell(
            tuple(_scene_name(backbone, ratio, seed) for seed in config.seeds),
            "top1",
            backbone.published.get(ratio),
        )
        for ratio in config.ratios
    )
    return Row(backbone.title, cells, backbone.note, backbone.baseline)


def _scene_name(backbone: Backbone, ratio: str, seed: int) -> str:
    return f"scenes/{backbone.name}/{ratio.replace(':', '-')}/seed{seed}"


def _scene_runs(backbone: Backbone, config: ConfigDict) -> list[Run]:
    """The cells of a row of Table 1, one run a ratio and seed."""
    runs = []
    for ratio in config.ratios:
        for seed in config.seeds:
            cell = _copy(config.scenes, config)
            cell.seed = cell.data.split_seed = seed
            cell.data.bands = backbone.bands
            cell.data.train, cell.data.evaluation = f"all[{ratio}]", f"all[{ratio}].rest"
            cell.model.backbone = backbone.model
            cell.pretrained = backbone.bundle
            needs = tuple(run.name for run in backbone.pretraining)
            name = _scene_name(backbone, ratio, seed)
            runs.append(Run(name, cell, needs, backbone.awaits))
    return runs


def _aerial_run(
    name: str,
    seed: int,
    section: ConfigDict,
    backbone: Backbone,
    start: tuple[Run, ...],
    config: ConfigDict,
) -> Run:
    """A run of Table 2."""
    cell = transfer_of(backbone, section, config)
    cell.seed = seed
    return Run(f"aerial/{name}/seed{seed}", cell, tuple(run.name for run in start))


def transfer_of(backbone: Backbone, section: ConfigDict, config: ConfigDict) -> ConfigDict:
    """A section's transfer with a backbone's network.

    What doesn't make it another network, drop path and pooling, stays as the transfer has it.
    """
    cell = _copy(section, config)
    kept = {name: v for name, v in cell.model.backbone.items() if name in ("drop_path", "pool")}
    cell.model.backbone.update({**backbone.model, **kept})
    return cell


def _copy(section: ConfigDict, config: ConfigDict) -> ConfigDict:
    copy = ConfigDict(section.to_dict())
    copy.data.data_dir = config.data_dir
    return copy
