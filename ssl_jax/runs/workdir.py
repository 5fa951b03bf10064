"""The workdir of a run: its lock, the config it belongs to, and the results of a finished run."""

import contextlib
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UNWRITABLE, UserError, os_error_reason
from data_pipelines.files.lock import Locked, Owner, acquire_lock, find_owner
from data_pipelines.files.paths import refuse_url
from data_pipelines.files.writing import write_json
from data_pipelines.sources.split_expressions import update_syntax
from ssl_jax.checkpoints.loading import compute_backbone_digest
from ssl_jax.devices.processes import decide

__all__ = ["find_trainer", "lock_workdir", "read_results", "record_config"]

_LOCK = ".lock"
# Fields (or prefixes of fields) that may differ when a run resumes: they don't change its numbers.
_FREE_TO_CHANGE = (
    "bad_loss.skip",
    "data.data_dir",
    "data.on_error",
    "data.threads",
    "deterministic",
    "every.",
    "keep",
    "pretrained",
    "probe.",
)
# Values of fields that older configs lack.
_DEFAULTS = {
    "deterministic": False,
    "model.backbone.attention": "auto",
    "model.backbone.stride_in": "3x3",
    "objective.class_weights": [],
}


@contextlib.contextmanager
def lock_workdir(config: ConfigDict, workdir: Path) -> Iterator[None]:
    """Record the config in `workdir`, and hold the workdir's lock while training.

    In a job of several processes, the first one acquires the lock for all.

    Args:
        config: The config of the run.
        workdir: The workdir; it is created if it does not exist.

    Raises:
        Locked: If another process is training in the workdir.
        UserError: If it belongs to another config, or can't be written.
    """
    refuse_url(workdir)
    record_config(config, workdir)
    with contextlib.ExitStack() as lock:
        if refusal := decide(partial(_acquire_lock, workdir, lock)):
            raise Locked(refusal)
        try:
            yield
        except OSError as error:
            reason = os_error_reason(error, UNWRITABLE)
            if not reason:
                raise
            raise UserError(
                f"workdir {workdir}: can't be written ({reason}); free some space and run the same "
                "command: it resumes from the newest checkpoint"
            ) from error


def _acquire_lock(workdir: Path, lock: contextlib.ExitStack) -> str:
    """Return the refusal if another process holds the lock; otherwise an empty string."""
    try:
        lock.enter_context(acquire_lock(workdir / _LOCK, f"workdir {workdir}", "training in it"))
    except Locked as error:
        return str(error)
    except OSError as error:
        raise _make_unwritable_error(workdir, error) from error
    return ""


def record_config(config: ConfigDict, workdir: Path) -> None:
    """Write `config.json` in a new workdir; in another, check that it has the same config.

    The digest of the pretrained backbone is recorded and checked in the same way, in
    `pretrained.json`: what is at `config.pretrained` may change.

    Args:
        config: The config of the run.
        workdir: The workdir; it is created if it does not exist.

    Raises:
        UserError: If the workdir belongs to another config or backbone, or can't be written.
    """
    digest = ""
    if config.get("pretrained"):
        # If it is not there, it is not trained yet, or deleted as it was no longer needed.
        with contextlib.suppress(UserError):
            digest = compute_backbone_digest(Path(config.pretrained))
    decide(partial(_record_config, config, digest, workdir))


def _record_config(config: ConfigDict, digest: str, workdir: Path) -> None:
    path = workdir / "config.json"
    fields = json.loads(update_syntax(json.dumps(config.to_dict())))
    if path.exists():
        recorded = json.loads(update_syntax(path.read_text()))
        # A search replaces the learning rate of the config by the best one.
        searched = fields.get("search", {}).get("learning_rates")
        free = (*_FREE_TO_CHANGE, "optimizer.learning_rate") if searched else _FREE_TO_CHANGE
        for field, old, new in _find_differences(recorded, fields):
            if not field.startswith(free):
                raise UserError(
                    f"workdir {workdir}: belongs to a run with config.{field} = {old!r}, this "
                    f"one has {new!r}; expected the same config: choose another --workdir"
                )
    try:
        if not path.exists():
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, fields)
        if digest:
            _record_pretrained(config.pretrained, digest, workdir)
    except OSError as error:
        raise _make_unwritable_error(workdir, error) from error


def _record_pretrained(pretrained: str, digest: str, workdir: Path) -> None:
    path = workdir / "pretrained.json"
    if path.exists():
        recorded = json.loads(path.read_text())
        if recorded["digest"] != digest:
            raise UserError(
                f"workdir {workdir}: its run starts from the backbone {recorded['digest']} of "
                f"{recorded['path']}; found {digest} in {pretrained}; expected the same "
                "weights: choose another --workdir, or delete this one to train it again"
            )
    else:
        write_json(path, {"path": pretrained, "digest": digest})


def _make_unwritable_error(workdir: Path, error: OSError) -> UserError:
    return UserError(f"workdir {workdir}: {error.strerror}; expected a writable folder")


def find_trainer(workdir: Path) -> Owner | None:
    """Find the process that is training in a workdir; None if there is none."""
    return find_owner(workdir / _LOCK)


def read_results(workdir: Path) -> dict[str, Any] | None:
    """Return the content of `results.json`, or None if the run isn't finished.

    Metrics that are null there, such as those of a class that doesn't occur, are NaN.
    """
    path = workdir / "results.json"
    if not path.exists():
        return None
    results = json.loads(path.read_text())
    metrics = results.get("metrics", {}).items()
    results["metrics"] = {name: math.nan if value is None else value for name, value in metrics}
    return results


def _find_differences(
    first: dict[str, Any], second: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name and both values of each field that differs."""
    for name in sorted(first.keys() | second.keys()):
        default = _DEFAULTS.get(f"{prefix}{name}", "not set")
        old, new = first.get(name, default), second.get(name, default)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _find_differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new
