"""Training of a run: `python -m ssl_jax.train --config FILE --workdir W`."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from data_pipelines.errors import STOPPED
from ssl_jax import terminal
from ssl_jax.devices.precision import DEVICE_KINDS

if TYPE_CHECKING:
    from ssl_jax.runs.training import train

__all__ = ["main", "train"]


def __getattr__(name: str) -> Any:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ssl_jax.runs.training import train  # imports JAX, hence only when it is asked for

    return train


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.train",
        description=(
            "Train a config on all devices of this machine, or resume its training: the same "
            "command resumes from the newest checkpoint, and leaves a finished run unchanged. "
            f"SIGTERM and SIGUSR1 save a checkpoint and exit with code {STOPPED}."
        ),
        epilog=terminal.OVERRIDES,
    )
    parser.add_argument(
        "--config", required=True, help="config file, such as configs/pretrain/mae_vitb_ben4.py"
    )
    parser.add_argument("--workdir", help="folder of the run; created if it does not exist")
    _add_description_arguments(parser)
    args, config = terminal.parse_arguments(parser, argv)
    if args.describe:
        return _describe(config, args)
    if not args.workdir:
        parser.error("the following arguments are required: --workdir (or --describe)")
    return _train(config, args.workdir)


def _add_description_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "description of a run", "Sizes and costs are computed from shapes, without any training."
    )
    group.add_argument(
        "--describe", action="store_true", help="print the size and cost of the run, and exit"
    )
    group.add_argument(
        "--devices", type=int, default=8, help="number of devices that share a batch (default: 8)"
    )
    group.add_argument(
        "--device",
        choices=sorted(DEVICE_KINDS),
        default="a100",
        help="kind of device, which determines the precision (default: a100)",
    )
    group.add_argument(
        "--examples",
        type=int,
        default=0,
        help="number of training examples (default: that of the prepared or published dataset)",
    )
    group.add_argument(
        "--tflops",
        type=float,
        default=0.0,
        help="TFLOP/s that a device achieves; prints the hours that the run takes",
    )


def _describe(config: ConfigDict, args: argparse.Namespace) -> int:
    # Imported after the arguments were checked: see `terminal`.
    from ssl_jax.sizing.describe import describe
    from ssl_jax.sizing.display import print_description

    description = describe(config, args.devices, args.examples, args.device)
    print_description(description, args.tflops)
    return 0


def _train(config: ConfigDict, workdir: str) -> int:
    # Imported after the arguments were checked: see `terminal`.
    import jax

    from ssl_jax.devices import cluster
    from ssl_jax.runs.training import train
    from ssl_jax.training.divergence import Diverged
    from ssl_jax.training.shutdown import ShutdownSignal, Stopped

    cluster.join_job()
    try:
        with ShutdownSignal() as stop:
            results = train(config, workdir, stop)
    except Stopped:
        print(f"interrupted; run the same command again to resume in {workdir}", file=sys.stderr)
        return STOPPED
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if jax.process_index() == 0:
        print_results(results, workdir)
    return 0


def print_results(results: dict[str, Any], folder: str) -> None:
    """Print the results of a run in one line."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in results["metrics"].items())
    losses, search = results["train"], results.get("search")
    rate = f" at learning rate {search['learning_rate']:g}" if search else ""
    print(
        f"{folder}: {results['steps']} steps{rate}, loss {losses['first_loss']:.4f} -> "
        f"{losses['last_loss']:.4f}{'; ' + metrics if metrics else ''}"
    )


if __name__ == "__main__":
    terminal.run_command(main)
