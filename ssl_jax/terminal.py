"""What the commands share: parsing of arguments and config overrides, errors and exit codes.

JAX takes seconds to import. Neither this module nor the top of a command imports it, so that help
and refusals come at once; a command imports what it needs after it has checked its arguments.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from data_pipelines.errors import INTERRUPTED, USER_ERROR, UserError
from data_pipelines.files.paths import refuse_url
from ssl_jax.devices.determinism import request_determinism
from ssl_jax.runs.config import load_config

__all__ = ["OVERRIDES", "enable_compilation_cache", "parse_arguments", "run_command"]

OVERRIDES = "Override any field of the config by --config.FIELD=VALUE, such as --config.seed=1."


def run_command(command: Callable[[Sequence[str]], int]) -> None:
    """Run a command with this process's arguments, and exit.

    Args:
        command: A function from the command-line arguments to the exit code. A `UserError` is
            printed in one line and gives exit code 2; other exceptions print a traceback.
    """
    enable_compilation_cache()
    try:
        for word in sys.argv[1:]:
            refuse_url(word)
        sys.exit(command(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USER_ERROR
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        traceback.print_exc()
        code = 1
    if "jax" in sys.modules:  # otherwise it has not joined a job
        from ssl_jax.devices import cluster

        cluster.exit_without_waiting(code)
    sys.exit(code)


def enable_compilation_cache() -> None:
    """Enable XLA's persistent compilation cache, unless the user has configured one.

    It sets the environment variables that JAX reads when it is imported; call it before.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "ssl_jax" / "xla"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"


def parse_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, ConfigDict]:
    """Parse the arguments of a command, and load its config.

    Args:
        parser: The parser of the command, with a `--config` option.
        argv: The command-line arguments; those that start with `--config.` override config fields.

    Returns:
        The parsed arguments, and the config with the overrides applied.
    """
    args, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; overrides are written --config.FIELD=VALUE")
    config = load_config(args.config, [word.removeprefix("--config.") for word in rest])
    if config.get("deterministic", False):
        request_determinism()
    return args, config
