"""Study of label efficiency: transfer to scene classification with 1, 10 and 100 % of the labels.

The whole network is fine-tuned with the recipe of its pretraining method; with
`--config configs/study/labels.py:frozen`, an MLP is trained on the frozen backbone, as in the
paper. For each seed, the fractions are nested subsets of one training split, and all runs are
evaluated on the same validation split. SimCLR (section 4.2 of its paper) and most later work report
1 and 10 %.
"""

import re

from ml_collections import ConfigDict

from configs.pretrain import mae_vitb_ben4, simclr_resnet50_ben4
from configs.study.paper import RGBN, Backbone, make_pretraining, make_transfer_config
from configs.transfer import nasc_finetune, nasc_mlp
from data_pipelines.errors import UserError
from ssl_jax.studies.plan import Cell, Contrast, Row, Run, Study, Table

_PROTOCOLS = {"finetune": "fine-tuned", "frozen": "an MLP on the frozen backbone"}


def get_config(protocol: str = "finetune") -> ConfigDict:
    """Return the config of the study.

    Args:
        protocol: `finetune` for fine-tuning, or `frozen` for an MLP on the frozen backbone.

    Raises:
        UserError: If the protocol is unknown.
    """
    if protocol not in _PROTOCOLS:
        raise UserError(f"labels:{protocol}: expected one of {', '.join(_PROTOCOLS)}")
    config = ConfigDict()
    config.data_dir = "data"
    config.protocol = protocol
    config.seeds = (0, 1, 2)
    config.ratio = "8:2"  # train : validation; 1 % of the 16,000 training scenes are 16 per class
    config.fractions = ("1%", "10%", "100%")
    config.batch_sizes = (32, 256, 256)  # of each fraction; not larger than the fraction

    # Workdirs of pretrained networks, such as runs/paper/pretrain/mae_vitb_ben4; empty: pretrained
    # by this study.
    config.simclr_bundle = ""
    config.mae_bundle = ""
    config.simclr = simclr_resnet50_ben4.get_config()
    config.mae = mae_vitb_ben4.get_config()
    if protocol == "finetune":
        config.resnet50 = nasc_finetune.get_config("resnet50")
        config.vitb = nasc_finetune.get_config("vit_b")
    else:
        config.resnet50, config.vitb = nasc_mlp.get_config(), nasc_mlp.get_config()
    return config


def study(config: ConfigDict) -> Study:
    """Return the study, a table with a column for each fraction."""
    resnet, vit = config.simclr.model.backbone, config.mae.model.backbone
    simclr = _make_pretrained("simclr_resnet50_ben4", "SimCLR ResNet50, BEN4", config.simclr,
                              config.simclr_bundle, config)  # fmt: skip
    mae = _make_pretrained("mae_vitb_ben4", "MAE ViT-B, BEN4", config.mae,
                           config.mae_bundle, config)  # fmt: skip
    random_resnet = Backbone("random_resnet50", "ResNet50, random weights", resnet)
    random_vit = Backbone("random_vitb", "ViT-B, random weights", vit)
    recipes = (
        (simclr, config.resnet50),
        (mae, config.vitb),
        (random_resnet, config.resnet50),
        (random_vit, config.vitb),
    )
    rows, runs = [], []
    for backbone, recipe in recipes:
        cells = []
        for fraction, batch_size in zip(config.fractions, config.batch_sizes, strict=True):
            same = [_make_run(backbone, recipe, fraction, batch_size, seed, config)
                    for seed in config.seeds]  # fmt: skip
            cells.append(Cell(tuple(run.name for run in same), "top1"))
            runs += same
        rows.append(Row(backbone.title, tuple(cells), baseline=backbone.baseline))
    table = Table(
        name="labels",
        title="Scene classification: top-1 accuracy (%) by share of the labels",
        subject="Scene classification with few labels",
        columns=tuple(f"{fraction} of the labels" for fraction in config.fractions),
        metrics=("top-1",) * len(config.fractions),
        rows=tuple(rows),
        contrasts=(
            Contrast("pretraining by SimCLR", simclr.title, random_resnet.title),
            Contrast("pretraining by MAE", mae.title, random_vit.title),
            Contrast("MAE over SimCLR", mae.title, simclr.title, headline=False),
        ),
        note=f"All rows: {_PROTOCOLS[config.protocol]}.",
    )
    pretrainings = [run for backbone, _ in recipes for run in backbone.pretraining]
    return Study("What labels are worth", (*pretrainings, *runs), (table,))


def _make_pretrained(
    name: str, title: str, section: ConfigDict, bundle: str, config: ConfigDict
) -> Backbone:
    """Create a backbone that the study pretrains, unless a checkpoint is given."""
    first = () if bundle else (make_pretraining(name, section, config),)
    return Backbone(name, title, section.model.backbone, pretraining=first, bundle=bundle)


def _make_run(
    backbone: Backbone,
    recipe: ConfigDict,
    fraction: str,
    batch_size: int,
    seed: int,
    config: ConfigDict,
) -> Run:
    """Create the run of a backbone at a fraction; the seed also selects the labelled scenes."""
    cell = make_transfer_config(backbone, recipe, config)
    cell.seed = cell.data.split_seed = seed
    cell.data.bands = RGBN
    cell.data.train = f"all[{config.ratio}][{fraction}]"
    cell.data.evaluation = f"all[{config.ratio}].rest"
    cell.batch_size = batch_size
    cell.pretrained = backbone.bundle
    share = re.sub(r"\W+", "-", fraction.replace("%", " percent"))
    name = f"labels/{backbone.name}/{share}/seed{seed}"
    return Run(name, cell, tuple(run.name for run in backbone.pretraining))
