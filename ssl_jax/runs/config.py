"""Configs from Python files, with fields overridden on the command line."""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.fields import parse_value

__all__ = ["load_config", "load_module"]

# Modules that have another name since they were moved: old name -> new names.
_RENAMED_MODULES = {
    "accumulate": ("micro_batches",),
    "answers": ("conclusions",),
    "cells": ("blocks",),
    "cuts": ("split_expressions",),
    "drawing": ("report_figure",),
    "grids": ("text_table",),
    "logs": ("metric_writer",),
    "outcome": ("results",),
    "pictures": ("display", "images"),
    "precision": ("ranking",),
    "records": ("study_results",),
    "sheets": ("image_grids",),
    "skipping": ("bad_records",),
    "sliding": ("sliding_window",),
    "statistics": ("image_statistics",),
    "stopping": ("shutdown",),
    "stored": ("stored_split",),
    "sums": ("accumulators",),
    "trees": ("pytrees",),
    "watches": ("periodic_evaluations",),
}


def load_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Load the config that a file's `get_config()` returns, and apply `FIELD=VALUE` overrides.

    Args:
        path: Path of a Python file; `file.py:word` calls `get_config("word")`.
        overrides: Assignments such as `model.backbone.name=resnet18`.

    Raises:
        UserError: If the file does not exist, has no `get_config` or imports a module that does not
            exist, or if an override has an unknown field or a value of the wrong type.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"config {file}: no such file; expected one like configs/pretrain/*.py")
    module = load_module(file)
    if not hasattr(module, "get_config"):
        raise UserError(f"config {file}: has no get_config(); expected it to return a ConfigDict")
    config = module.get_config(argument) if argument else module.get_config()
    for assignment in overrides:
        _apply_override(config, assignment)
    return config


def load_module(file: str) -> Any:
    """Import a Python file by its path; it need not be importable by name.

    Raises:
        UserError: If the file imports a module that does not exist. The message has the new name of
            a module of this project that was moved or renamed.
    """
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        hint = (
            _suggest_module(error.name or "") or "expected one that is installed or on PYTHONPATH"
        )
        raise UserError(
            f"config {file}: imports {error.name}, which does not exist; {hint}"
        ) from error
    return module


def _suggest_module(name: str) -> str:
    """Suggest the current name of a module of this project; empty for other packages."""
    package, _, path = name.partition(".")
    if package not in ("ssl_jax", "data_pipelines"):
        return ""
    parents, dot, last = path.rpartition(".")
    suffixes = tuple(
        f".{parents}{dot}{current}" for current in (last, *_RENAMED_MODULES.get(last, ()))
    )
    folder = importlib.import_module(package).__path__
    modules = (module.name for module in pkgutil.walk_packages(folder, f"{package}."))
    matches = [module for module in modules if module.endswith(suffixes)]
    if not matches:
        return "see CHANGELOG.md for changed names"
    return f"its current name is {' or '.join(matches)}"


def _apply_override(config: ConfigDict, assignment: str) -> None:
    """Set one field from text, parsed as the type that the field has."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--config.{path}: has no value; expected --config.{path}=VALUE")
    *sections, field = path.split(".")
    section = config
    for depth, name in enumerate([*sections, field]):
        if not isinstance(section, ConfigDict) or name not in section:
            parent = ".".join(["config", *sections][: depth + 1])
            names = sorted(section) if isinstance(section, ConfigDict) else []
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names) or 'none'}"
            raise UserError(f"--config.{path}: {parent} has no field {name!r}; {hint}")
        if depth < len(sections):
            section = section[name]
    current = section[field]
    if isinstance(current, ConfigDict):
        raise UserError(
            f"--config.{path}: is a section, not a value; expected one of its fields: "
            + ", ".join(f"{path}.{name}" for name in current)
        )
    section[field] = parse_value(type(current), text, path)
