"""A small search over learning rates, recorded, and blind to the examples a run is evaluated on.

Each candidate is a run like the run itself, in `WORKDIR/search/learning_rate=…`: it trains on a
part of the run's training side and is judged on the rest of it. The run then trains on its whole
training side with the winner. Candidates that are done stand in `WORKDIR/search.json` and are not
trained again; one that was interrupted goes on as any run does.
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
from ssl_jax.runs import parts
from ssl_jax.training.divergence import Diverged

__all__ = ["Candidate", "make_candidates", "search_learning_rate", "with_learning_rate"]

Candidate = tuple[float, ConfigDict]  # a learning rate, and the run that tries it
Train = Callable[[ConfigDict, Path], Mapping[str, Any]]

# By which candidates are judged: the first of these that a run has.
_METRICS = ("top1", "mAP", "mIoU")
_OBJECTIVES = ("classification", "segmentation")


def make_candidates(config: ConfigDict) -> tuple[Candidate, ...]:
    """The runs that `config.search` asks for, by rising learning rate; none where it asks for none.

    Raises:
        UserError: a rate, the objective or the part kept for validation doesn't fit.
    """
    section = config.get("search", {})
    if not section.get("learning_rates"):
        return ()
    if config.objective.name not in _OBJECTIVES:
        raise UserError(
            f"config.search.learning_rates: found some, with objective {config.objective.name}, "
            f"whose runs have no figure to choose by; expected one of {', '.join(_OBJECTIVES)}"
        )
    rates = sorted(float(rate) for rate in section.learning_rates)
    if len(set(rates)) < len(rates) or not 0 < rates[0] <= rates[-1] < math.inf:
        raise UserError(
            f"config.search.learning_rates: found {section.learning_rates}; expected positive "
            "numbers that are all different"
        )
    train, validation = _sides(config, section.validation)
    runs = tuple((rate, _candidate(config, rate, train, validation)) for rate in rates)
    try:
        parts.assemble_run(runs[0][1])
    except UserError as error:
        raise UserError(f"config.search: {error}") from error
    return runs


def _sides(config: ConfigDict, share: str) -> tuple[str, str]:
    """The training side of a run in two: what candidates train on and what they are judged on."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", share)
    if not match or not 0 < float(match[1]) < 100:
        raise UserError(
            f"config.search.validation: found {share!r}; expected a share of {config.data.train} "
            "such as '20%'"
        )
    # Windows of one picture look alike, or even overlap: whole pictures are kept aside.
    unit = " of images" if config.objective.name == "segmentation" else ""
    part = f"{config.data.train}[{100 - float(match[1]):g}%{unit}]"
    return part, f"{part}.rest"


def _candidate(config: ConfigDict, rate: float, train: str, validation: str) -> ConfigDict:
    config = with_learning_rate(config, rate)
    config.search.learning_rates = ()
    config.data.train, config.data.evaluation = train, validation
    config.every.evaluate = 0
    config.keep = 1
    return config


def with_learning_rate(config: ConfigDict, rate: float) -> ConfigDict:
    """A copy of a config with another learning rate."""
    copy = ConfigDict(config.to_dict())
    copy.optimizer.learning_rate = rate
    return copy


def search_learning_rate(runs: Sequence[Candidate], folder: Path, train: Train) -> dict[str, Any]:
    """Train the candidates that aren't done yet, and choose.

    The best figure wins, the smaller rate where two are equal. A candidate that diverges is the
    worst and doesn't sink the search.

    Args:
        runs: see `make_candidates`; at least one.
        folder: the workdir of the run that is to be trained with the winner; its `config.json`
            then says the winner's rate.
        train: does a run: (config, folder) -> what its `results.json` holds.

    Returns:
        What stands in `search.json`: `learning_rate`, by which `metric` it was chosen and on what
        part (`validation`), and how all `make_candidates` came out.

    Raises:
        Diverged: all candidates did.
        Stopped: a signal asked to stop; the candidate under way has been saved.
    """
    record = folder / "search.json"
    known = json.loads(record.read_text())["candidates"] if record.exists() else []
    outcomes = {outcome["learning_rate"]: outcome for outcome in known}
    found: dict[str, Any] = {}
    for rate, config in runs:
        if rate not in outcomes:
            outcomes[rate] = _outcome(rate, config, folder, train)
        found = {
            "validation": config.data.evaluation,
            "candidates": [outcomes[rate] for rate, _ in runs if rate in outcomes],
        }
        _write(record, found)
    found = {**_choice(found["candidates"], folder), **found}
    _write(record, found)
    _state_rate(folder / "config.json", found["learning_rate"])
    for rate, _ in runs:
        _tidy(_folder(folder, rate))
    return found


def _folder(folder: Path, rate: float) -> Path:
    return folder / "search" / f"learning_rate={rate:g}"


def _outcome(rate: float, config: ConfigDict, folder: Path, train: Train) -> dict[str, Any]:
    """How a candidate came out: its figures, or why it has none."""
    try:
        results = train(config, _folder(folder, rate))
    except Diverged as error:
        return {"learning_rate": rate, "diverged": str(error)}
    metric = next(name for name in _METRICS if name in results["metrics"])
    figure = results["metrics"][metric]
    if not math.isfinite(figure):
        return {"learning_rate": rate, "diverged": f"its {metric} is {figure}"}
    return {"learning_rate": rate, "metric": metric, "figure": figure,
            "steps": results["steps"], "seconds": results["cost"]["seconds"]}  # fmt: skip


def _choice(outcomes: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    compared = [outcome for outcome in outcomes if "figure" in outcome]
    if not compared:
        raise Diverged(
            0,
            math.nan,
            f"all learning rates of config.search diverged, see {folder / 'search.json'}; expected "
            "one that doesn't: try smaller ones in another --workdir",
        )
    best = max(compared, key=lambda outcome: (outcome["figure"], -outcome["learning_rate"]))
    return {"learning_rate": best["learning_rate"], "metric": best["metric"]}


def _state_rate(path: Path, rate: float) -> None:
    """Let a run's `config.json` say the learning rate that it is trained with."""
    config = json.loads(path.read_text())
    config["optimizer"]["learning_rate"] = rate
    _write(path, config)


def _write(path: Path, content: Any) -> None:
    if jax.process_index() == 0:
        write_json(path, content)


def _tidy(folder: Path) -> None:
    """Keep of a candidate what tells how it came out, and not its weights."""
    if jax.process_index() == 0:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "samples.npz").unlink(missing_ok=True)
