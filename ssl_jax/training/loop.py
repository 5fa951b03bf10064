"""THE training loop. There is one, and it knows no objective by name.

The order within a step is what makes a run exact: evaluate and save *before* the next batch is
taken, dispatch the step, and read the metrics of the previous step only then, while the device is
busy with this one.
"""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh, shard
from ssl_jax.metrics import Accumulators, Mean, merge_accumulators, reduce_over_devices, to_host
from ssl_jax.objectives import Objective
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.metric_writer import MetricWriter
from ssl_jax.training.shutdown import ShutdownSignal, Stopped
from ssl_jax.training.state import TrainState

__all__ = [
    "Intervals",
    "MetricAccumulator",
    "PeriodicEvaluation",
    "evaluate",
    "make_evaluation_step",
    "make_train_step",
    "train",
]

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, Mean]]]


@dataclass(frozen=True)
class Intervals:
    """Steps between two records, bundles, evaluations and probes; 0 means only at the run's end."""

    log: int = 50
    save: int = 1000
    evaluate: int = 0
    probe: int = 0


@dataclass(frozen=True)
class PeriodicEvaluation:
    """Figures of the state that are taken beside training, and always at the end of the run.

    Attributes:
        phase: what the log calls them.
        interval: steps between two; 0 for only at the end.
        evaluate: computes them; raises `Stopped` when asked to stop while at it.
        at_start: whether they are also taken before the first step.
    """

    phase: str
    interval: int
    evaluate: Callable[[TrainState], Mapping[str, float]]
    at_start: bool = False

    def due(self, step: int) -> bool:
        """Whether it is time after `step` steps."""
        return _due(step, self.interval) and (step > 0 or self.at_start)


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    seed: int,
) -> Step:
    """The compiled step: (state, batch sharded over `data`) -> (state, metric sums).

    The state is donated. Randomness follows from `seed`, the step and each example's index alone.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Mean]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def global_loss(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            loss, aux = objective.loss(variables, batch, key)
            # The gradient of the mean over devices: shard_map transposes it into the sum of the
            # devices' gradients, so no second pmean may follow.
            return jax.lax.pmean(loss, "data"), aux

        (loss, aux), gradients = jax.value_and_grad(global_loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        successor = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=aux["batch_stats"],
            opt_state=opt_state,
        )
        accumulators = {
            **reduce_over_devices(aux["accumulators"]),
            "loss": Mean.from_values(loss),
            "gradient_norm": Mean.from_values(optax.global_norm(gradients)),
            "learning_rate": Mean.from_values(schedule(state.step)),
        }
        return successor, accumulators

    return pmap_over_mesh(step, mesh, (REPLICATED, SHARDED), (REPLICATED, REPLICATED), donate=(0,))


def make_evaluation_step(objective: Objective, mesh: Mesh) -> Callable[[Any, Any], Accumulators]:
    """The compiled evaluation of a batch: (variables, batch sharded over `data`) -> metric sums."""

    def step(variables: Any, batch: Any) -> Accumulators:
        return reduce_over_devices(objective.evaluate(variables, batch))

    return pmap_over_mesh(step, mesh, (REPLICATED, SHARDED), REPLICATED)


def evaluate(
    step: Callable[[Any, Any], Accumulators],
    variables: Any,
    batches: Iterable[Mapping[str, Any]],
    mesh: Mesh,
    stop: ShutdownSignal | None = None,
) -> Accumulators:
    """Sums over all batches, every example counted once, added up in float64 and int64 on the host.

    Raises:
        Stopped: asked to stop while at it.
    """
    total: Accumulators = {}
    for batch in prefetch_to_devices(batches, mesh):
        total = merge_accumulators(total, to_host(step(variables, batch)))
        if stop is not None and stop.poll():
            raise Stopped
    return total


def train(
    state: TrainState,
    *,
    steps: int,
    step_function: Step,
    batches: Iterator[Mapping[str, Any]],
    mesh: Mesh,
    intervals: Intervals,
    accumulator: "MetricAccumulator",
    evaluations: Sequence[PeriodicEvaluation],
    save: Callable[[TrainState], None],
    log: MetricWriter,
    stop: ShutdownSignal,
    skipped: Collection[int] = (),
) -> TrainState:
    """Train from `state.step` up to `steps`.

    Args:
        state: where to start, replicated over `mesh`; it is donated.
        steps: the step to end at.
        step_function: see `make_train_step`.
        batches: host batches, from the state's step on.
        mesh: the devices.
        intervals: when to log and save.
        accumulator: accumulates and logs the metrics of the steps.
        evaluations: what to compute of the state besides the training metrics.
        save: starts saving a checkpoint of the state.
        log: where records are written.
        stop: whether a signal has asked for a graceful shutdown.
        skipped: steps whose batch is left out; only the step number changes.

    Raises:
        Stopped: a signal asked to stop; a checkpoint has been saved.
        Diverged: the loss is NaN, infinite or has exploded.
    """
    start, sharded = int(state.step), prefetch_to_devices(batches, mesh)
    for step in range(start, steps):
        stop.poll()
        _run_due_evaluations(evaluations, step, state, accumulator, log, stop)
        if stop.requested or (step > start and _due(step, intervals.save)):
            accumulator.flush()
            log.sync()
            save(state)
        if stop.requested:
            raise Stopped
        batch = next(sharded)
        if step + 1 in skipped:
            state = state.replace(step=state.step + 1)
            accumulator.flush()
            log.write(step + 1, "skipped", {})
        else:
            state, accumulators = step_function(state, batch)
            accumulator.append(step + 1, accumulators)
    accumulator.flush()
    try:
        _run_final_evaluations(evaluations, steps, state, log)
    finally:
        log.sync()
        save(state)
    return state


def _run_due_evaluations(
    evaluations: Sequence[PeriodicEvaluation],
    step: int,
    state: TrainState,
    accumulator: "MetricAccumulator",
    log: MetricWriter,
    stop: ShutdownSignal,
) -> None:
    for evaluation in evaluations:
        if evaluation.due(step) and not log.has(step, evaluation.phase) and not stop.requested:
            accumulator.flush()
            with contextlib.suppress(Stopped):  # the state is saved next, and evaluated on resume
                log.write(step, evaluation.phase, evaluation.evaluate(state))


def _run_final_evaluations(
    evaluations: Sequence[PeriodicEvaluation], step: int, state: TrainState, log: MetricWriter
) -> None:
    """Run all evaluations, for their results; don't log again what an earlier process has
    logged."""
    for evaluation in evaluations:
        metrics = evaluation.evaluate(state)
        if not log.has(step, evaluation.phase):
            log.write(step, evaluation.phase, metrics)


def prefetch_to_devices(
    batches: Iterable[Mapping[str, Any]], mesh: Mesh, depth: int = 2
) -> Iterator[Any]:
    """Lay batches on the devices `depth` before they are used: the copy overlaps the step."""
    queue: deque[Any] = deque()
    for batch in batches:
        queue.append(shard(batch, mesh))
        if len(queue) >= depth:
            yield queue.popleft()
    yield from queue


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


class MetricAccumulator:
    """Accumulates the metrics of training steps and logs them, one step behind the dispatch.

    Args:
        log: where records go.
        interval: steps between two records.
        steps: the length of the run.
        explosion: a loss this many times the run's first one has exploded; 0 for never.
        restored: what `to_json` returned when the checkpoint to resume from was saved.
    """

    def __init__(
        self,
        log: MetricWriter,
        interval: int,
        steps: int,
        explosion: float = 0.0,
        restored: Mapping[str, Any] | None = None,
    ) -> None:
        restored = restored or {}
        self._log = log
        self._interval = interval
        self._steps = steps
        self._explosion = explosion
        self._pending: deque[tuple[int, dict[str, Mean]]] = deque()
        self._first_loss: float | None = restored.get("first_loss")
        sums = restored.get("sums", {})
        self._since_last: Accumulators = to_host({name: Mean(*sums[name]) for name in sums})

    def to_json(self) -> dict[str, Any]:
        """The metrics accumulated since the last record, for a checkpoint to resume the log from.

        Returns:
            `first_loss`, and `sums`: the total and the count of each metric.
        """
        sums = {name: [m.total.item(), m.count.item()] for name, m in self._since_last.items()}
        return {"first_loss": self._first_loss, "sums": sums}

    def append(self, step: int, accumulators: dict[str, Mean]) -> None:
        """Add the metrics of the step just dispatched, and read those of the step before."""
        self._pending.append((step, accumulators))
        while len(self._pending) > 1:
            self._read(*self._pending.popleft())

    def flush(self) -> None:
        """Wait for the steps in flight and read their metrics."""
        while self._pending:
            self._read(*self._pending.popleft())

    def _read(self, step: int, accumulators: dict[str, Mean]) -> None:
        host = to_host(accumulators)
        loss = float(host["loss"].value)
        if self._first_loss is None:
            self._first_loss = loss
        limit = self._explosion * abs(self._first_loss) or math.inf
        if not abs(loss) < limit:  # so written, NaN is refused too
            raise Diverged(step, loss)
        self._since_last = merge_accumulators(self._since_last, host)
        self._log.advance(step, loss)
        if step == 1 or _due(step, self._interval) or step == self._steps:
            values = {name: float(mean.value) for name, mean in self._since_last.items()}
            self._log.write(step, "train", values)
            self._since_last = {}
