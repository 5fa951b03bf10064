"""The workdir of a run: its lock, the config it belongs to, and the results of a finished run."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UNWRITABLE, UserError, os_error_reason
from data_pipelines.files.lock import acquire_lock
from data_pipelines.files.writing import write_json
from data_pipelines.sources.split_expressions import update_syntax
from ssl_jax.checkpoints.loading import compute_backbone_digest
from ssl_jax.devices.processes import gather_json

__all__ = ["lock_workdir", "read_results", "record_config"]

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
_DEFAULTS = {"deterministic": False, "model.backbone.attention": "auto"}


@contextlib.contextmanager
def lock_workdir(config: ConfigDict, workdir: Path) -> Iterator[None]:
    """Record the config in `workdir`, and hold the workdir's lock while training.

    In a job of several processes, the first one acquires the lock for all.

    Args:
        config: The config of the run.
        workdir: The workdir; it is created if it does not exist.

    Raises:
        UserError: If another process is training in the workdir, it belongs to another config, or
            it can't be written.
    """
    lock = contextlib.ExitStack()
    refusal: UserError | None = None
    if jax.process_index() == 0:
        try:
            record_config(config, workdir)
            busy = f"workdir {workdir}: another process is training in it; wait for it or stop it"
            lock.enter_context(acquire_lock(workdir / ".lock", busy))
        except OSError as error:
            refusal = _make_unwritable_error(workdir, error)
        except UserError as error:
            refusal = error
    if not gather_json(refusal is None)[0]:
        refusal = refusal or UserError(
            f"workdir {workdir}: refused by the first process of the job, see its error"
        )
    if refusal is not None:
        raise refusal
    with lock:
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
        _record_pretrained(config, workdir)
    except OSError as error:
        raise _make_unwritable_error(workdir, error) from error


def _record_pretrained(config: ConfigDict, workdir: Path) -> None:
    if not config.get("pretrained"):
        return
    try:
        digest = compute_backbone_digest(Path(config.pretrained))
    except UserError:  # not trained yet, or deleted when it was no longer needed
        return
    path = workdir / "pretrained.json"
    if path.exists():
        recorded = json.loads(path.read_text())
        if recorded["digest"] != digest:
            raise UserError(
                f"workdir {workdir}: its run starts from the backbone {recorded['digest']} of "
                f"{recorded['path']}; found {digest} in {config.pretrained}; expected the same "
                "weights: choose another --workdir, or delete this one to train it again"
            )
    elif jax.process_index() == 0:
        write_json(path, {"path": config.pretrained, "digest": digest})


def _make_unwritable_error(workdir: Path, error: OSError) -> UserError:
    return UserError(f"workdir {workdir}: {error.strerror}; expected a writable folder")


def read_results(workdir: Path) -> dict[str, Any] | None:
    """Return the content of `results.json`, or None if the run isn't finished."""
    path = workdir / "results.json"
    return json.loads(path.read_text()) if path.exists() else None


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
