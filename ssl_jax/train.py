"""Train, or go on training, one config: `python -m ssl_jax.train --config FILE --workdir W`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import jax

from data_pipelines.errors import STOPPED
from ssl_jax import terminal
from ssl_jax.devices import cluster
from ssl_jax.runs.training import train
from ssl_jax.sizing.describe import describe
from ssl_jax.sizing.display import print_description
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["main", "train"]


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.train",
        description=(
            "Train one config, or go on training it: the same command resumes from the newest "
            "bundle and leaves a finished run as it is. All devices of this machine are used. "
            f"SIGTERM or SIGUSR1 saves a bundle and exits with code {STOPPED}."
        ),
        epilog=terminal.OVERRIDES,
    )
    parser.add_argument("--config", required=True, help="such as configs/pretrain/mae_vitb_ben4.py")
    parser.add_argument("--workdir", help="folder of the run, made if need be")
    _add_describe(parser)
    known, config = terminal.parse_arguments(parser, arguments)
    if known.describe:
        print_description(describe(config, known.devices, known.examples), known.tflops)
        return 0
    if not known.workdir:
        parser.error("the following arguments are required: --workdir (or --describe)")
    cluster.join_job()
    try:
        with ShutdownSignal() as stop:
            results = train(config, known.workdir, stop)
    except Stopped:
        print(f"stopped as asked; the same command goes on in {known.workdir}", file=sys.stderr)
        return STOPPED
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if jax.process_index() == 0:
        print_results(results, known.workdir)
    return 0


def _add_describe(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a run will be, from shapes alone: nothing is trained")
    group.add_argument("--describe", action="store_true", help="print its size and cost")
    group.add_argument("--devices", type=int, default=8, help="that share a batch; 8 by default")
    group.add_argument(
        "--examples", type=int, default=0, help="to train on, where nobody knows their number yet"
    )
    group.add_argument(
        "--tflops", type=float, default=0.0, help="that a device really does: the hours it takes"
    )


def print_results(results: dict[str, Any], folder: str) -> None:
    """Print a line on what came out."""
    figures = ", ".join(f"{name} {value:.4f}" for name, value in results["metrics"].items())
    loss, found = results["train"], results.get("search")
    rate = f" at learning rate {found['learning_rate']:g}" if found else ""
    print(
        f"{folder}: {results['steps']} steps{rate}, loss {loss['first_loss']:.4f} -> "
        f"{loss['last_loss']:.4f}{'; ' + figures if figures else ''}"
    )


if __name__ == "__main__":
    terminal.run_command(main)
