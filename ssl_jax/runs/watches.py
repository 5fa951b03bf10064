"""What is measured of a state beside training: the evaluation, and the probe of a pretraining."""

import jax

from data_pipelines.sources.loader import evaluation_batches
from ssl_jax.metrics import Sums
from ssl_jax.runs.parts import Run
from ssl_jax.runs.probe import OnlineProbe
from ssl_jax.training import loop
from ssl_jax.training.state import TrainState
from ssl_jax.training.stopping import StopRequest

__all__ = ["Evaluation", "watches"]


class Evaluation:
    """Evaluates states on the run's evaluation examples and remembers the last figures."""

    def __init__(self, run: Run, stop: StopRequest) -> None:
        self.metrics: dict[str, float] = {}
        self.sums: Sums = {}
        self.examples = run.evaluation_source
        self._run = run
        self._stop = stop
        self._step = loop.evaluation_step(run.objective, run.mesh)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The metrics of a state.

        Raises:
            Stopped: asked to stop while at it.
        """
        self.sums = self._over_all(state)
        self.metrics = self._run.objective.metrics(self.sums)
        return self.metrics

    def _over_all(self, state: TrainState) -> Sums:
        if self._run.over_pictures is not None:
            return self._run.over_pictures(state.variables, self._stop)
        batches = evaluation_batches(
            self.examples,
            self._run.config.batch_size,
            jax.process_index(),
            jax.process_count(),
        )
        return loop.evaluate(self._step, state.variables, batches, self._run.mesh, self._stop)


def watches(run: Run, evaluation: Evaluation, stop: StopRequest) -> list[loop.Watch]:
    """What is measured beside training: the evaluation, and the probe of a pretraining."""
    measured = []
    if run.evaluation_source is not None:
        measured.append(loop.Watch("evaluation", run.every.evaluate, evaluation))
    if run.probe is not None:
        online = OnlineProbe(run.objective, run.mesh, run.probe, run.config.batch_size, stop)
        measured.append(loop.Watch("probe", run.every.probe, online, at_start=True))
    return measured
