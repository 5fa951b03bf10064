"""A description of a run as `--describe` prints it."""

import sys

from rich.console import Console
from rich.table import Table

from data_pipelines.preparing.progress import format_duration
from ssl_jax.sizing.describe import BATCHES_ON_DEVICE, VIEWS_AND_LOSS, Description

__all__ = ["print_description"]

_ONCE = "The features of the frozen backbone are computed once, not at every step."
_LEFT_OUT = """\
Activations and working space: from where all elementwise arithmetic is fused to where none is.
Left out: workspaces of convolutions, buffers of collectives, the program itself, fragmentation."""


def print_description(description: Description, teraflops: float = 0.0) -> None:
    """Print a description; with the TFLOP/s that a device really does, also the hours it takes."""
    # In a pipe lines are as long as they need to be.
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    sections: tuple[tuple[str, Table, str], ...] = (
        ("Data", _examples(description), ""),
        ("Length", _length(description), ""),
        ("Parameters", _parameters(description), description.groups),
        ("Arithmetic", _operations(description), _ONCE if description.precomputed else ""),
        ("Memory of a device", _memory(description), _LEFT_OUT),
        ("The whole run", _whole(description, teraflops), ""),
    )
    for title, table, note in sections:
        console.print(title, style="bold", markup=False)
        console.print(table)
        for line in note.splitlines():
            console.print(f"  {line}", style="dim", markup=False)
        console.print()


def _lines(*rows: tuple[str, ...]) -> Table:
    """Aligned columns: names, then text."""
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(f"  {row[0]}", *row[1:])
    return table


def _examples(of: Description) -> Table:
    data, dataset = of.config.data, of.dataset
    shape = " × ".join(map(str, dataset.image_shape))
    bands = ", ".join(dataset.sensor.names)
    evaluation = "unknown" if of.evaluation is None else f"{of.evaluation:,}"
    return _lines(
        ("dataset", data.name),
        ("images", f"{shape} {dataset.image_dtype}: {bands}"),
        ("to train on", f"{of.examples:,} examples, {data.train} ({of.origin})"),
        ("to evaluate on", f"{evaluation} examples, {data.evaluation}" if data.evaluation else "-"),
    )


def _length(of: Description) -> Table:
    batch, per_device = of.config.batch_size, of.config.batch_size // of.devices
    micro = of.config.objective.accumulate
    steps = of.examples // batch
    parts_of_it = f", in {micro} micro-batches of {per_device // micro:,}" if micro > 1 else ""
    tried = of.config.get("search", {}).get("learning_rates", ())
    before = [("before it", f"{len(tried)} runs on less, to choose the learning rate")]
    return _lines(
        ("batch", f"{batch:,} examples: {per_device:,} a device, on {of.devices}{parts_of_it}"),
        ("an epoch", f"{steps:,} steps, {steps * batch:,} examples"),
        (
            "the run",
            f"{of.steps:,} steps, {of.steps * batch:,} examples: {of.steps / steps:.4g} epochs",
        ),
        *(before if tried else []),
    )


def _parameters(of: Description) -> Table:
    table = _numbers("", "parameters", "float32")
    for name, count in of.parameters.items():
        table.add_row(f"  {name}", f"{count:,}", _bytes(4 * count))
    total = sum(of.parameters.values())
    table.add_row("  all", f"{total:,}", _bytes(4 * total), style="bold")
    return table


def _operations(of: Description) -> Table:
    a = of.arithmetic
    example = "a pair of views" if of.config.objective.name == "simclr" else "an example"
    table = _numbers(f"  GFLOP {example}", "forward", "training", "inference of an image")
    columns = (a.forward, a.training, a.inference)
    for name in dict.fromkeys((*a.training, *a.inference)):
        table.add_row(f"  {name}", *(_giga(column.get(name, 0)) for column in columns))
    table.add_row("  all", *(_giga(sum(column.values())) for column in columns), style="bold")
    table.add_row(f"  {VIEWS_AND_LOSS}", "", _giga(a.views_and_loss), "")
    return table


def _memory(of: Description) -> Table:
    m = of.memory
    table = _numbers("", "", "")
    rows = {
        "parameters": m.parameters,
        "gradients": m.gradients,
        f"state of {of.config.optimizer.name}": m.optimizer,
        "running averages": m.batch_stats,
        f"raw examples of {BATCHES_ON_DEVICE} batches": m.batches,
    }
    for name, size in rows.items():
        table.add_row(f"  {name}", _bytes(size), "")
    table.add_row("  activations and working space", *_range(m.working))
    table.add_row("  all", *_range(m.total), style="bold")
    return table


def _whole(of: Description, teraflops: float) -> Table:
    operations = of.total_operations
    rows = [
        ("arithmetic", f"{_flop(operations)} of the networks, without evaluations"),
        ("precision", of.config.precision),
    ]
    if teraflops:
        seconds = operations / (teraflops * 1e12 * of.devices)
        rows.append(("time", f"{format_duration(seconds)} at {teraflops:g} TFLOP/s on each device"))
    return _lines(*rows)


def _numbers(*headings: str) -> Table:
    table = Table(*headings, box=None, padding=(0, 2, 0, 0), caption_justify="left")
    table.show_header = any(headings)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _giga(operations: int) -> str:
    return _short(operations / 1e9) if operations else "-"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _flop(operations: float) -> str:
    for unit in ("GFLOP", "TFLOP", "PFLOP"):
        operations /= 1e9 if unit == "GFLOP" else 1e3
        if operations < 1e4:
            break
    return f"{_short(operations)} {unit}"


def _range(sizes: tuple[int, int]) -> tuple[str, str]:
    return f"from {_bytes(sizes[0])}", f"to {_bytes(sizes[1])}"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
