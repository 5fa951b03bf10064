"""Accumulation of the training metrics between two log records."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from ssl_jax.metrics import Accumulators, Mean, merge_accumulators, to_host
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.loss_scaling import MAX_CONSECUTIVE_OVERFLOWS
from ssl_jax.training.metric_writer import MetricWriter

__all__ = ["MetricAccumulator"]


class MetricAccumulator:
    """Accumulates and logs the training metrics, one step behind the dispatched one.

    Args:
        writer: Writes the metrics.
        interval: Steps between two records.
        steps: The last step of the run.
        explosion: A loss of at least this many times the first loss of the run has exploded; 0
            disables the check.
        restored: The result of `to_json` in the checkpoint that the run resumes from.
    """

    def __init__(
        self,
        writer: MetricWriter,
        interval: int,
        steps: int,
        explosion: float = 0.0,
        restored: Mapping[str, Any] | None = None,
    ) -> None:
        restored = restored or {}
        self._writer = writer
        self._interval = interval
        self._steps = steps
        self._explosion = explosion
        self._pending: deque[tuple[int, dict[str, Mean]]] = deque()
        self._first_loss: float | None = restored.get("first_loss")
        sums = restored.get("sums", {})
        self._accumulators: Accumulators = to_host({name: Mean(*sums[name]) for name in sums})

    def to_json(self) -> dict[str, Any]:
        """Return the metrics accumulated since the last record, for the next checkpoint.

        Returns:
            `first_loss`, and `sums`: the total and the count of each metric.
        """
        sums = {name: [m.total.item(), m.count.item()] for name, m in self._accumulators.items()}
        return {"first_loss": self._first_loss, "sums": sums}

    def append(self, step: int, accumulators: dict[str, Mean]) -> None:
        """Queue the metrics of the step just dispatched, and process those of the step before.

        Args:
            step: Number of the step, counted from 1.
            accumulators: The metric accumulators on the devices, as `train_step` returns them.

        Raises:
            Diverged: If the loss of the step before is NaN, infinite or has exploded.
        """
        self._pending.append((step, accumulators))
        while len(self._pending) > 1:
            self._process(*self._pending.popleft())

    def flush(self) -> None:
        """Wait for all dispatched steps and process their metrics.

        Raises:
            Diverged: If a loss is NaN, infinite or has exploded.
        """
        while self._pending:
            self._process(*self._pending.popleft())

    def _process(self, step: int, accumulators: dict[str, Mean]) -> None:
        host = to_host(accumulators)
        overflowed = not host["loss"].count
        if overflowed:
            _check_overflows(step, int(host["overflows"].value))
        else:
            self._check_loss(step, float(host["loss"].value))
        self._accumulators = merge_accumulators(self._accumulators, host)
        is_due = self._interval > 0 and step % self._interval == 0
        if (step == 1 and not overflowed) or is_due or step == self._steps:
            means = self._accumulators.items()
            metrics = {name: float(mean.value) for name, mean in means if mean.count}
            self._writer.write(step, "train", metrics)
            self._accumulators = {}

    def _check_loss(self, step: int, loss: float) -> None:
        if self._first_loss is None:
            self._first_loss = loss
        limit = self._explosion * abs(self._first_loss) or math.inf
        if not abs(loss) < limit:  # also true for NaN
            raise Diverged(step, loss)
        self._writer.advance(step, loss)


def _check_overflows(step: int, overflows: int) -> None:
    if overflows >= MAX_CONSECUTIVE_OVERFLOWS:
        raise Diverged(
            step,
            math.nan,
            f"the gradients of {overflows} consecutive steps, up to step {step}, overflow float16 "
            "whatever the loss scale",
        )
