"""How large a run is, before it is started: `python -m ssl_jax.train --config FILE --describe`.

Everything follows from shapes: nothing is compiled, no parameter is made, no GPU is needed, and the
dataset need not be prepared.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.preparing.published import count_published_examples, published_dataset
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.opening import is_prepared, open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import REPLICATED, SHARDED
from ssl_jax.objectives import Classification, Objective
from ssl_jax.runs import parts
from ssl_jax.sizing.cost import count_bytes, count_flops, estimate_peak_bytes
from ssl_jax.training import optimizers

__all__ = [
    "BATCHES_ON_DEVICE",
    "VIEWS_AND_LOSS",
    "Arithmetic",
    "Description",
    "Memory",
    "describe",
]

BATCHES_ON_DEVICE = 2  # the one in use and the next, as `loop.prefetch_to_devices` has it
VIEWS_AND_LOSS = "views and loss"


@dataclass(frozen=True)
class Arithmetic:
    """Floating-point operations an example, or of SimCLR a pair of views, by part of the network.

    Two for each multiply-add of a matrix product or a convolution.

    Attributes:
        forward: of the networks in a training step.
        training: of the same with their gradient.
        inference: of what a user of the checkpoint does with an image.
        views_and_loss: of the rest of a training step.
    """

    forward: Mapping[str, int]
    training: Mapping[str, int]
    inference: Mapping[str, int]
    views_and_loss: int


@dataclass(frozen=True)
class Memory:
    """Bytes on each device while it trains.

    Attributes:
        parameters: float32.
        gradients: as many.
        optimizer: its state.
        batch_stats: running averages of batch norm.
        batches: raw examples, of two batches.
        working: (least, most) of what is kept for the backward pass and worked with: with all
            elementwise arithmetic fused, and with none.
    """

    parameters: int
    gradients: int
    optimizer: int
    batch_stats: int
    batches: int
    working: tuple[int, int]

    @property
    def total(self) -> tuple[int, int]:
        """(Least, most) of all of it."""
        rest = self.parameters + self.gradients + self.optimizer + self.batch_stats + self.batches
        return rest + self.working[0], rest + self.working[1]


@dataclass(frozen=True)
class Description:
    """What a run will be.

    Attributes:
        config: of the run, with the precision that was assumed.
        devices: how many share a batch.
        dataset: the examples, as they are prepared or as its builder describes them.
        examples: to train on.
        evaluation: to evaluate on; 0 for none, None where nobody knows before it is prepared.
        origin: where the numbers of examples are from.
        steps: of the whole run.
        parameters: by part of the network.
        groups: of the optimizer, a line each.
        arithmetic: of an example.
        memory: of a device.
        precomputed: whether the features of a frozen backbone are computed once and for all.
    """

    config: ConfigDict
    devices: int
    dataset: Dataset
    examples: int
    evaluation: int | None
    origin: str
    steps: int
    parameters: Mapping[str, int]
    groups: str
    arithmetic: Arithmetic
    memory: Memory
    precomputed: bool

    @property
    def total_operations(self) -> int:
        """Floating-point operations of the networks in the whole run, without evaluations."""
        trained = self.steps * self.config.batch_size * sum(self.arithmetic.training.values())
        if not self.precomputed:
            return trained
        once = self.examples + (self.evaluation or 0)
        return trained + once * self.arithmetic.inference.get("backbone", 0)


def describe(config: ConfigDict, devices: int = 8, examples: int = 0) -> Description:
    """What a run of `config` will be on so many devices.

    bfloat16 is assumed unless the config asks for float32.

    Args:
        config: as `ssl_jax.train` takes it.
        devices: how many share a batch.
        examples: to train on, where the dataset isn't prepared and its builder doesn't know.

    Raises:
        UserError: a field, the dataset, its bands or the batch size doesn't fit, or nobody knows
            how many examples there are.
    """
    config = _assumed(config)
    dataset, examples, evaluation, origin = _examples(config, examples)
    card = ModelCard.for_run(config, dataset)
    objective = parts.make_objective(card)
    parts.check_batch(config, devices, examples)
    steps = parts.count_steps(config, examples)
    optimizer, _ = parts.make_optimizer(config, steps, examples, objective)

    one, batch = card.batch_shapes(1), card.batch_shapes(config.batch_size // devices)
    key = jax.eval_shape(lambda: jax.random.key(config.seed))
    variables = jax.eval_shape(objective.init, key, one)
    params = variables["params"]
    functions = [_predict(objective, variables, one)]
    precomputed = False
    if isinstance(objective, Classification) and objective.precomputable:
        precomputed = True
        functions.append(_predict(objective, variables, batch))
        batch = _with_features(objective, variables, batch)
    step = _step(objective, variables, batch, devices)
    functions.append(step)
    least, most = (
        max(estimate_peak_bytes(function, fused) for function in functions)
        for fused in (True, False)
    )
    return Description(
        config=config,
        devices=devices,
        dataset=dataset,
        examples=examples,
        evaluation=evaluation,
        origin=origin,
        steps=steps,
        parameters={name: _size(tree) for name, tree in params.items()},
        groups=optimizers.describe_groups(params, parts.make_parameter_groups(config, objective)),
        arithmetic=_arithmetic(objective, params, step, len(batch["index"]), functions[0]),
        memory=Memory(
            parameters=count_bytes(params),
            gradients=count_bytes(params),
            optimizer=count_bytes(jax.eval_shape(optimizer.init, params)),
            batch_stats=count_bytes(variables["batch_stats"]),
            batches=BATCHES_ON_DEVICE * count_bytes(batch),
            working=(least, most),
        ),
        precomputed=precomputed,
    )


def _assumed(config: ConfigDict) -> ConfigDict:
    """`config` as it will be where it is going to run, which may not be here."""
    config = ConfigDict(config.to_dict())
    if config.precision == "auto":
        config.precision = "bfloat16"
    if config.model.backbone.get("attention") == "cudnn":  # can't even be traced without a GPU
        config.model.backbone.attention = "xla"
    return config


def _examples(config: ConfigDict, given: int) -> tuple[Dataset, int, int | None, str]:
    """The dataset, how many examples of it there are for training and evaluation, and whence."""
    section = config.data
    named = (tuple(section.bands), section.get("target", ""))
    if is_prepared(section.name, section.data_dir):
        dataset = open_dataset(section.name, section.data_dir, *named)
        train, evaluation = (
            len(select_subset(dataset, split, section.split_seed)) if split else 0
            for split in (section.train, section.evaluation)
        )
        return dataset, given or train, evaluation, f"as prepared in {section.data_dir}"
    dataset = published_dataset(section.name, *named)
    known = given or count_published_examples(dataset, section.train)
    foreseen = count_published_examples(dataset, section.evaluation) if section.evaluation else 0
    if not known:
        raise UserError(
            f"config.data.train: nobody knows how many examples {section.train!r} of dataset "
            f"{section.name} holds before it is prepared; expected --examples N"
        )
    return dataset, known, foreseen, "as given" if given else "as published; not prepared"


def _with_features(objective: Classification, variables: Any, batch: Any) -> dict[str, Any]:
    """A batch with features in place of images."""
    features = jax.eval_shape(objective.extract_features, variables, batch)
    return {"features": features} | {name: x for name, x in batch.items() if name != "image"}


def _step(objective: Objective, variables: Any, batch: Any, devices: int) -> Any:
    """The jaxpr of loss and gradients on one of the devices."""

    def gradients(variables: Any, batch: Any) -> Any:
        def global_loss(params: Any) -> jax.Array:
            current = {**variables, "params": params}
            loss, _ = objective.loss(current, batch, jax.random.key(0))
            return jax.lax.pmean(loss, "data")

        return jax.grad(global_loss)(variables["params"])

    mapped = jax.shard_map(
        gradients,
        mesh=AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,)),  # as `data_mesh`
        in_specs=(REPLICATED, SHARDED),
        out_specs=REPLICATED,
        check_vma=False,  # only how values vary is left out, which costs nothing
    )
    whole = {
        name: jax.ShapeDtypeStruct((devices * len(x), *x.shape[1:]), x.dtype)
        for name, x in batch.items()
    }
    (call,) = jax.make_jaxpr(mapped)(variables, whole).eqns
    return call.params["jaxpr"]


def _predict(objective: Objective, variables: Any, batch: Any) -> Any:
    """The jaxpr of what a user of the checkpoint does with a batch."""
    return jax.make_jaxpr(objective.predict)(variables, batch["image"]).jaxpr


def _arithmetic(
    objective: Objective, params: Any, step: Any, examples: int, predict: Any
) -> Arithmetic:
    part_of = _part_of(objective, params)

    def label(scope: str) -> tuple[str, bool]:
        return part_of(scope), "transpose" in scope

    def per_example(found: Mapping[Any, int]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (name, _), operations in found.items():
            counts[name] += operations
        return Counter({name: round(n / examples) for name, n in counts.items()})

    found = count_flops(step, label)
    training = per_example(found)
    forward = per_example({key: n for key, n in found.items() if not key[1]})
    inference = count_flops(predict, part_of)
    views_and_loss = training.pop(VIEWS_AND_LOSS, 0)
    for counts in (forward, inference):
        counts.pop(VIEWS_AND_LOSS, None)
    return Arithmetic(forward, training, inference, views_and_loss)


def _part_of(objective: Objective, params: Any) -> Callable[[str], str]:
    """From a scope to the part of the network that it is in."""
    networks = dict(_networks(objective))

    def part(scope: str) -> str:
        names = re.findall(r"\w+", scope)
        inside = next((place for place, name in enumerate(names) if name in networks), None)
        if inside is None:
            return VIEWS_AND_LOSS
        within = (name for name in names[inside:] if name in params)
        of_network = networks[names[inside]]
        return next(within, of_network if of_network in params else "rest")

    return part


def _networks(holder: Any) -> Iterator[tuple[str, str]]:
    """The classes of the networks that an objective has, and of those they have: with the names."""
    for field in dataclasses.fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, nn.Module) and field.name != "parent":
            yield type(value).__name__, field.name
            yield from _networks(value)


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
