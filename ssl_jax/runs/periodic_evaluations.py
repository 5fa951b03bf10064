"""Periodic evaluations of the state during training: the evaluation split and the online probe."""

import jax

from data_pipelines.sources.loader import evaluation_batches
from ssl_jax.metrics import Accumulators
from ssl_jax.runs.parts import Run
from ssl_jax.runs.probe import OnlineProbe
from ssl_jax.training import loop
from ssl_jax.training.shutdown import ShutdownSignal
from ssl_jax.training.state import TrainState
from ssl_jax.training.steps import make_evaluation_step

__all__ = ["Evaluation", "make_periodic_evaluations"]


class Evaluation:
    """Evaluates states on the run's evaluation split.

    Attributes:
        metrics: The metrics of the last evaluation; empty before the first.
        accumulators: The accumulators that `metrics` were computed from.
        examples: The examples to evaluate on.
    """

    def __init__(self, run: Run, stop: ShutdownSignal) -> None:
        """Set up the evaluation of a run.

        Args:
            run: The run, with the objective and the evaluation split.
            stop: The shutdown signal, polled after each batch.
        """
        self.metrics: dict[str, float] = {}
        self.accumulators: Accumulators = {}
        self.examples = run.evaluation_source
        self._run = run
        self._stop = stop
        self._step = make_evaluation_step(run.objective, run.mesh)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Compute and remember the metrics of a state.

        Raises:
            Stopped: If a signal requested a shutdown.
        """
        self.accumulators = self._accumulate(state)
        self.metrics = self._run.objective.compute_metrics(self.accumulators)
        return self.metrics

    def _accumulate(self, state: TrainState) -> Accumulators:
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
    """Make the periodic evaluations of a run: `evaluation` and the online probe, as configured.

    Args:
        run: The run, with the intervals.
        evaluation: Evaluates on the evaluation split; unused if the config has none.
        stop: The shutdown signal, polled by the probe.
    """
    evaluations = []
    if run.evaluation_source is not None:
        evaluations.append(
            loop.PeriodicEvaluation("evaluation", run.intervals.evaluate, evaluation)
        )
    if run.probe is not None:
        probe = OnlineProbe(run.objective, run.mesh, run.probe, run.config.batch_size, stop)
        evaluations.append(
            loop.PeriodicEvaluation("probe", run.intervals.probe, probe, at_start=True)
        )
    return evaluations
