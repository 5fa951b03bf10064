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
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.bands.conversion import Conversion
from data_pipelines.errors import INTERRUPTED, USER_ERROR, UserError
from data_pipelines.files.paths import refuse_url
from ssl_jax.devices.determinism import request_determinism
from ssl_jax.runs.config import load_config

__all__ = [
    "OVERRIDES",
    "add_value_arguments",
    "enable_compilation_cache",
    "parse_arguments",
    "read_conversion",
    "run_command",
]

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


def add_value_arguments(group: Any, scale: str, offset: str, record: str) -> None:
    """Add what a command is told of the values of images: `--scale`, `--offset` and `--accept`.

    Args:
        group: The parser, or a group of its arguments.
        scale: What the scale is by default, for the help.
        offset: What the offset is by default.
        record: Where checks that were passed over are recorded.
    """
    group.add_argument(
        "--scale",
        type=float,
        help="what one learned digital number is in the images' values, such as 1e-4 if they are "
        "reflectances 0…1 and the network learned digital numbers 0…10,000 "
        f"(default: {scale})",
    )
    group.add_argument(
        "--offset",
        type=float,
        help="number to add to the images' values, such as -1000 for Sentinel-2 products since "
        f"baseline 04.00 (default: {offset})",
    )
    group.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="CHECK",
        help="pass over a check that refuses the images, by the name that its message gives; "
        f"recorded in {record}",
    )


def read_conversion(args: argparse.Namespace) -> Conversion | None:
    """Return the conversion that the arguments of `add_value_arguments` say; None for none.

    Raises:
        UserError: If the scale isn't positive, or a number isn't finite.
    """
    if args.scale is None and args.offset is None:
        return None
    scale, offset = args.scale, args.offset
    return Conversion(1.0 if scale is None else scale, 0.0 if offset is None else offset)


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
