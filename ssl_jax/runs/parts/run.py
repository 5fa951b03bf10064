"""All parts of a run, made of its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.loader import Loader
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import Subset, select_subset
from ssl_jax import objectives
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.devices.processes import gather_json
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.objectives import make_objective
from ssl_jax.runs.parts.optimization import count_steps, make_optimizer
from ssl_jax.runs.parts.views import make_mix
from ssl_jax.scenes import ImageEvaluation, SlidingWindow, make_image_evaluation
from ssl_jax.training.divergence import DivergencePolicy
from ssl_jax.training.loop import Intervals

__all__ = ["ProbeSet", "Run", "assemble_run", "check_batch", "configure_image_evaluation"]


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
        image_evaluation: evaluates on whole pictures, where each pixel counts once; None where the
            examples are evaluated one by one.
        samples_source: those the report's pictures are drawn from.
        probe: what the backbone is probed with; None where the config has no probe.
        examples: which ones `train` and `evaluation` turned out to be.
        bad_records: what is done about records that can't be read, and which were met.
        steps: the length of the run.
        optimizer: from gradients to updates.
        schedule: the learning rate by step.
        intervals: when to log, save, evaluate and probe.
        bad_loss: what to do about a loss that is no number or explodes.
    """

    config: ConfigDict
    card: ModelCard
    objective: objectives.Objective
    mesh: Mesh
    source: Any
    evaluation_source: Any
    image_evaluation: ImageEvaluation | None
    samples_source: Any
    probe: ProbeSet | None
    examples: Mapping[str, Mapping[str, Any]]
    bad_records: BadRecords
    steps: int
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    intervals: Intervals
    bad_loss: DivergencePolicy

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
        for entries in gather_json(self.bad_records.found):
            self.bad_records.merge(entries)
        found = self.bad_records.found
        return {"count": len(found), "records": found}


def assemble_run(config: ConfigDict) -> Run:
    """Make all parts a config names; nothing is written and nothing is trained.

    Raises:
        UserError: a field, the dataset, its bands or the batch size doesn't fit.
    """
    mesh = make_data_mesh()
    bad_records = BadRecords(config.data.get("on_error", "stop"))
    data = open_dataset(
        config.data.name,
        config.data.data_dir,
        tuple(config.data.bands),
        config.data.get("target", ""),
        bad_records,
    )
    card = ModelCard.for_run(config, data)
    goal = make_objective(card)
    seed = config.data.split_seed
    train = select_subset(data, config.data.train, seed)
    check_batch(config, mesh.size, len(train))
    if config.pretrained:
        _check_pretrained(config, card)
    subsets, whole = {"train": train}, None
    if config.data.evaluation:
        subsets["evaluation"] = select_subset(data, config.data.evaluation, seed)
        whole = configure_image_evaluation(
            config, goal, subsets["evaluation"], mesh, config.batch_size
        )
    sources = {name: subset.examples for name, subset in subsets.items()}
    total = count_steps(config, len(train))
    chain, schedule = make_optimizer(config, total, len(train), goal)
    return Run(
        config=config,
        card=card,
        objective=goal,
        mesh=mesh,
        source=sources["train"],
        evaluation_source=sources.get("evaluation"),
        image_evaluation=whole,
        samples_source=sources.get("evaluation", sources["train"]),
        probe=_probe(config, bad_records),
        examples={name: subset.description() for name, subset in subsets.items()},
        bad_records=bad_records,
        steps=total,
        optimizer=chain,
        schedule=schedule,
        intervals=construct(Intervals, config.every, "every"),
        bad_loss=construct(DivergencePolicy, config.get("bad_loss", {}), "bad_loss"),
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
        train, evaluation = (
            select_subset(data, expression, seed).examples
            for expression in (section.train, section.evaluation or section.train)
        )
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
    group_size = make_mix(config).group_size
    parts = devices * config.objective.accumulate * group_size
    if config.batch_size <= 0 or config.batch_size % parts:
        nearest = max(parts, round(config.batch_size / parts) * parts)
        mixed = f" × {group_size} that are mixed" if group_size > 1 else ""
        raise UserError(
            f"config.batch_size: found {config.batch_size}; expected a multiple of {parts} "
            f"({devices} devices × accumulate {config.objective.accumulate}{mixed}), such as "
            f"{nearest}"
        )


def _check_pretrained(config: ConfigDict, card: ModelCard) -> None:
    pretrained = read_card(config.pretrained)
    check_network(config.pretrained, pretrained, make_objective)
    bands = pretrained.sensor.names
    if bands != card.sensor.names:
        raise UserError(
            f"config.data.bands: found {', '.join(card.sensor.names)}, but {config.pretrained} was "
            f"trained on {', '.join(bands)}; expected the same bands in the same order"
        )


def configure_image_evaluation(
    config: ConfigDict,
    goal: objectives.Objective,
    subset: Subset,
    mesh: Mesh,
    batch_size: int,
) -> ImageEvaluation | None:
    """The evaluation on the whole pictures of a subset; None if a config has no `evaluation`.

    Raises:
        UserError: the objective isn't segmentation, or a field doesn't fit.
    """
    if "evaluation" not in config:
        return None
    if not isinstance(goal, objectives.Segmentation):
        raise UserError(
            "config.evaluation: found a window that slides over pictures, with objective "
            f"{config.objective.name}; expected objective segmentation, or no such section"
        )
    sliding = construct(SlidingWindow, config.evaluation, "evaluation")
    return make_image_evaluation(goal, subset.images(), sliding, mesh, batch_size)
