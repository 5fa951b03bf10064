"""What pretraining is worth with fewer labels: the same scenes, at 1, 10 and 100 % of their labels.

The whole network is fine-tuned with the recipe of its pretraining; with
`--config configs/study/labels.py:frozen` an MLP is trained on the frozen backbone, as in the paper.
The fractions are of the training side of one cut and nested; all are tested on its other side.
SimCLR (section 4.2 of the paper) and most after it report 1 and 10 %.
"""

import re

from ml_collections import ConfigDict

from configs.pretrain import mae_vitb_ben4, simclr_resnet50_ben4
from configs.study.paper import RGBN, Backbone, pretraining, transfer_of
from configs.transfer import nasc_finetune, nasc_mlp
from data_pipelines.errors import UserError
from ssl_jax.studies.plan import Cell, Contrast, Row, Run, Study, Table

_PROTOCOLS = {"finetune": "fine-tuned", "frozen": "an MLP on the frozen backbone"}


def get_config(protocol: str = "finetune") -> ConfigDict:
    if protocol not in _PROTOCOLS:
        raise UserError(f"labels:{protocol}: expected one of {', '.join(_PROTOCOLS)}")
    config = ConfigDict()
    config.data_dir = "data"
    config.protocol = protocol
    config.seeds = (0, 1, 2)
    config.ratio = "8:2"  # train : validation, of the scenes: 1 % of 16,000 is 16 of each class
    config.fractions = ("1%", "10%", "100%")
    config.batch_sizes = (32, 256, 256)  # one for each fraction, at most as large as it

    # What an earlier study has pretrained, such as runs/paper/pretrain/mae_vitb_ben4; empty: done
    # by this one.
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
    """A table with a column for each fraction."""
    resnet, vit = config.simclr.model.backbone, config.mae.model.backbone
    simclr = _pretrained("simclr_resnet50_ben4", "SimCLR ResNet50, BEN4", config.simclr,
                         config.simclr_bundle, config)  # fmt: skip
    mae = _pretrained("mae_vitb_ben4", "MAE ViT-B, BEN4", config.mae, config.mae_bundle, config)
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
            same = [_run(backbone, recipe, fraction, batch_size, seed, config)
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


def _pretrained(
    name: str, title: str, section: ConfigDict, bundle: str, config: ConfigDict
) -> Backbone:
    """A backbone that this study pretrains unless its weights are given."""
    first = () if bundle else (pretraining(name, section, config),)
    return Backbone(name, title, section.model.backbone, pretraining=first, bundle=bundle)


def _run(
    backbone: Backbone,
    recipe: ConfigDict,
    fraction: str,
    batch_size: int,
    seed: int,
    config: ConfigDict,
) -> Run:
    """One backbone at one fraction; the seed also says which scenes are labelled."""
    cell = transfer_of(backbone, recipe, config)
    cell.seed = cell.data.split_seed = seed
    cell.data.bands = RGBN
    cell.data.train = f"all[{config.ratio}][{fraction}]"
    cell.data.evaluation = f"all[{config.ratio}].rest"
    cell.batch_size = batch_size
    cell.pretrained = backbone.bundle
    share = re.sub(r"\W+", "-", fraction.replace("%", " percent"))
    name = f"labels/{backbone.name}/{share}/seed{seed}"
    return Run(name, cell, tuple(run.name for run in backbone.pretraining))
