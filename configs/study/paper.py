"""The study of the paper: all cells of its Tables 1 and 2, with additional baselines.

Each section is the config of one run, or of several that differ only in what the study varies, so
that any field can be set: `--config.mae.epochs=400`, `--config.seeds='(0,)'`. Each network is
pretrained once, with the seed of its section. `seeds` are those of the transfer runs, in which they
determine the initial head, the order of the examples and, in Table 1, the labelled examples.
"""

from dataclasses import dataclass, field

from ml_collections import ConfigDict

from configs.pretrain import mae_vitb_ben4, simclr_resnet50_ben3, simclr_resnet50_ben4
from configs.transfer import nasc_mlp, potsdam_upernet
from ssl_jax.studies.plan import Cell, Contrast, Row, Run, Study, Table

RGB = ("red", "green", "blue")
RGBN = (*RGB, "nir")


def get_config() -> ConfigDict:
    """Return the config of the study."""
    config = ConfigDict()
    config.data_dir = "data"
    config.seeds = (0, 1, 2)
    config.ratios = ("2:8", "5:5", "8:2")  # train : validation
    config.imagenet = ""  # workdir of ImageNet weights, see `python -m ssl_jax.convert import`

    config.simclr_ben3 = simclr_resnet50_ben3.get_config()
    config.simclr_ben4 = simclr_resnet50_ben4.get_config()
    config.mae = mae_vitb_ben4.get_config()
    config.scenes = nasc_mlp.get_config()
    config.aerial_resnet50 = potsdam_upernet.get_config("resnet50")
    config.aerial_vitb = potsdam_upernet.get_config("vit_b")
    return config


def study(config: ConfigDict) -> Study:
    """Return the study, for which the user provides ImageNet weights."""
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
    return make_study("The paper's study", config, imagenet)


@dataclass(frozen=True)
class Backbone:
    """A backbone to evaluate: a row of Table 1.

    Attributes:
        name: Its name in the names of runs.
        title: Its name in the table.
        model: The fields of `config.model.backbone`.
        bands: Names of the bands of its images.
        published: Top-1 accuracies of the paper, in percent, by ratio.
        pretraining: The run that pretrains it; empty for a baseline or if there is a checkpoint.
        bundle: Workdir of its checkpoint; empty for a baseline or if the study pretrains it.
        awaits: What the user has to provide before its runs can start.
        note: Note on it below the table.
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
        """Whether the backbone has no pretrained weights."""
        return not (self.pretraining or self.bundle or self.awaits)


def make_study(title: str, config: ConfigDict, rgb: Backbone, note: str = "") -> Study:
    """Create the study of both tables.

    Args:
        title: Title of the study.
        config: Config of the study.
        rgb: The backbone pretrained on photographs, for the first row of Table 1.
        note: Note on the study.
    """
    pretrained, baselines = _make_pretrained(config), _make_baselines(config)
    backbones = (rgb, *pretrained, *baselines)
    pretrainings = [run for backbone in backbones for run in backbone.pretraining]
    scene_runs = [run for backbone in backbones for run in _make_scene_runs(backbone, config)]
    scenes = _make_scene_table(config, rgb, pretrained, baselines)
    aerial, aerial_runs = _make_aerial_table(config, *pretrained[1:])
    return Study(title, (*pretrainings, *scene_runs, *aerial_runs), (scenes, aerial), note)


def _make_pretrained(config: ConfigDict) -> tuple[Backbone, Backbone, Backbone]:
    """Create the backbones pretrained by SimCLR on three bands, and by SimCLR and MAE on four."""
    ben3 = Backbone(
        "simclr_resnet50_ben3",
        "SimCLR ResNet50, BEN3",
        config.simclr_ben3.model.backbone,
        RGB,
        {"2:8": 92.25, "5:5": 93.37, "8:2": 94.45},
        (make_pretraining("simclr_resnet50_ben3", config.simclr_ben3, config),),
    )
    ben4 = Backbone(
        "simclr_resnet50_ben4",
        "SimCLR ResNet50, BEN4",
        config.simclr_ben4.model.backbone,
        RGBN,
        {"2:8": 92.90, "5:5": 95.59, "8:2": 97.13},
        (make_pretraining("simclr_resnet50_ben4", config.simclr_ben4, config),),
    )
    mae = Backbone(
        "mae_vitb_ben4",
        "MAE ViT-B, BEN4",
        config.mae.model.backbone,
        RGBN,
        {"2:8": 93.28, "5:5": 96.11, "8:2": 98.30},
        (make_pretraining("mae_vitb_ben4", config.mae, config),),
    )
    return ben3, ben4, mae


def _make_baselines(config: ConfigDict) -> tuple[Backbone, Backbone, Backbone]:
    """Create the baselines: both networks with random weights, and statistics of images."""
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


def _make_scene_table(
    config: ConfigDict,
    rgb: Backbone,
    pretrained: tuple[Backbone, Backbone, Backbone],
    baselines: tuple[Backbone, Backbone, Backbone],
) -> Table:
    """Create Table 1."""
    ben3, ben4, mae = pretrained
    random_resnet, random_vit, statistics = baselines
    return Table(
        name="scenes",
        title="Table 1. Scene classification: top-1 accuracy (%) by train : validation ratio",
        subject="Scene classification",
        columns=tuple(config.ratios),
        metrics=("top-1",) * len(config.ratios),
        rows=tuple(
            _make_scene_row(backbone, config) for backbone in (rgb, *pretrained, *baselines)
        ),
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


def _make_aerial_table(
    config: ConfigDict, ben4: Backbone, mae: Backbone
) -> tuple[Table, list[Run]]:
    """Create Table 2 and its runs."""
    upernets = (
        ("ResNet50", "resnet50", config.aerial_resnet50, ben4, "SimCLR"),
        ("ViT-B", "vitb", config.aerial_vitb, mae, "MAE"),
    )
    rows, contrasts, aerial_runs = [], [], []
    for network, name, section, backbone, method in upernets:
        scratch = f"{network} UperNet, without SSL"
        ssl = f"{network} UperNet, with SSL ({method}, BEN4)"
        for row, suffix, start in ((scratch, "scratch", ()), (ssl, "ssl", backbone.pretraining)):
            runs = [_make_aerial_run(f"{name}_{suffix}", s, section, backbone, start, config)
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


def make_pretraining(name: str, section: ConfigDict, config: ConfigDict) -> Run:
    """Create the run `pretrain/NAME` of a section of the study's config."""
    return Run(f"pretrain/{name}", _copy_section(section, config))


def _make_scene_row(backbone: Backbone, config: ConfigDict) -> Row:
    cells = tuple(
        Cell(
            tuple(_format_scene_name(backbone, ratio, seed) for seed in config.seeds),
            "top1",
            backbone.published.get(ratio),
        )
        for ratio in config.ratios
    )
    return Row(backbone.title, cells, backbone.note, backbone.baseline)


def _format_scene_name(backbone: Backbone, ratio: str, seed: int) -> str:
    return f"scenes/{backbone.name}/{ratio.replace(':', '-')}/seed{seed}"


def _make_scene_runs(backbone: Backbone, config: ConfigDict) -> list[Run]:
    """Create the runs of a row of Table 1, one for each ratio and seed."""
    runs = []
    for ratio in config.ratios:
        for seed in config.seeds:
            cell = _copy_section(config.scenes, config)
            cell.seed = cell.data.split_seed = seed
            cell.data.bands = backbone.bands
            cell.data.train, cell.data.evaluation = f"all[{ratio}]", f"all[{ratio}].rest"
            cell.model.backbone = backbone.model
            cell.pretrained = backbone.bundle
            needs = tuple(run.name for run in backbone.pretraining)
            name = _format_scene_name(backbone, ratio, seed)
            runs.append(Run(name, cell, needs, backbone.awaits))
    return runs


def _make_aerial_run(
    name: str,
    seed: int,
    section: ConfigDict,
    backbone: Backbone,
    start: tuple[Run, ...],
    config: ConfigDict,
) -> Run:
    """Create a run of Table 2."""
    cell = make_transfer_config(backbone, section, config)
    cell.seed = seed
    return Run(f"aerial/{name}/seed{seed}", cell, tuple(run.name for run in start))


def make_transfer_config(backbone: Backbone, section: ConfigDict, config: ConfigDict) -> ConfigDict:
    """Return a copy of a transfer section with the network of a backbone.

    Drop path and pooling, which don't change the parameters, stay as in the section.

    Args:
        backbone: The backbone.
        section: The section of the study's config with the transfer.
        config: The study's config.
    """
    cell = _copy_section(section, config)
    kept = {name: v for name, v in cell.model.backbone.items() if name in ("drop_path", "pool")}
    cell.model.backbone.update({**backbone.model, **kept})
    return cell


def _copy_section(section: ConfigDict, config: ConfigDict) -> ConfigDict:
    copy = ConfigDict(section.to_dict())
    copy.data.data_dir = config.data_dir
    return copy
