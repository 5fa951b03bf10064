"""Estimates of a run before it is started: `python -m ssl_jax.train --config FILE --describe`.

They are derived from shapes alone: nothing is compiled, no parameters are initialised, no GPU is
needed, and the dataset need not be prepared.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jax.extend.core import Jaxpr
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.preparing.published import count_published_examples, published_dataset
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.opening import is_prepared, open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import REPLICATED, SHARDED
from ssl_jax.devices.precision import (
    DEVICE_KINDS,
    DeviceKind,
    check_attention,
    choose_attention,
    choose_precision,
)
from ssl_jax.objectives import Classification, Objective
from ssl_jax.runs import parts
from ssl_jax.sizing.cost import count_bytes, count_flops, estimate_peak_bytes
from ssl_jax.training import optimizers

__all__ = [
    "AUGMENTATION_AND_LOSS",
    "BATCHES_ON_DEVICE",
    "Description",
    "Flops",
    "Memory",
    "describe",
]

BATCHES_ON_DEVICE = 2  # the current and the next, see `loop.prefetch_to_devices`
AUGMENTATION_AND_LOSS = "augmentation and loss"


@dataclass(frozen=True)
class Flops:
    """FLOPs per example, or per pair of views with SimCLR, by submodule of the network.

    A multiply-add of a matrix product or a convolution counts as two.

    Attributes:
        forward: FLOPs of the network's forward pass in a training step.
        training: FLOPs of the network's forward and backward pass in a training step.
        inference: FLOPs of the prediction for an image.
        augmentation_and_loss: FLOPs of the rest of a training step.
    """

    forward: Mapping[str, int]
    training: Mapping[str, int]
    inference: Mapping[str, int]
    augmentation_and_loss: int


@dataclass(frozen=True)
class Memory:
    """Memory of each device in training, in bytes.

    Attributes:
        parameters: Parameters, in float32.
        gradients: Gradients, in float32.
        optimizer: State of the optimizer.
        batch_stats: Running statistics of batch norm.
        batches: Raw examples of the batches that are on the device at a time.
        activations: Activations that are kept for the backward pass, and temporary arrays: if all
            elementwise arithmetic is fused, and if none is.
    """

    parameters: int
    gradients: int
    optimizer: int
    batch_stats: int
    batches: int
    activations: tuple[int, int]

    @property
    def total(self) -> tuple[int, int]:
        """The total, if all elementwise arithmetic is fused, and if none is."""
        rest = self.parameters + self.gradients + self.optimizer + self.batch_stats + self.batches
        return rest + self.activations[0], rest + self.activations[1]


@dataclass(frozen=True)
class Description:
    """The size and cost of a run.

    Attributes:
        config: Config of the run, with the precision on such a device.
        device: Name of the kind of device.
        devices: Number of devices that a batch is sharded over.
        dataset: The dataset as prepared or, if it is not, as its builder describes it.
        examples: Number of training examples.
        evaluation: Number of evaluation examples; 0 without an evaluation split, None if the number
            is unknown until the dataset is prepared.
        origin: Where the numbers of examples are from.
        steps: Number of training steps.
        parameters: Number of parameters by submodule of the network.
        groups: Parameter groups of the optimizer, a line each.
        flops: FLOPs per example.
        memory: Memory of each device.
        precomputed: Whether the features of a frozen backbone are computed once, before training.
    """

    config: ConfigDict
    device: str
    devices: int
    dataset: Dataset
    examples: int
    evaluation: int | None
    origin: str
    steps: int
    parameters: Mapping[str, int]
    groups: str
    flops: Flops
    memory: Memory
    precomputed: bool

    @property
    def total_flops(self) -> int:
        """FLOPs of the network in the whole run, without evaluations."""
        training = self.steps * self.config.batch_size * sum(self.flops.training.values())
        if not self.precomputed:
            return training
        num_images = self.examples + (self.evaluation or 0)
        return training + num_images * self.flops.inference.get("backbone", 0)


def describe(
    config: ConfigDict, devices: int = 8, examples: int = 0, device: str = "a100"
) -> Description:
    """Estimate the size and cost of a run.

    Args:
        config: Config, as for `ssl_jax.train`.
        devices: Number of devices that a batch is sharded over.
        examples: Number of training examples; 0 for that of the prepared dataset or of its builder.
        device: One of `DEVICE_KINDS`, which determines the precision and the attention.

    Raises:
        UserError: If a field, the dataset, its bands or the batch size is invalid, or the number of
            examples is unknown.
    """
    config = _resolve_for_device(config, DEVICE_KINDS[device])
    dataset, examples, evaluation, origin = _find_dataset(config, examples)
    card = ModelCard.for_run(config, dataset)
    objective = parts.make_objective(card)
    parts.check_batch(config, devices, examples)
    steps = parts.count_steps(config, examples)
    optimizer, _ = parts.make_optimizer(config, steps, examples, objective)

    one, batch = card.batch_shapes(1), card.batch_shapes(config.batch_size // devices)
    key = jax.eval_shape(lambda: jax.random.key(config.seed))
    variables = jax.eval_shape(objective.init, key, one)
    params = variables["params"]
    prediction = _trace_prediction(objective, variables, one)
    jaxprs = [prediction]
    precomputed = isinstance(objective, Classification) and objective.precomputable
    if isinstance(objective, Classification) and precomputed:
        jaxprs.append(_trace_prediction(objective, variables, batch))
        batch = _replace_images_by_features(objective, variables, batch)
    step = _trace_training_step(objective, variables, batch, devices)
    jaxprs.append(step)
    fused, unfused = (
        max(estimate_peak_bytes(jaxpr, fused) for jaxpr in jaxprs) for fused in (True, False)
    )
    return Description(
        config=config,
        device=device,
        devices=devices,
        dataset=dataset,
        examples=examples,
        evaluation=evaluation,
        origin=origin,
        steps=steps,
        parameters={name: _count_elements(tree) for name, tree in params.items()},
        groups=optimizers.describe_groups(params, parts.make_parameter_groups(config, objective)),
        flops=_count_flops_per_example(objective, params, step, len(batch["index"]), prediction),
        memory=Memory(
            parameters=count_bytes(params),
            gradients=count_bytes(params),
            optimizer=count_bytes(jax.eval_shape(optimizer.init, params)),
            batch_stats=count_bytes(variables["batch_stats"]),
            batches=BATCHES_ON_DEVICE * count_bytes(batch),
            activations=(fused, unfused),
        ),
        precomputed=precomputed,
    )


def _resolve_for_device(config: ConfigDict, device: DeviceKind) -> ConfigDict:
    """Return the config with the choices that are made on such a device, whatever is here."""
    config = ConfigDict(config.to_dict())
    config.precision = choose_precision(config.precision, device).compute
    attention = config.model.backbone.get("attention", "auto")
    check_attention(attention, config.precision, device)
    is_cudnn = choose_attention(attention, config.precision, device) == "cudnn"
    if is_cudnn and parts.has_attention(config):
        # It can't be traced without a GPU. This has the same FLOPs, and at least its memory.
        config.model.backbone.attention = "blockwise"
    return config


def _find_dataset(config: ConfigDict, num_train: int) -> tuple[Dataset, int, int | None, str]:
    """Return the dataset, its numbers of training and evaluation examples, and their origin.

    Args:
        config: The config.
        num_train: Number of training examples; 0 for that of the dataset.
    """
    section = config.data
    selection = (tuple(section.bands), section.get("target", ""))
    if is_prepared(section.name, section.data_dir):
        dataset = open_dataset(section.name, section.data_dir, *selection)
        train, evaluation = (
            len(select_subset(dataset, split, section.split_seed)) if split else 0
            for split in (section.train, section.evaluation)
        )
        return dataset, num_train or train, evaluation, f"as prepared in {section.data_dir}"
    dataset = published_dataset(section.name, *selection)
    published_train = num_train or count_published_examples(dataset, section.train)
    published_evaluation = (
        count_published_examples(dataset, section.evaluation) if section.evaluation else 0
    )
    if not published_train:
        raise UserError(
            f"config.data.train: found {section.train!r} of dataset {section.name}, whose number "
            "of examples is unknown until it is prepared; expected --examples N"
        )
    origin = "as given" if num_train else "as published; not prepared"
    return dataset, published_train, published_evaluation, origin


def _replace_images_by_features(
    objective: Classification, variables: Any, batch: Any
) -> dict[str, Any]:
    features = jax.eval_shape(objective.extract_features, variables, batch)
    return {"features": features} | {name: x for name, x in batch.items() if name != "image"}


def _trace_training_step(objective: Objective, variables: Any, batch: Any, devices: int) -> Jaxpr:
    """Trace the computation of loss and gradients on one of the devices."""

    def compute_gradients(variables: Any, batch: Any) -> Any:
        def compute_global_loss(params: Any) -> jax.Array:
            current = {**variables, "params": params}
            loss, _ = objective.loss(current, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data")

        return jax.grad(compute_global_loss)(variables["params"])

    mapped = jax.shard_map(
        compute_gradients,
        # Like `make_data_mesh`.
        mesh=AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,)),
        in_specs=(REPLICATED, SHARDED),
        out_specs=REPLICATED,
        check_vma=False,  # the check concerns only how values vary, and does not affect the cost
    )
    global_batch = {
        name: jax.ShapeDtypeStruct((devices * len(x), *x.shape[1:]), x.dtype)
        for name, x in batch.items()
    }
    (call,) = jax.make_jaxpr(mapped)(variables, global_batch).eqns
    return call.params["jaxpr"]


def _trace_prediction(objective: Objective, variables: Any, batch: Any) -> Jaxpr:
    return jax.make_jaxpr(objective.predict)(variables, batch["image"]).jaxpr


def _count_flops_per_example(
    objective: Objective, params: Any, step: Jaxpr, num_examples: int, prediction: Jaxpr
) -> Flops:
    """Count the FLOPs per example.

    Args:
        objective: The objective.
        params: Shapes of its parameters.
        step: The training step on a device.
        num_examples: Number of examples per step and device.
        prediction: The prediction for one image.
    """
    find_submodule = _make_submodule_lookup(objective, params)

    def get_label(scope: str) -> tuple[str, bool]:
        return find_submodule(scope), "transpose" in scope  # as in the backward pass

    def average_over_examples(flops: Mapping[tuple[str, bool], int]) -> Counter[str]:
        totals: Counter[str] = Counter()
        for (submodule, _), count in flops.items():
            totals[submodule] += count
        return Counter({name: round(total / num_examples) for name, total in totals.items()})

    flops = count_flops(step, get_label)
    training = average_over_examples(flops)
    forward = average_over_examples(
        {(name, is_backward): n for (name, is_backward), n in flops.items() if not is_backward}
    )
    inference = count_flops(prediction, find_submodule)
    augmentation_and_loss = training.pop(AUGMENTATION_AND_LOSS, 0)
    for counts in (forward, inference):
        counts.pop(AUGMENTATION_AND_LOSS, None)
    return Flops(forward, training, inference, augmentation_and_loss)


def _make_submodule_lookup(objective: Objective, params: Any) -> Callable[[str], str]:
    """Return a function from a scope to the submodule of the network that it belongs to."""
    field_by_class = dict(_iterate_modules(objective))

    def find_submodule(scope: str) -> str:
        names = re.findall(r"\w+", scope)
        start = next((i for i, name in enumerate(names) if name in field_by_class), None)
        if start is None:
            return AUGMENTATION_AND_LOSS
        submodules = (name for name in names[start:] if name in params)
        field = field_by_class[names[start]]
        return next(submodules, field if field in params else "rest")

    return find_submodule


def _iterate_modules(holder: Any) -> Iterator[tuple[str, str]]:
    """Iterate over the modules in the fields of a dataclass, recursively: (class, field) names."""
    for field in dataclasses.fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, nn.Module) and field.name != "parent":
            yield type(value).__name__, field.name
            yield from _iterate_modules(value)


def _count_elements(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
