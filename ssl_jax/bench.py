"""Benchmarks: `python -m ssl_jax.bench cpu --against torch`."""

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json
from ssl_jax import terminal

__all__ = ["main"]

_RIVALS = Path(__file__).parents[1] / "tests" / "bench"
_NAMES = ("mae", "simclr", "features", "views", "loop", "start")


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.bench",
        description=(
            "Measure the speed of training steps, features, views, the loop and the start on a "
            "CPU. All figures are ratios within one run, in which the implementations take turns."
        ),
    )
    parser.add_argument("what", choices=["cpu"], help="what to measure")
    parser.add_argument(
        "--against",
        choices=["torch"],
        default="",
        help="rival: PyTorch with transformers, timm and kornia, as in tests/bench/torch_rival.py",
    )
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES, help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each (default: 5)")
    parser.add_argument("--json", default="", help="file to write all times to, as JSON")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise UserError(f"--rounds: found {args.rounds}; expected at least 1")
    return _measure(args, _find_rival(args.against))


def _find_rival(name: str) -> Path | None:
    if not name:
        return None
    file = _RIVALS / f"{name}_rival.py"
    if not file.exists():
        raise UserError(f"--against {name}: found no {file}; expected a checkout of the repository")
    for package in ("torch", "transformers", "timm", "kornia"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--against {name}: {package} is not installed; run pip install --editable "
                "'.[bench]'"
            )
    return file


def _measure(args: argparse.Namespace, rival: Path | None) -> int:
    # Imported after the arguments were checked: see `terminal`.
    os.environ["JAX_PLATFORMS"] = args.what
    from ssl_jax.benchmarks import startup

    rows: dict[str, dict[str, Any]] = {}
    for name in args.only:
        if name == "start":
            cold, warm = startup.measure_first_step()
            rows[name] = {"help": startup.measure_help(), "cold": cold, "warm": warm}
        else:
            print(f"measuring {name} …", file=sys.stderr)
            rows[name] = _compare(name, rival, args.rounds)
    _print(rows)
    if args.json:
        write_json(Path(args.json), {"machine": _describe_machine(), "rows": rows})
    return 0


def _compare(name: str, rival: Path | None, rounds: int) -> dict[str, Any]:
    from ssl_jax.benchmarks.comparison import compare
    from ssl_jax.benchmarks.workloads import WORKLOADS

    workload = WORKLOADS[name]
    own = [sys.executable, "-m", "ssl_jax.benchmarks.worker"]
    commands = [[*own, name]]
    if workload.baseline:
        commands.append([*own, workload.baseline])
    elif rival is not None:
        commands.append([sys.executable, str(rival), name])
    measurements = compare(commands, rounds)
    return {
        "title": workload.title,
        "images": workload.images,
        "seconds": [list(m.seconds) for m in measurements],
        "medians": [m.median for m in measurements],
        "peak_rss_bytes": [m.peak_rss_bytes for m in measurements],
        "versions": [dict(m.versions) for m in measurements],
    }


def _print(rows: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("workload", "seconds", "images/s", "peak GB", "other", "its GB", "speed ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in rows.items():
        if name == "start":
            table.add_row("train --help", f"{row['help']:.2f}")
            for kind in ("cold", "warm"):
                table.add_row(f"start to first step, {kind}", f"{row[kind]:.1f}")
            continue
        own, *other = row["medians"]
        memory = [f"{size / 1e9:.1f}" for size in row["peak_rss_bytes"]]
        comparison = [f"{other[0]:.3f}", memory[1], f"{other[0] / own:.2f} ×"] if other else []
        rate = f"{row['images'] / own:.1f}"
        table.add_row(row["title"], f"{own:.3f}", rate, memory[0], *comparison)
    console = Console()
    console.print(table)
    versions = {k: v for row in rows.values() for each in row.get("versions", ()) for k, v in
                each.items()}  # fmt: skip
    console.print(f"{_describe_machine()}; {json.dumps(versions)}")


def _describe_machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


if __name__ == "__main__":
    terminal.run_command(main)
