"""Results of a study's runs, read from its workdir."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.metrics.intervals import ExampleCounts, count_by_example
from ssl_jax.runs import workdir
from ssl_jax.studies.plan import Study, read_study
from ssl_jax.training.metric_writer import read_records

__all__ = ["StudyResults", "read_study_results"]


@dataclass(frozen=True)
class StudyResults:
    """A study and the results of its runs: everything that the report is computed from.

    Attributes:
        folder: The study's workdir.
        study: The study, as recorded in its `study.json`.
    """

    folder: Path
    study: Study

    @cached_property
    def by_run(self) -> dict[str, dict[str, Any]]:
        """The `results.json` of each run that is done, by name, in the study's order."""
        results = {
            run.name: workdir.read_results(self.folder / run.name) for run in self.study.runs
        }
        return {
            name: run_results for name, run_results in results.items() if run_results is not None
        }

    def filter_by_objective(self, objective: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return the names and `results.json` of the runs with an objective that are done."""
        return (
            (name, run_results)
            for name, run_results in self.by_run.items()
            if run_results["objective"] == objective
        )

    def load_samples(self, name: str) -> dict[str, np.ndarray]:
        """Load the arrays of a run's `samples.npz`; return an empty dict if it does not exist."""
        return self._load_arrays(name, "samples.npz")

    def load_example_counts(self, name: str, metric: str) -> ExampleCounts | None:
        """Compute the counts of each test example that determine the score of a run.

        Args:
            name: Name of the run.
            metric: Name of the metric.

        Returns:
            The counts, or None if the run has no `predictions.npz` with them or the metric is not a
            function of sums over examples.
        """
        return count_by_example(self._load_arrays(name, "predictions.npz"), metric)

    def get_test_digest(self, name: str) -> str:
        """Return the digest of a run's test examples; empty if none was recorded."""
        examples = self.by_run[name]["data"].get("examples", {})
        return examples.get("evaluation", {}).get("digest", "")

    def load_losses(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Load the logged training losses of a run, whether it is done or not.

        Args:
            name: Name of the run.

        Returns:
            The steps and the losses, (N,) each.
        """
        records = read_records(self.folder / name / "metrics.jsonl")
        train = [record for record in records if record["phase"] == "train" and "loss" in record]
        steps, losses = ([record[key] for record in train] for key in ("step", "loss"))
        return np.array(steps), np.array(losses)

    def _load_arrays(self, name: str, file: str) -> dict[str, np.ndarray]:
        path = self.folder / name / file
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)


def read_study_results(folder: Path) -> StudyResults:
    """Read the study in a workdir.

    Raises:
        UserError: If `study.json` does not exist or is invalid.
    """
    return StudyResults(folder, read_study(folder))
