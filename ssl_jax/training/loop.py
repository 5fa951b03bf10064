"""The training loop, shared by all objectives.

Two rules about the order within a step keep it exact and fast:

* The state is evaluated and saved *before* the next batch is read, so that a run resumes exactly
  where its checkpoint was saved.
* The metrics of a step are fetched only after the next step has been dispatched, so that the
  device is busy meanwhile.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from ssl_jax.devices.mesh import shard
from ssl_jax.metrics import Accumulators, merge_accumulators, to_host
from ssl_jax.training.metric_accumulator import MetricAccumulator
from ssl_jax.training.metric_writer import MetricWriter
from ssl_jax.training.shutdown import ShutdownSignal, Stopped
from ssl_jax.training.state import TrainState
from ssl_jax.training.steps import EvaluationStep, TrainStep

__all__ = [
    "Intervals",
    "PeriodicEvaluation",
    "evaluate",
    "prefetch_to_devices",
    "train",
]


@dataclass(frozen=True)
class Intervals:
    """Intervals in steps; 0 means only at the end of the run.

    Attributes:
        log: Steps between two records of the training metrics.
        save: Steps between two checkpoints.
        evaluate: Steps between two evaluations on the evaluation split.
        probe: Steps between two evaluations of the online probe.
    """

    log: int = 50
    save: int = 1000
    evaluate: int = 0
    probe: int = 0


@dataclass(frozen=True)
class PeriodicEvaluation:
    """An evaluation of the state during training, and always at the end of the run.

    Attributes:
        phase: Name of its records in the log.
        interval: Steps between two evaluations; 0 for only at the end.
        evaluate: Computes the metrics of a state; raises `Stopped` if a signal requests a shutdown.
        at_start: Whether to evaluate before the first step, too.
    """

    phase: str
    interval: int
    evaluate: Callable[[TrainState], Mapping[str, float]]
    at_start: bool = False

    def is_due(self, step: int) -> bool:
        """Return whether to evaluate after `step` steps."""
        return _is_due(step, self.interval) and (step > 0 or self.at_start)


def evaluate(
    evaluation_step: EvaluationStep,
    variables: Any,
    batches: Iterable[Mapping[str, Any]],
    mesh: Mesh,
    stop: ShutdownSignal | None = None,
) -> Accumulators:
    """Accumulate the metrics of all batches; each example counts exactly once.

    Args:
        evaluation_step: See `steps.make_evaluation_step`.
        variables: The variables of the network, replicated over `mesh`.
        batches: Host batches.
        mesh: The devices.
        stop: The shutdown signal, polled after each batch.

    Returns:
        The metric accumulators, merged on the host in float64 and int64.

    Raises:
        Stopped: If a signal requested a shutdown.
    """
    accumulators: Accumulators = {}
    for batch in prefetch_to_devices(batches, mesh):
        accumulators = merge_accumulators(accumulators, to_host(evaluation_step(variables, batch)))
        if stop is not None and stop.poll():
            raise Stopped
    return accumulators


def train(
    state: TrainState,
    *,
    steps: int,
    train_step: TrainStep,
    batches: Iterator[Mapping[str, Any]],
    mesh: Mesh,
    intervals: Intervals,
    accumulator: MetricAccumulator,
    evaluations: Sequence[PeriodicEvaluation],
    save: Callable[[TrainState], None],
    writer: MetricWriter,
    stop: ShutdownSignal,
    skipped_steps: Collection[int] = (),
) -> TrainState:
    """Train from `state.step` up to `steps`, and return the final state.

    Args:
        state: The state to start from, replicated over `mesh`; it is donated.
        steps: The last step of the run.
        train_step: See `steps.make_train_step`.
        batches: Host batches, from the state's step on.
        mesh: The devices.
        intervals: When to save checkpoints.
        accumulator: Accumulates and logs the training metrics.
        evaluations: The periodic evaluations.
        save: Starts saving a checkpoint of the state.
        writer: Writes the metrics.
        stop: The shutdown signal, polled before each step.
        skipped_steps: Steps, counted from 1, whose batch is skipped: only the step number changes.

    Raises:
        Stopped: If a signal requested a shutdown; a checkpoint has been saved.
        Diverged: If the loss is NaN, infinite or has exploded.
    """
    start, device_batches = int(state.step), prefetch_to_devices(batches, mesh)
    for step in range(start, steps):
        stop.poll()
        _run_due_evaluations(evaluations, step, state, accumulator, writer, stop)
        if stop.requested or (step > start and _is_due(step, intervals.save)):
            accumulator.flush()
            writer.sync()
            save(state)
        if stop.requested:
            raise Stopped
        batch = next(device_batches)
        if step + 1 in skipped_steps:
            state = state.replace(step=state.step + 1)
            accumulator.flush()
            writer.write(step + 1, "skipped", {})
        else:
            state, step_metrics = train_step(state, batch)
            accumulator.append(step + 1, step_metrics)
    accumulator.flush()
    with _save_at_end(state, save, writer, stop):
        _run_final_evaluations(evaluations, steps, state, writer)
    return state


@contextlib.contextmanager
def _save_at_end(
    state: TrainState,
    save: Callable[[TrainState], None],
    writer: MetricWriter,
    stop: ShutdownSignal,
) -> Iterator[None]:
    """Save the state after the block, also after an error, unless only this process has one."""
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        # If only this process of a job has failed, saving would wait for the others.
        if succeeded or stop.requested or jax.process_count() == 1:
            writer.sync()
            save(state)


def _run_due_evaluations(
    evaluations: Sequence[PeriodicEvaluation],
    step: int,
    state: TrainState,
    accumulator: MetricAccumulator,
    writer: MetricWriter,
    stop: ShutdownSignal,
) -> None:
    for evaluation in evaluations:
        is_logged = writer.has_record(step, evaluation.phase)
        if evaluation.is_due(step) and not is_logged and not stop.requested:
            accumulator.flush()
            # If interrupted, the loop saves the state next; a resumed run repeats the evaluation.
            with contextlib.suppress(Stopped):
                writer.write(step, evaluation.phase, evaluation.evaluate(state))


def _run_final_evaluations(
    evaluations: Sequence[PeriodicEvaluation], step: int, state: TrainState, writer: MetricWriter
) -> None:
    """Run all evaluations, also those already logged: `results.json` needs their results."""
    for evaluation in evaluations:
        metrics = evaluation.evaluate(state)
        if not writer.has_record(step, evaluation.phase):
            writer.write(step, evaluation.phase, metrics)


def prefetch_to_devices(
    batches: Iterable[Mapping[str, Any]], mesh: Mesh, depth: int = 2
) -> Iterator[Any]:
    """Copy batches to the devices ahead of their use, so that copies and steps overlap.

    Args:
        batches: Host batches.
        mesh: The devices.
        depth: Number of batches on the devices, the one in use included.

    Yields:
        The batches, sharded over `data`.
    """
    queue: deque[Any] = deque()
    for batch in batches:
        queue.append(shard(batch, mesh))
        if len(queue) >= depth:
            yield queue.popleft()
    yield from queue


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
