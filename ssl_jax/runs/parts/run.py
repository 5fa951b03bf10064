"""All parts of a run, built from its config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.errors import UserError, note_once
from data_pipelines.profiles.comparison import compare
from data_pipelines.profiles.findings import Remedies, settle
from data_pipelines.profiles.measurement import make_published_profile
from data_pipelines.profiles.profile import name_unit
from data_pipelines.profiles.stored import load_accepted, load_profile, observe_dataset
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.loader import Loader
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import Subset, select_subset
from ssl_jax import objectives
from ssl_jax.checkpoints.canary import make_canary
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.devices.determinism import check_determinism
from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.devices.precision import Precision, check_attention
from ssl_jax.devices.processes import gather_json
from ssl_jax.runs.parts.class_weights import balance
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import get_device_kind, make_precision
from ssl_jax.runs.parts.objectives import make_objective
from ssl_jax.runs.parts.optimization import count_steps, make_optimizer
from ssl_jax.runs.parts.views import make_mix
from ssl_jax.scenes import ImageEvaluation, SlidingWindow, make_image_evaluation
from ssl_jax.training.divergence import DivergencePolicy
from ssl_jax.training.loop import Intervals
from ssl_jax.training.schedules import Schedule

__all__ = ["ProbeSet", "Run", "assemble_run", "check_batch", "configure_image_evaluation"]

_REMEDIES = Remedies(
    "prepare the dataset with --config.scale={}",
    "prepare the dataset with --config.offset={}",
    "prepare the dataset with --config.bands={}",
    "prepare the dataset with --accept {}",
)


@dataclass(frozen=True)
class ProbeSet:
    """Examples to probe the features of a backbone with during its pretraining.

    Attributes:
        train: The examples that the probes are fitted on.
        evaluation: The examples that the metrics are computed on.
        num_classes: Number of classes; 0 if the examples have no labels of whole images.
    """

    train: Any
    evaluation: Any
    num_classes: int


@dataclass(frozen=True)
class Run:
    """All parts of a run, before its first step.

    Attributes:
        config: The config that the parts were built from.
        card: The model card, without metrics.
        objective: The objective, with its networks and views.
        mesh: The devices.
        source: The training examples.
        evaluation_source: The evaluation examples; None if the config has no evaluation split.
        image_evaluation: Evaluates whole images, in which each pixel counts once; None if the
            examples are evaluated one by one.
        samples_source: The examples that the report shows samples of.
        probe: The examples of the online probe; None if the config has no probe.
        examples: Descriptions of the subsets `train` and `evaluation`, for `results.json`.
        bad_records: What to do about unreadable records, and those found so far.
        steps: Number of steps of the run.
        optimizer: The optimizer.
        schedule: The learning rate by step.
        intervals: When to log, save, evaluate and probe.
        bad_loss: What to do about a loss that is not finite or has exploded.
        precision: The dtypes of its arithmetic.
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
    optimizer: optax.GradientTransformationExtraArgs
    schedule: Schedule
    intervals: Intervals
    bad_loss: DivergencePolicy
    precision: Precision

    def make_loader(self) -> Loader:
        """Make the loader of this process's batches of training examples."""
        return Loader(
            self.source,
            self.config.batch_size,
            self.config.seed,
            jax.process_index(),
            jax.process_count(),
            self.config.data.threads,
            self.steps,
        )

    @cached_property
    def compute_canary(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Function from variables, on the host, to the canary of their checkpoint."""
        return make_canary(self.card, self.objective, self.precision.compute)

    def gather_bad_records(self) -> dict[str, Any]:
        """Gather the unreadable records that the processes of the job have found.

        It is a collective: all processes must call it.

        Returns:
            `count`, and `records` with the `file` of each, its `index` in the file and its `key`.
        """
        for entries in gather_json(self.bad_records.entries):
            self.bad_records.merge(entries)
        records = self.bad_records.entries
        return {"count": len(records), "records": records}


def assemble_run(config: ConfigDict) -> Run:
    """Build all parts of a run from its config; nothing is written or trained.

    Raises:
        UserError: If a field of the config is invalid, the dataset does not exist or lacks the
            bands or targets, or the batch size doesn't fit.
    """
    mesh = make_data_mesh()
    if config.get("deterministic", False):
        check_determinism()
    precision = make_precision(config)
    attention = config.model.backbone.get("attention", "auto")
    check_attention(attention, precision.compute, get_device_kind())
    bad_records = BadRecords(config.data.get("on_error", "stop"))
    data = open_dataset(
        config.data.name,
        config.data.data_dir,
        tuple(config.data.bands),
        config.data.get("target", ""),
        bad_records,
    )
    card = ModelCard.for_run(config, data, load_profile(data, config.data.train))
    objective = make_objective(card)
    seed = config.data.split_seed
    train = select_subset(data, config.data.train, seed)
    objective = balance(objective, config.objective.get("class_weights", ()), train)
    check_batch(config, mesh.size, len(train))
    if config.pretrained:
        _check_pretrained(config, card, data)
    subsets, image_evaluation = {"train": train}, None
    if config.data.evaluation:
        subsets["evaluation"] = select_subset(data, config.data.evaluation, seed)
        image_evaluation = configure_image_evaluation(
            config, objective, subsets["evaluation"], mesh
        )
    sources = {name: subset.examples for name, subset in subsets.items()}
    steps = count_steps(config, len(train))
    optimizer, schedule = make_optimizer(config, steps, len(train), objective)
    return Run(
        config=config,
        card=card,
        objective=objective,
        mesh=mesh,
        source=sources["train"],
        evaluation_source=sources.get("evaluation"),
        image_evaluation=image_evaluation,
        samples_source=sources.get("evaluation", sources["train"]),
        probe=_make_probe_set(config, bad_records),
        examples={name: subset.description() for name, subset in subsets.items()},
        bad_records=bad_records,
        steps=steps,
        optimizer=optimizer,
        schedule=schedule,
        intervals=construct(Intervals, config.every, "every"),
        precision=precision,
        bad_loss=construct(DivergencePolicy, config.get("bad_loss", {}), "bad_loss"),
    )


def _make_probe_set(config: ConfigDict, bad_records: BadRecords) -> ProbeSet | None:
    """Select the examples of `config.probe`, by default from the dataset that is trained on."""
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
        raise UserError(
            f"config.probe: {error}; an empty config.probe.train disables the probe"
        ) from error
    labelled = data.target in ("label", "labels")
    return ProbeSet(train, evaluation, len(data.classes) if labelled else 0)


def check_batch(config: ConfigDict, num_devices: int, num_examples: int) -> None:
    """Check that an epoch has a batch, and that devices and micro-batches can divide it.

    Args:
        config: The config.
        num_devices: Number of devices.
        num_examples: Number of training examples.

    Raises:
        UserError: If `config.batch_size` is larger than an epoch, or not a multiple of the product
            of devices, micro-batches and examples that are mixed with each other.
    """
    if config.batch_size > num_examples:
        raise UserError(
            f"config.batch_size: found {config.batch_size}, but {config.data.train!r} of dataset "
            f"{config.data.name} has {num_examples} examples; expected at most that many"
        )
    group_size = make_mix(config).group_size
    divisor = num_devices * config.objective.accumulate * group_size
    if config.batch_size <= 0 or config.batch_size % divisor:
        nearest = max(divisor, round(config.batch_size / divisor) * divisor)
        mixed = f" × {group_size} mixed examples" if group_size > 1 else ""
        raise UserError(
            f"config.batch_size: found {config.batch_size}; expected a multiple of {divisor} "
            f"({num_devices} devices × accumulate {config.objective.accumulate}{mixed}), such as "
            f"{nearest}"
        )


def _check_pretrained(config: ConfigDict, card: ModelCard, data: Dataset) -> None:
    """Check the checkpoint at `config.pretrained`, and that it was trained on the same bands.

    Another dtype, unit or resolution than that of the pretraining is only noted. The images
    themselves must be of the sensor that their dataset names.
    """
    pretrained = read_card(config.pretrained)
    check_network(config.pretrained, pretrained, make_objective)
    bands = pretrained.sensor.names
    if bands != card.sensor.names:
        raise UserError(
            f"config.data.bands: found {', '.join(card.sensor.names)}, but {config.pretrained} was "
            f"trained on {', '.join(bands)}; expected the same bands in the same order"
        )
    descriptions = [_describe_images(each) for each in (pretrained, card)]
    if descriptions[0] != descriptions[1] and jax.process_index() == 0:
        note_once(
            f"pretrained on {descriptions[0]} ({config.pretrained}), trained on {descriptions[1]} "
            f"({data.name})"
        )
    height, width, _ = data.image_shape
    published = make_published_profile(data.sensor, (height, width), str(data.image_dtype))
    observed = observe_dataset(data, config.data.train, config.data.split_seed)
    if published is not None and observed is not None:
        findings = compare(observed, published, _REMEDIES)
        settle(findings, f"dataset {data.name}", _REMEDIES, load_accepted(data))


def _describe_images(card: ModelCard) -> str:
    """Describe what a network's digital numbers are: dtype, unit and resolution."""
    band = card.sensor.bands[0]
    resolution = f" at {card.sensor.resolution:g} m" if card.sensor.resolution else ""
    return f"{card.image_dtype} of {band.scale:g} {name_unit(band.scale)} each{resolution}"


def configure_image_evaluation(
    config: ConfigDict,
    objective: objectives.Objective,
    subset: Subset,
    mesh: Mesh,
) -> ImageEvaluation | None:
    """Make the evaluation of `config.evaluation`: a sliding window on the whole images of a subset.

    Args:
        config: The config.
        objective: The objective.
        subset: The subset, with its whole images.
        mesh: The devices.

    Returns:
        The evaluation, or None if the config has no such section.

    Raises:
        UserError: If the objective isn't segmentation, or a field is invalid.
    """
    if "evaluation" not in config:
        return None
    if not isinstance(objective, objectives.Segmentation):
        raise UserError(
            "config.evaluation: found a sliding window over whole images, with objective "
            f"{config.objective.name}; expected objective segmentation, or no such section"
        )
    sliding = construct(SlidingWindow, config.evaluation, "evaluation")
    return make_image_evaluation(objective, subset.images(), sliding, mesh)
