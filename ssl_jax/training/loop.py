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

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmapped, shard
from ssl_jax.metrics import Mean, Sums, merge, reduce_sums, to_host
from ssl_jax.objectives import Objective
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.logs import Log
from ssl_jax.training.state import TrainState
from ssl_jax.training.stopping import Stopped, StopRequest

__all__ = [
    "Every",
    "Running",
    "Watch",
    "evaluate",
    "evaluation_step",
    "train",
    "train_step",
]

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, Mean]]]


@dataclass(frozen=True)
class Every:
    """Steps between two records, bundles, evaluations and probes; 0 means only at the run's end."""

    log: int = 50
    save: int = 1000
    evaluate: int = 0
    probe: int = 0


@dataclass(frozen=True)
class Watch:
    """Figures of the state that are taken beside training, and always at the end of the run.

    Attributes:
        phase: what the log calls them.
        every: steps between two; 0 for only at the end.
        measure: takes them; raises `Stopped` when asked to stop while at it.
        at_start: whether they are also taken before the first step.
    """

    phase: str
    every: int
    measure: Callable[[TrainState], Mapping[str, float]]
    at_start: bool = False

    def due(self, step: int) -> bool:
        """Whether it is time after `step` steps."""
        return _due(step, self.every) and (step > 0 or self.at_start)


def train_step(
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
        sums = {
            **reduce_sums(aux["sums"]),
            "loss": Mean.of(loss),
            "gradient_norm": Mean.of(optax.global_norm(gradients)),
            "learning_rate": Mean.of(schedule(state.step)),
        }
        return successor, sums

    return pmapped(step, mesh, (REPLICATED, SHARDED), (REPLICATED, REPLICATED), donate=(0,))


def evaluation_step(objective: Objective, mesh: Mesh) -> Callable[[Any, Any], Sums]:
    """The compiled evaluation of a batch: (variables, batch sharded over `data`) -> metric sums."""

    def step(variables: Any, batch: Any) -> Sums:
        return reduce_sums(objective.evaluate(variables, batch))

    return pmapped(step, mesh, (REPLICATED, SHARDED), REPLICATED)


def evaluate(
    step: Callable[[Any, Any], Sums],
    variables: Any,
    batches: Iterable[Mapping[str, Any]],
    mesh: Mesh,
    stop: StopRequest | None = None,
) -> Sums:
    """Sums over all batches, every example counted once, added up in float64 and int64 on the host.

    Raises:
        Stopped: asked to stop while at it.
    """
    total: Sums = {}
    for batch in ahead(batches, mesh):
        total = merge(total, to_host(step(variables, batch)))
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
    every: Every,
    running: "Running",
    watches: Sequence[Watch],
    save: Callable[[TrainState], None],
    log: Log,
    stop: StopRequest,
    skipped: Collection[int] = (),
) -> TrainState:
    """Train from `state.step` up to `steps`.

    Args:
        state: where to start, replicated over `mesh`; it is donated.
        steps: the step to end at.
        step_function: see `train_step`.
        batches: host batches, from the state's step on.
        mesh: the devices.
        every: when to log and save.
        running: the sums since the last record.
        watches: what is measured of the state beside training.
        save: starts saving a bundle.
        log: where records go.
        stop: raised by a signal.
        skipped: steps whose batch is left out; the state goes on as it was.

    Raises:
        Stopped: asked to stop; a bundle has been saved.
        Diverged: the loss became NaN or infinite, or exploded.
    """
    start, sharded = int(state.step), ahead(batches, mesh)
    for step in range(start, steps):
        stop.poll()
        _measure_what_is_due(watches, step, state, running, log, stop)
        if stop.requested or (step > start and _due(step, every.save)):
            running.read_all()
            log.sync()
            save(state)
        if stop.requested:
            raise Stopped
        batch = next(sharded)
        if step + 1 in skipped:
            state = state.replace(step=state.step + 1)
            running.read_all()
            log.write(step + 1, "skipped", {})
        else:
            state, sums = step_function(state, batch)
            running.append(step + 1, sums)
    running.read_all()
    try:
        _measure_at_the_end(watches, steps, state, log)
    finally:
        log.sync()
        save(state)
    return state


def _measure_what_is_due(
    watches: Sequence[Watch],
    step: int,
    state: TrainState,
    running: "Running",
    log: Log,
    stop: StopRequest,
) -> None:
    for watch in watches:
        if watch.due(step) and not log.has(step, watch.phase) and not stop.requested:
            running.read_all()
            with contextlib.suppress(Stopped):  # the state is saved next, and measured on resume
                log.write(step, watch.phase, watch.measure(state))


def _measure_at_the_end(watches: Sequence[Watch], step: int, state: TrainState, log: Log) -> None:
    """All of them, for their results; what an earlier process has logged isn't logged again."""
    for watch in watches:
        figures = watch.measure(state)
        if not log.has(step, watch.phase):
            log.write(step, watch.phase, figures)


def ahead(batches: Iterable[Mapping[str, Any]], mesh: Mesh, depth: int = 2) -> Iterator[Any]:
    """Lay batches on the devices `depth` before they are used: the copy overlaps the step."""
    queue: deque[Any] = deque()
    for batch in batches:
        queue.append(shard(batch, mesh))
        if len(queue) >= depth:
            yield queue.popleft()
    yield from queue


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


class Running:
    """Metric sums on their way from the devices to the log, one step behind the dispatch.

    Args:
        log: where records go.
        interval: steps between two records.
        steps: the length of the run.
        explosion: a loss this many times the run's first one has exploded; 0 for never.
        carried: what an earlier process had, see `carried`.
    """

    def __init__(
        self,
        log: Log,
        interval: int,
        steps: int,
        explosion: float = 0.0,
        carried: Mapping[str, Any] | None = None,
    ) -> None:
        carried = carried or {}
        self._log = log
        self._interval = interval
        self._steps = steps
        self._explosion = explosion
        self._pending: deque[tuple[int, dict[str, Mean]]] = deque()
        self._first_loss: float | None = carried.get("first_loss")
        sums = carried.get("sums", {})
        self._since_last: Sums = to_host({name: Mean(*sums[name]) for name in sums})

    @property
    def carried(self) -> dict[str, Any]:
        """What a run that goes on from here needs to write the same log, as JSON can hold it."""
        sums = {k: [m.total.item(), m.count.item()] for k, m in self._since_last.items()}
        return {"first_loss": self._first_loss, "sums": sums}

    def append(self, step: int, sums: dict[str, Mean]) -> None:
        """Take the sums of a step just dispatched, and read those of the one before."""
        self._pending.append((step, sums))
        while len(self._pending) > 1:
            self._read(*self._pending.popleft())

    def read_all(self) -> None:
        """Wait for the steps under way and read their sums."""
        while self._pending:
            self._read(*self._pending.popleft())

    def _read(self, step: int, sums: dict[str, Mean]) -> None:
        host = to_host(sums)
        loss = float(host["loss"].value)
        if self._first_loss is None:
            self._first_loss = loss
        limit = self._explosion * abs(self._first_loss) or math.inf
        if not abs(loss) < limit:  # so written, NaN is refused too
            raise Diverged(step, loss)
        self._since_last = merge(self._since_last, host)
        self._log.advance(step, loss)
        if step == 1 or _due(step, self._interval) or step == self._steps:
            values = {name: float(mean.value) for name, mean in self._since_last.items()}
            self._log.write(step, "train", values)
            self._since_last = {}
