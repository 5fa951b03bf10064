"""A small, recorded search over learning rates that never reads the evaluation split.

A candidate is a run like the run itself, in `WORKDIR/search/learning_rate=…`: it trains on a
fraction of the run's training split and is validated on the rest of it. The run is then trained
with the best learning rate on its whole training split. Finished candidates are recorded in
`WORKDIR/search.json` and are not trained again; an interrupted candidate is resumed like any run.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json
from ssl_jax.devices.processes import decide
from ssl_jax.runs import parts
from ssl_jax.training.divergence import Diverged

__all__ = ["Candidate", "make_candidates", "search_learning_rate", "with_learning_rate"]

Candidate = tuple[float, ConfigDict]  # a learning rate, and the config of the run that tries it
TrainFunction = Callable[[ConfigDict, Path], Mapping[str, Any]]

# Candidates are compared by the first of these metrics that they have.
_METRICS = ("top1", "mAP", "mIoU")
_OBJECTIVES = ("classification", "segmentation")


def make_candidates(config: ConfigDict) -> tuple[Candidate, ...]:
    """Make the candidates of `config.search`, in increasing order of their learning rates.

    Returns:
        The candidates; empty if the config has no learning rates to search.

    Raises:
        UserError: If a learning rate, the objective or the validation fraction is invalid.
    """
    section = config.get("search", {})
    if not section.get("learning_rates"):
        return ()
    if config.objective.name not in _OBJECTIVES:
        raise UserError(
            f"config.search.learning_rates: found objective {config.objective.name}, which has no "
            f"metric to compare learning rates by; expected one of {', '.join(_OBJECTIVES)}"
        )
    rates = sorted(float(rate) for rate in section.learning_rates)
    if len(set(rates)) < len(rates) or not 0 < rates[0] <= rates[-1] < math.inf:
        raise UserError(
            f"config.search.learning_rates: found {section.learning_rates}; expected distinct, "
            "positive, finite numbers"
        )
    train, validation = _divide_training_split(config, section.validation)
    candidates = tuple(
        (rate, _make_candidate_config(config, rate, train, validation)) for rate in rates
    )
    try:
        parts.assemble_run(candidates[0][1])
    except UserError as error:
        raise UserError(f"config.search: {error}") from error
    return candidates


def _divide_training_split(config: ConfigDict, fraction: str) -> tuple[str, str]:
    """Return two disjoint split expressions: for the training and the validation of candidates."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", fraction)
    if not match or not 0 < float(match[1]) < 100:
        raise UserError(
            f"config.search.validation: found {fraction!r}; expected a percentage of "
            f"{config.data.train} such as '20%'"
        )
    # Windows of one image look alike and may overlap: whole images are held out.
    unit = " of images" if config.objective.name == "segmentation" else ""
    train = f"{config.data.train}[{100 - float(match[1]):g}%{unit}]"
    return train, f"{train}.rest"


def _make_candidate_config(
    config: ConfigDict, rate: float, train: str, validation: str
) -> ConfigDict:
    """Make the config of a candidate."""
    config = with_learning_rate(config, rate)
    config.search.learning_rates = ()
    config.data.train, config.data.evaluation = train, validation
    config.every.evaluate = 0
    config.keep = 1
    return config


def with_learning_rate(config: ConfigDict, rate: float) -> ConfigDict:
    """Return a copy of a config with another learning rate."""
    copy = ConfigDict(config.to_dict())
    copy.optimizer.learning_rate = rate
    return copy


def search_learning_rate(
    candidates: Sequence[Candidate], folder: Path, train: TrainFunction
) -> dict[str, Any]:
    """Train the candidates that are not finished yet, and choose the best learning rate.

    The highest metric wins; of equal ones, the smaller learning rate. A candidate that diverges
    loses to all others and does not end the search.

    Args:
        candidates: The candidates from `make_candidates`; at least one.
        folder: The workdir of the run to be trained afterwards. The chosen learning rate is
            recorded in its `config.json`.
        train: Trains a config in a workdir and returns the content of its `results.json`.

    Returns:
        The content of `search.json`: the chosen `learning_rate`, the `metric` it was chosen by, the
        split expression `validation` on which that was computed, and the results of all
        `candidates`.

    Raises:
        Diverged: If all candidates diverged.
        Stopped: If a signal requested a shutdown; the current candidate has saved a checkpoint.
    """
    path = folder / "search.json"
    previous = decide(lambda: json.loads(path.read_text())["candidates"] if path.exists() else [])
    results = {result["learning_rate"]: result for result in previous}
    record: dict[str, Any] = {}
    for rate, config in candidates:
        if rate not in results:
            results[rate] = _train_candidate(rate, config, folder, train)
        record = {
            "validation": config.data.evaluation,
            "candidates": [results[rate] for rate, _ in candidates if rate in results],
        }
        if jax.process_index() == 0:
            write_json(path, record)
    record = {**_choose_best(record["candidates"], path), **record}
    if jax.process_index() == 0:
        write_json(path, record)
        _record_learning_rate(folder / "config.json", record["learning_rate"])
        for rate, _ in candidates:
            _delete_weights(_candidate_folder(folder, rate))
    return record


def _candidate_folder(folder: Path, rate: float) -> Path:
    return folder / "search" / f"learning_rate={rate:g}"


def _train_candidate(
    rate: float, config: ConfigDict, folder: Path, train: TrainFunction
) -> dict[str, Any]:
    """Train a candidate and return its record: its metric, or how it diverged."""
    try:
        results = train(config, _candidate_folder(folder, rate))
    except Diverged as error:
        return {"learning_rate": rate, "diverged": str(error)}
    metric = next(name for name in _METRICS if name in results["metrics"])
    value = results["metrics"][metric]
    if not math.isfinite(value):
        return {"learning_rate": rate, "diverged": f"its {metric} is {value}"}
    return {"learning_rate": rate, "metric": metric, "figure": value,
            "steps": results["steps"], "seconds": results["cost"]["seconds"]}  # fmt: skip


def _choose_best(results: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Any]:
    finished = [result for result in results if "figure" in result]
    if not finished:
        raise Diverged(
            0,
            math.nan,
            f"all learning rates of config.search diverged, see {path}; expected at least one that "
            "does not: try smaller ones in another --workdir",
        )
    best = max(finished, key=lambda result: (result["figure"], -result["learning_rate"]))
    return {"learning_rate": best["learning_rate"], "metric": best["metric"]}


def _record_learning_rate(path: Path, rate: float) -> None:
    """Set the learning rate in a run's `config.json`."""
    config = json.loads(path.read_text())
    config["optimizer"]["learning_rate"] = rate
    write_json(path, config)


def _delete_weights(folder: Path) -> None:
    """Delete a candidate's checkpoints and samples; its config, log and results are kept."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "samples.npz").unlink(missing_ok=True)
