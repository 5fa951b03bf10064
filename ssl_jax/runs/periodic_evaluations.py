"""What is measured of a state beside training: the evaluation, and the probe of a pretraining."""

import jax

from data_pipelines.sources.loader import evaluation_batches
from ssl_jax.metrics import Accumulators
from ssl_jax.runs.parts import Run
from ssl_jax.runs.probe import OnlineProbe
from ssl_jax.training import loop
from ssl_jax.training.shutdown import ShutdownSignal
from ssl_jax.training.state import TrainState

__all__ = ["Evaluation", "make_periodic_evaluations"]


class Evaluation:
    """Evaluates states on the run's evaluation examples and remembers the last figures."""

    def __init__(self, run: Run, stop: ShutdownSignal) -> None:
        self.metrics: dict[str, float] = {}
        self.accumulators: Accumulators = {}
        self.examples = run.evaluation_source
        self._run = run
        self._stop = stop
        self._step = loop.make_evaluation_step(run.objective, run.mesh)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The metrics of a state.

        Raises:
            Stopped: asked to stop while at it.
        """
        self.accumulators = self._over_all(state)
        self.metrics = self._run.objective.compute_metrics(self.accumulators)
        return self.metrics

    def _over_all(self, state: TrainState) -> Accumulators:
        if self._run.image_evaluation is not None:
            return self._run.image_evaluation(state.variables, self._stop)
        batches = evaluation_batches(
            self.examples,
            self._run.config.batch_size,
            jax.process_index(),
            jax.process_count(),
        )
        return loop.evaluate(self._step, state.variables, batches, self._run.mesh, self._stop)


def make_periodic_evaluations(
    run: Run, evaluation: Evaluation, stop: ShutdownSignal
) -> list[loop.PeriodicEvaluation]:
    """What is measured beside training: the evaluation, and the probe of a pretraining."""
    measured = []
    if run.evaluation_source is not None:
        measured.append(loop.PeriodicEvaluation("evaluation", run.intervals.evaluate, evaluation))
    if run.probe is not None:
        online = OnlineProbe(run.objective, run.mesh, run.probe, run.config.batch_size, stop)
        measured.append(
            loop.PeriodicEvaluation("probe", run.intervals.probe, online, at_start=True)
        )
    return measured
