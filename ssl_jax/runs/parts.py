"""Config -> dataset, model, objective, optimizer: the only place below the doors to read a config.

Each section of a config names a constructor and its keyword arguments; a field the constructor does
not have is a mistake that is named.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.sources.dataset import Dataset, Skipping, Source, Windows, open_dataset
from data_pipelines.sources.loader import Loader
from data_pipelines.sources.skipping import BadRecords
from ssl_jax import models, objectives
from ssl_jax.augment import Augmentation, Mix, Normalisation, SegmentationAugmentation
from ssl_jax.checkpoints.bundle import expect_network, read_card
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import data_mesh
from ssl_jax.devices.processes import gathered
from ssl_jax.scenes import PictureEvaluation, SlidingWindow, picture_evaluation
from ssl_jax.training import optimizers
from ssl_jax.training.divergence import BadLoss
from ssl_jax.training.loop import Every

__all__ = [
    "ProbeSet",
    "Run",
    "assemble",
    "check_batch",
    "objective",
    "optimizer",
    "over_pictures",
    "parameter_groups",
    "steps",
]

_BACKBONES: dict[str, Callable[..., Any]] = {
    "resnet50": models.resnet50,
    "resnet18": models.resnet18,
    "vit_b": models.vit_b,
    "vit_s": models.vit_s,
    "vit_ti": models.vit_ti,
    "image_statistics": models.ImageStatistics,
}
_VIEWS: dict[str, Callable[..., Any]] = {
    "simclr": Augmentation.simclr,
    "mae": Augmentation.mae,
    "finetune": Augmentation.finetune,
    "evaluation": Augmentation.evaluation,
    "segmentation": SegmentationAugmentation.aerial,
}
_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "lars": optimizers.lars,
    "adamw": optimizers.adamw,
    "sgd": optimizers.sgd,
}
_SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "cosine": optimizers.cosine,
    "polynomial": optimizers.polynomial,
}


@dataclass(frozen=True)
class ProbeSet:
    """Examples that tell what a backbone's features are worth while it is pretrained.

    Attributes:
        train: those the probes are fitted on.
        evaluation: others, whose figures count.
        classes: how many there are; 0 where the examples have no labels of a whole image.
    """

    train: Any
    evaluation: Any
    classes: int


@dataclass(frozen=True)
class Run:
    """All parts of a run, before its first step.

    Attributes:
        config: what the parts were made of.
        card: the model card, without figures yet.
        objective: what is learned.
        mesh: the devices.
        source: the examples to train on.
        evaluation_source: those to evaluate on; None where the config names none.
        over_pictures: evaluates on whole pictures, where each pixel counts once; None where the
            examples are evaluated one by one.
        samples_source: those the report's pictures are drawn from.
        probe: what the backbone is probed with; None where the config has no probe.
        examples: which ones `train` and `evaluation` turned out to be.
        bad_records: what is done about records that can't be read, and which were met.
        steps: the length of the run.
        optimizer: from gradients to updates.
        schedule: the learning rate by step.
        every: when to log, save, evaluate and probe.
        bad_loss: what to do about a loss that is no number or explodes.
    """

    config: ConfigDict
    card: ModelCard
    objective: objectives.Objective
    mesh: Mesh
    source: Any
    evaluation_source: Any
    over_pictures: PictureEvaluation | None
    samples_source: Source | Windows | Skipping
    probe: ProbeSet | None
    examples: Mapping[str, Mapping[str, Any]]
    bad_records: BadRecords
    steps: int
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    every: Every
    bad_loss: BadLoss

    def loader(self) -> Loader:
        """This process's batches of the examples to train on."""
        return Loader(
            self.source,
            self.config.batch_size,
            self.config.seed,
            jax.process_index(),
            jax.process_count(),
            self.config.data.threads,
            self.steps,
        )

    def skipped(self) -> dict[str, Any]:
        """The records that couldn't be read: `count`, and `file`, `index` there and `key` of each.

        All processes must ask.
        """
        for entries in gathered(self.bad_records.found):
            self.bad_records.take_up(entries)
        found = self.bad_records.found
        return {"count": len(found), "records": found}


def assemble(config: ConfigDict) -> Run:
    """Make all parts a config names; nothing is written and nothing is trained.

    Raises:
        UserError: a field, the dataset, its bands or the batch size doesn't fit.
    """
    mesh = data_mesh()
    bad_records = BadRecords(config.data.get("on_error", "stop"))
    data = open_dataset(
        config.data.name,
        config.data.data_dir,
        tuple(config.data.bands),
        config.data.get("target", ""),
        bad_records,
    )
    card = ModelCard.of(config, data)
    goal = objective(card)
    seed = config.data.split_seed
    source = data.source(config.data.train, seed)
    check_batch(config, mesh.size, len(source))
    if config.pretrained:
        _check_pretrained(config, card)
    examples = {"train": data.about(config.data.train, seed, source)}
    evaluation, whole = None, None
    if config.data.evaluation:
        evaluation = data.source(config.data.evaluation, seed)
        examples["evaluation"] = data.about(config.data.evaluation, seed, evaluation)
        whole = over_pictures(config, goal, data, config.data.evaluation, mesh, config.batch_size)
    total = steps(config, len(source))
    chain, schedule = optimizer(config, total, len(source), goal)
    return Run(
        config=config,
        card=card,
        objective=goal,
        mesh=mesh,
        source=source,
        evaluation_source=evaluation,
        over_pictures=whole,
        samples_source=source if evaluation is None else evaluation,
        probe=_probe(config, bad_records),
        examples=examples,
        bad_records=bad_records,
        steps=total,
        optimizer=chain,
        schedule=schedule,
        every=construct(Every, config.every, "every"),
        bad_loss=construct(BadLoss, config.get("bad_loss", {}), "bad_loss"),
    )


def _probe(config: ConfigDict, bad_records: BadRecords) -> ProbeSet | None:
    """What `config.probe` names: by default labelled parts of the dataset that is trained on."""
    section = config.get("probe")
    if not section or not section.train:
        return None
    seed = config.data.split_seed
    try:
        data = open_dataset(
            section.name or config.data.name,
            config.data.data_dir,
            tuple(config.data.bands),
            bad_records=bad_records,
        )
        train = data.source(section.train, seed)
        evaluation = data.source(section.evaluation or section.train, seed)
    except UserError as error:
        raise UserError(f"config.probe: {error}; with an empty train there is no probe") from error
    labelled = data.target in ("label", "labels")
    return ProbeSet(train, evaluation, len(data.classes) if labelled else 0)


def check_batch(config: ConfigDict, devices: int, examples: int) -> None:
    """Refuse a batch that is larger than an epoch, or that devices and micro-batches can't share.

    Raises:
        UserError: such a `config.batch_size`.
    """
    if config.batch_size > examples:
        raise UserError(
            f"config.batch_size: found {config.batch_size}, but {config.data.train!r} of dataset "
            f"{config.data.name} has {examples} examples; expected at most that many"
        )
    together = _mix(config).together
    parts = devices * config.objective.accumulate * together
    if config.batch_size <= 0 or config.batch_size % parts:
        nearest = max(parts, round(config.batch_size / parts) * parts)
        mixed = f" × {together} that are mixed" if together > 1 else ""
        raise UserError(
            f"config.batch_size: found {config.batch_size}; expected a multiple of {parts} "
            f"({devices} devices × accumulate {config.objective.accumulate}{mixed}), such as "
            f"{nearest}"
        )


def _check_pretrained(config: ConfigDict, card: ModelCard) -> None:
    pretrained = read_card(config.pretrained)
    expect_network(config.pretrained, pretrained, objective)
    bands = pretrained.sensor.names
    if bands != card.sensor.names:
        raise UserError(
            f"config.data.bands: found {', '.join(card.sensor.names)}, but {config.pretrained} was "
            f"trained on {', '.join(bands)}; expected the same bands in the same order"
        )


def construct(
    constructor: Callable[..., Any], section: Mapping[str, Any], where: str, **given: Any
) -> Any:
    """Call `constructor` with the fields of a config section, except `name`, and with `given`.

    Raises:
        UserError: a field the constructor doesn't take, or one it needs and isn't there.
    """
    fields = {name: value for name, value in section.items() if name != "name"}
    parameters = inspect.signature(constructor).parameters
    accepted = [name for name in parameters if name not in {"parent", "name", *given}]
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in fields:
        if name not in accepted and not takes_more:
            near = difflib.get_close_matches(name, accepted, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(accepted)}"
            raise UserError(f"config.{where}.{name}: no such field; {hint}")
    try:
        return constructor(**{name: _plain(value) for name, value in fields.items()}, **given)
    except TypeError as error:
        raise UserError(f"config.{where}: {error}") from error
    except ValueError as error:
        raise UserError(f"config.{where}: {error}") from error


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, ConfigDict) else value


def choose(choices: Mapping[str, Any], section: Mapping[str, Any], where: str) -> Any:
    """The entry of `choices` a section's `name` stands for."""
    name = section.get("name", "")
    if name not in choices:
        raise UserError(
            f"config.{where}.name: found {name!r}; expected one of {', '.join(choices)}"
        )
    return choices[name]


def steps(config: ConfigDict, examples: int) -> int:
    """Steps of the whole run: `config.steps`, or as many as `config.epochs` takes."""
    if bool(config.steps) == bool(config.epochs):
        raise UserError(
            f"config.steps is {config.steps} and config.epochs {config.epochs}; "
            "expected one of them to be 0: the run is as long as the other says"
        )
    return config.steps or max(1, round(config.epochs * (examples // config.batch_size)))


def compute_dtype(config: ConfigDict) -> Any:
    """bfloat16 or float32; with `auto`, bfloat16 where the device multiplies it natively.

    V100s and earlier have no bfloat16; on a CPU it is emulated and slow.
    """
    if config.precision == "auto":
        device = jax.devices()[0]
        old_gpu = any(kind in device.device_kind for kind in ("V100", "P100", "T4", "RTX 20"))
        return jnp.float32 if device.platform == "cpu" or old_gpu else jnp.bfloat16
    if config.precision not in ("float32", "bfloat16"):
        raise UserError(
            f"config.precision: found {config.precision!r}; expected auto, float32 or bfloat16"
        )
    return jnp.dtype(config.precision)


def optimizer(
    config: ConfigDict, total_steps: int, examples: int, goal: objectives.Objective
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a run of `total_steps`, and its learning rate by step.

    `examples` are those of an epoch, for a warm-up given in epochs. A frozen backbone stays.
    """
    section = config.optimizer.to_dict()
    peak = section.pop("learning_rate")
    reference_batch = section.pop("reference_batch", 0)
    if reference_batch:
        peak *= config.batch_size / reference_batch
    section.pop("layer_decay", None)
    schedule = _schedule(config, peak, total_steps, examples)
    constructor = choose(_OPTIMIZERS, section, "optimizer")
    groups = parameter_groups(config, goal)
    chain = construct(constructor, section, "optimizer", schedule=schedule, groups=groups)
    frozen = any(group.scale == 0 for group in groups)
    return (optimizers.freeze(chain, groups) if frozen else chain), schedule


def parameter_groups(
    config: ConfigDict, goal: objectives.Objective
) -> tuple[optimizers.Group, ...]:
    """The groups that the parameters of a run fall into, as `optimizers.describe` prints them.

    Those of its layer decay, or else its optimizer's own; what is frozen is a group by itself.
    """
    constructor = choose(_OPTIMIZERS, config.optimizer, "optimizer")
    groups = inspect.signature(constructor).parameters["groups"].default
    layer_decay = config.optimizer.get("layer_decay", 1.0)
    if layer_decay != 1.0:
        depth = getattr(_backbone_of(config), "depth", 0)
        if not depth:
            raise UserError(
                f"config.optimizer.layer_decay: found {layer_decay}, but the backbone has no "
                "blocks; expected 1.0, or a ViT"
            )
        groups = optimizers.layer_decay_groups(layer_decay, depth)
    if isinstance(goal, objectives.Classification) and goal.frozen:
        groups = optimizers.frozen(groups, r"backbone/.*")
    return groups


def _schedule(config: ConfigDict, peak: float, total_steps: int, examples: int) -> optax.Schedule:
    section = config.schedule.to_dict()
    epochs, warmup_steps = section.pop("warmup_epochs", 0.0), section.pop("warmup_steps", 0)
    if epochs and warmup_steps:
        raise UserError(
            f"config.schedule: both warmup_epochs {epochs} and warmup_steps {warmup_steps} are "
            "given; expected one of them to be 0"
        )
    warmup_steps = warmup_steps or round(epochs * (examples // config.batch_size))
    constructor = choose(_SCHEDULES, section, "schedule")
    return construct(
        constructor, section, "schedule", peak=peak, steps=total_steps, warmup_steps=warmup_steps
    )


def objective(card: ModelCard) -> objectives.Objective:
    """The objective, with its networks and views, that a card's config describes."""
    return choose(_OBJECTIVES, card.config.objective, "objective")(card)


def over_pictures(
    config: ConfigDict,
    goal: objectives.Objective,
    data: Dataset,
    split: str,
    mesh: Mesh,
    batch_size: int,
) -> PictureEvaluation | None:
    """The evaluation on the whole pictures of a split; None if a config has no `evaluation`."""
    if "evaluation" not in config:
        return None
    if not isinstance(goal, objectives.Segmentation):
        raise UserError(
            "config.evaluation: found a window that slides over pictures, with objective "
            f"{config.objective.name}; expected objective segmentation, or no such section"
        )
    sliding = construct(SlidingWindow, config.evaluation, "evaluation")
    pictures = data.pictures(split, config.data.split_seed)
    return picture_evaluation(goal, pictures, sliding, mesh, batch_size)


def _simclr(card: ModelCard) -> objectives.SimCLR:
    config = card.config
    _expect_sections(config, ("backbone", "projection"), ("train",))
    projection = construct(
        models.Projection,
        config.model.projection,
        "model.projection",
        dtype=compute_dtype(config),
    )
    return construct(
        objectives.SimCLR,
        config.objective,
        "objective",
        model=models.SimCLRModel(backbone=_backbone_of(config), projection=projection),
        views=_views(card, "train"),
        normalise=Normalisation.of(card.sensor),
    )


def _mae(card: ModelCard) -> objectives.MAE:
    config = card.config
    _expect_sections(config, ("backbone", "decoder"), ("train",))
    model = construct(
        models.MaskedAutoencoder,
        config.model.decoder,
        "model.decoder",
        backbone=_backbone_of(config),
        channels=len(card.sensor.bands),
        dtype=compute_dtype(config),
    )
    return construct(
        objectives.MAE,
        config.objective,
        "objective",
        model=model,
        views=_views(card, "train"),
        normalise=Normalisation.of(card.sensor),
    )


def _classification(card: ModelCard) -> objectives.Classification:
    config = card.config
    _expect_sections(config, ("backbone", "head"), ("train", "evaluation"))
    _expect_target(card, "labels" if config.objective.multi_label else "label")
    head = construct(
        models.MLP,
        config.model.head,
        "model.head",
        num_classes=len(card.classes),
        dtype=compute_dtype(config),
    )
    section = config.objective.to_dict()
    section.pop("mix", None)
    return construct(
        objectives.Classification,
        section,
        "objective",
        mix=_mix(config),
        backbone=_backbone_of(config),
        head=head,
        normalise=Normalisation.of(card.sensor),
        classes=card.classes,
        views=_views(card, "train"),
        evaluation_views=_views(card, "evaluation"),
    )


def _mix(config: ConfigDict) -> Mix:
    return construct(Mix, config.objective.get("mix", {}), "objective.mix")


def _segmentation(card: ModelCard) -> objectives.Segmentation:
    config = card.config
    _expect_sections(config, ("backbone", "upernet"), ("train",))
    _expect_target(card, "mask")
    for name in config.objective.excluded:
        if name not in card.classes:
            raise UserError(
                f"config.objective.excluded: found {name!r}; expected classes of the dataset: "
                f"{', '.join(card.classes)}"
            )
    excluded = tuple(card.classes.index(name) for name in config.objective.excluded)
    model = construct(
        models.UperNet,
        config.model.upernet,
        "model.upernet",
        backbone=_backbone_of(config),
        num_classes=len(objectives.kept_classes(card.classes, excluded)),
        dtype=compute_dtype(config),
    )
    section = config.objective.to_dict()
    del section["excluded"]
    return construct(
        objectives.Segmentation,
        section,
        "objective",
        model=model,
        normalise=Normalisation.of(card.sensor),
        classes=card.classes,
        views=_views(card, "train"),
        excluded=excluded,
        ignore_label=card.ignore_label,
    )


def _representation(card: ModelCard) -> objectives.Representation:
    config = card.config
    _expect_sections(config, ("backbone",), ("evaluation",))
    return construct(
        objectives.Representation,
        config.objective,
        "objective",
        backbone=_backbone_of(config),
        normalise=Normalisation.of(card.sensor),
        views=_views(card, "evaluation"),
    )


_OBJECTIVES = {
    "simclr": _simclr,
    "mae": _mae,
    "classification": _classification,
    "segmentation": _segmentation,
    "representation": _representation,
}


def _backbone_of(config: ConfigDict) -> Any:
    section = config.model.backbone
    given = {} if section.name == "image_statistics" else {"dtype": compute_dtype(config)}
    backbone = construct(
        choose(_BACKBONES, section, "model.backbone"), section, "model.backbone", **given
    )
    patch = getattr(backbone, "patch_size", 1)
    for which, views in config.augment.items():
        # UperNet fills images up to whole patches.
        if views.size % patch and config.objective.name != "segmentation":
            raise UserError(
                f"config.augment.{which}.size: found {views.size}; expected a multiple of "
                f"config.model.backbone.patch_size {patch}"
            )
    return backbone


def _views(card: ModelCard, which: str) -> Any:
    section = card.config.augment[which]
    given: dict[str, Any] = {}
    if section.name in ("simclr", "finetune") and "rgb" not in section:
        given["rgb"] = _red_green_blue(card)
    if section.name == "finetune" and "fill" not in section:
        given["fill"] = Normalisation.of(card.sensor).unit_mean
    if section.name == "segmentation":
        given["ignore_label"] = card.ignore_label
    where = f"augment.{which}"
    return construct(choose(_VIEWS, section, where), section, where, **given)


def _red_green_blue(card: ModelCard) -> tuple[int, ...]:
    """Where these bands stand if there are no others: with them hue and luma have a meaning."""
    names, bands = ("red", "green", "blue"), card.sensor.bands
    known = all(any(band.answers_to(name) for band in bands) for name in names)
    return card.sensor.indices(names) if known and len(bands) == len(names) else ()


def _expect_sections(config: ConfigDict, model: tuple[str, ...], augment: tuple[str, ...]) -> None:
    for name, wanted in (("model", model), ("augment", augment)):
        if set(config[name]) != set(wanted):
            raise UserError(
                f"config.{name}: found the sections {', '.join(config[name]) or 'none'}; objective "
                f"{config.objective.name} expects {', '.join(wanted)}"
            )


def _expect_target(card: ModelCard, target: str) -> None:
    if card.target != target:
        raise UserError(
            f"dataset {card.config.data.name}: its records have target {card.target!r}; objective "
            f"{card.config.objective.name} expects {target!r}"
        )
