"""Configs from Python files, with fields set from the command line."""

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


def load_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of a file's `get_config()`, with `FIELD=VALUE` overrides applied.

    Args:
        path: a Python file; `file.py:word` calls `get_config("word")`.
        overrides: such as `model.backbone.name=resnet18`.

    Raises:
        UserError: no such file or no `get_config` in it; an unknown field or a wrong type.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"config {file}: no such file; expected one like configs/pretrain/*.py")
    module = load_module(file)
    if not hasattr(module, "get_config"):
        raise UserError(f"config {file}: has no get_config(); expected it to return a ConfigDict")
    config = module.get_config(argument) if argument else module.get_config()
    for assignment in overrides:
        _override(config, assignment)
    return config


def load_module(file: str) -> Any:
    """The module of a Python file that need not be importable by name.

    Raises:
        UserError: it imports a module that there is not; one of ours that moved is named.
    """
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        hint = _moved_to(error.name or "") or "expected one that is installed or on PYTHONPATH"
        raise UserError(
            f"config {file}: imports {error.name}, which is not there; {hint}"
        ) from error
    return module


def _moved_to(name: str) -> str:
    """Where a module of this project is that a file asks for by an older name; empty if nowhere."""
    package, _, module = name.partition(".")
    if package not in ("ssl_jax", "data_pipelines"):
        return ""
    folder = importlib.import_module(package).__path__
    names = (found.name for found in pkgutil.walk_packages(folder, f"{package}."))
    now = [found for found in names if found.endswith(f".{module}")]
    return f"it is {' or '.join(now)} now" if now else "see CHANGELOG.md for what moved"


def _override(config: ConfigDict, assignment: str) -> None:
    """Set one field from text, read as the type the field has now."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--config.{path}: has no value; expected --config.{path}=VALUE")
    *sections, field = path.split(".")
    section = config
    for depth, name in enumerate([*sections, field]):
        if not isinstance(section, ConfigDict) or name not in section:
            where = ".".join(["config", *sections][: depth + 1])
            names = sorted(section) if isinstance(section, ConfigDict) else []
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names) or 'none'}"
            raise UserError(f"--config.{path}: {where} has no field {name!r}; {hint}")
        if depth < len(sections):
            section = section[name]
    current = section[field]
    if isinstance(current, ConfigDict):
        raise UserError(
            f"--config.{path}: is a section, not a value; expected one of its fields: "
            + ", ".join(f"{path}.{name}" for name in current)
        )
    section[field] = parse_value(type(current), text, path)
