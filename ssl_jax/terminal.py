"""What every door does at the terminal: read a config and tell mistakes in a line."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import INTERRUPTED, USER_ERROR, UserError
from ssl_jax.devices import cluster
from ssl_jax.runs.config import load_config

__all__ = ["OVERRIDES", "parse_arguments", "run_command"]

OVERRIDES = "Any field of the config can be set with --config.FIELD=VALUE, such as --config.seed=1."


def run_command(door: Callable[[Sequence[str]], int]) -> None:
    """Run a door with this process's arguments and exit with its code; 2 for a `UserError`."""
    enable_compilation_cache()
    try:
        code = door(sys.argv[1:])
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        code = USER_ERROR
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        traceback.print_exc()
        code = 1
    cluster.exit_without_waiting(code)
    sys.exit(code)


def enable_compilation_cache() -> None:
    """Let XLA reuse what earlier processes compiled, unless the user has chosen a cache already."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ssl_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def parse_arguments(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, ConfigDict]:
    """Parse a door's arguments; those that start with `--config.` change the config."""
    known, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; overrides are written --config.FIELD=VALUE")
    return known, load_config(known.config, [word.removeprefix("--config.") for word in rest])
