"""What every door does at the terminal: read a config and tell mistakes in a line."""

import argparse
import difflib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.fields import read_as
from ssl_jax.devices import cluster

__all__ = ["OVERRIDES", "duration", "load_config", "parse", "run"]

USER_MISTAKE = 2
INTERRUPTED = 130  # as shells have it for SIGINT

OVERRIDES = "Any field of the config can be set with --config.FIELD=VALUE, such as --config.seed=1."


def run(door: Callable[[Sequence[str]], int]) -> None:
    """Run a door with this process's arguments and exit with its code; 2 for a `UserError`."""
    keep_compiled_programs()
    try:
        code = door(sys.argv[1:])
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        code = USER_MISTAKE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        traceback.print_exc()
        code = 1
    cluster.leave(code)
    sys.exit(code)


def keep_compiled_programs() -> None:
    """Let XLA reuse what earlier processes compiled, unless the user has chosen a cache already."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ssl_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, ConfigDict]:
    """Parse a door's arguments; those that start with `--config.` change the config."""
    known, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; overrides are written --config.FIELD=VALUE")
    return known, load_config(known.config, [word.removeprefix("--config.") for word in rest])


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
        override(config, assignment)
    return config


def load_module(file: str) -> Any:
    """The module of a Python file that need not be importable by name."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def override(config: ConfigDict, assignment: str) -> None:
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
    section[field] = read_as(type(current), text, path)


def duration(seconds: float) -> str:
    """A time for a person: `3 h 07 min`, `12 min 05 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
