"""What a study's runs have written, as the report reads it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.metrics.intervals import ExampleCounts, count_by_example
from ssl_jax.runs import workdir
from ssl_jax.studies.plan import Study
from ssl_jax.training.metric_writer import read_records

__all__ = ["StudyResults", "read_study_results"]


@dataclass(frozen=True)
class StudyResults:
    """A study and what there is of its runs' results; nothing else is known to the report.

    Attributes:
        folder: the study's workdir.
        study: from its `study.json`.
    """

    folder: Path
    study: Study

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """`results.json` of each run that is done, in the study's order."""
        found = {run.name: workdir.read_results(self.folder / run.name) for run in self.study.runs}
        return {name: results for name, results in found.items() if results is not None}

    def with_objective(self, objective: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and results of the runs that are done and had this objective."""
        return ((n, r) for n, r in self.results.items() if r["objective"] == objective)

    def samples(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a run's `samples.npz`; empty if it has none."""
        return self._arrays(name, "samples.npz")

    def outcomes(self, name: str, metric: str) -> ExampleCounts | None:
        """What is behind a run's figure, example by example; None if that isn't known."""
        return count_by_example(self._arrays(name, "predictions.npz"), metric)

    def tested_on(self, name: str) -> str:
        """The digest of the examples a run was evaluated on; empty if it has none."""
        examples = self.results[name]["data"].get("examples", {})
        return examples.get("evaluation", {}).get("digest", "")

    def losses(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and training losses of a run, done or not."""
        records = read_records(self.folder / name / "metrics.jsonl")
        train = [record for record in records if record["phase"] == "train"]
        steps, losses = ([record[key] for record in train] for key in ("step", "loss"))
        return np.array(steps), np.array(losses)

    def _arrays(self, name: str, file: str) -> dict[str, np.ndarray]:
        path = self.folder / name / file
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)


def read_study_results(folder: Path) -> StudyResults:
    """The records of the study in `folder`.

    Raises:
        UserError: there is no study, or it isn't written as one.
    """
    path = folder / "study.json"
    if not path.exists():
        raise UserError(
            f"workdir {folder}: holds no study.json; expected the --workdir of "
            "`python -m ssl_jax.study`"
        )
    try:
        description = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"file {path}: is no JSON ({error}); expected it as `python -m ssl_jax.study` writes "
            "it: run that again"
        ) from error
    return StudyResults(folder, Study.from_dict(description))
