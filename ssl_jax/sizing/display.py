"""The output of `--describe`."""

import sys

from rich.console import Console
from rich.table import Table

from data_pipelines.preparing.progress import format_duration
from ssl_jax.sizing.describe import AUGMENTATION_AND_LOSS, BATCHES_ON_DEVICE, Description

__all__ = ["print_description"]

_PRECOMPUTED_NOTE = "The features of the frozen backbone are computed once, not in every step."
_MEMORY_NOTE = """\
Activations and temporary arrays: with all elementwise arithmetic fused, and with none fused.
Not included: workspaces of convolutions, buffers of collectives, the program, fragmentation."""


def print_description(description: Description, teraflops: float = 0.0) -> None:
    """Print the description of a run.

    Args:
        description: The description.
        teraflops: Sustained TFLOP/s of a device, from which the duration is estimated; 0 for no
            estimate.
    """
    # A pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    flops_note = _PRECOMPUTED_NOTE if description.precomputed else ""
    sections: tuple[tuple[str, Table, str], ...] = (
        ("Data", _make_data_table(description), ""),
        ("Steps", _make_step_table(description), ""),
        ("Parameters", _make_parameter_table(description), description.groups),
        ("FLOPs", _make_flops_table(description), flops_note),
        ("Memory per device", _make_memory_table(description), _MEMORY_NOTE),
        ("Total", _make_total_table(description, teraflops), ""),
    )
    for title, table, note in sections:
        console.print(title, style="bold", markup=False)
        console.print(table)
        for line in note.splitlines():
            console.print(f"  {line}", style="dim", markup=False)
        console.print()


def _make_text_table(*rows: tuple[str, str]) -> Table:
    """Make a table of names and text in aligned columns."""
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row(f"  {name}", text)
    return table


def _make_number_table(*headings: str) -> Table:
    """Make a table of names and numbers, without a header if all headings are empty."""
    table = Table(*headings, box=None, padding=(0, 2, 0, 0), caption_justify="left")
    table.show_header = any(headings)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _make_data_table(description: Description) -> Table:
    data, dataset = description.config.data, description.dataset
    shape = " × ".join(map(str, dataset.image_shape))
    bands = ", ".join(dataset.sensor.names)
    count = "unknown" if description.evaluation is None else f"{description.evaluation:,}"
    evaluation = f"{count} examples, {data.evaluation}" if data.evaluation else "-"
    return _make_text_table(
        ("dataset", data.name),
        ("images", f"{shape} {dataset.image_dtype}: {bands}"),
        ("training", f"{description.examples:,} examples, {data.train} ({description.origin})"),
        ("evaluation", evaluation),
    )


def _make_step_table(description: Description) -> Table:
    config = description.config
    batch_size, per_device = config.batch_size, config.batch_size // description.devices
    num_micro = config.objective.accumulate
    micro = (
        f", in {num_micro} micro-batches of {per_device // num_micro:,}" if num_micro > 1 else ""
    )
    epoch_steps, steps = description.examples // batch_size, description.steps
    num_rates = len(config.get("search", {}).get("learning_rates", ()))
    search = ("search", f"{num_rates} runs on a fraction of the examples, one per learning rate")
    return _make_text_table(
        (
            "batch",
            f"{batch_size:,} examples, {per_device:,} on each of {description.devices} devices"
            f"{micro}",
        ),
        ("epoch", f"{epoch_steps:,} steps, {epoch_steps * batch_size:,} examples"),
        (
            "run",
            f"{steps:,} steps, {steps * batch_size:,} examples, {steps / epoch_steps:.4g} epochs",
        ),
        *([search] if num_rates else []),
    )


def _make_parameter_table(description: Description) -> Table:
    table = _make_number_table("", "parameters", "float32")
    for name, count in description.parameters.items():
        table.add_row(f"  {name}", f"{count:,}", _format_bytes(4 * count))
    total = sum(description.parameters.values())
    table.add_row("  total", f"{total:,}", _format_bytes(4 * total), style="bold")
    return table


def _make_flops_table(description: Description) -> Table:
    flops = description.flops
    unit = "pair of views" if description.config.objective.name == "simclr" else "example"
    headings = (f"  GFLOP per {unit}", "forward", "training", "inference per image")
    table = _make_number_table(*headings)
    columns = (flops.forward, flops.training, flops.inference)
    for name in dict.fromkeys((*flops.training, *flops.inference)):
        table.add_row(f"  {name}", *(_format_gigaflops(column.get(name, 0)) for column in columns))
    totals = (_format_gigaflops(sum(column.values())) for column in columns)
    table.add_row("  total", *totals, style="bold")
    table.add_row(
        f"  {AUGMENTATION_AND_LOSS}", "", _format_gigaflops(flops.augmentation_and_loss), ""
    )
    return table


def _make_memory_table(description: Description) -> Table:
    memory = description.memory
    table = _make_number_table("", "", "")
    sizes = {
        "parameters": memory.parameters,
        "gradients": memory.gradients,
        f"state of {description.config.optimizer.name}": memory.optimizer,
        "running statistics of batch norm": memory.batch_stats,
        f"raw examples of {BATCHES_ON_DEVICE} batches": memory.batches,
    }
    for name, size in sizes.items():
        table.add_row(f"  {name}", _format_bytes(size), "")
    table.add_row("  activations and temporary arrays", *_format_range(memory.activations))
    table.add_row("  total", *_format_range(memory.total), style="bold")
    return table


def _make_total_table(description: Description, teraflops: float) -> Table:
    flops = description.total_flops
    rows = [
        ("FLOPs", f"{_format_flops(flops)} of the network, without evaluations"),
        ("precision", f"{description.config.precision} on {description.device.upper()}"),
    ]
    if teraflops:
        seconds = flops / (teraflops * 1e12 * description.devices)
        rows.append(("time", f"{format_duration(seconds)} at {teraflops:g} TFLOP/s per device"))
    return _make_text_table(*rows)


def _format_gigaflops(flops: int) -> str:
    return _format_number(flops / 1e9) if flops else "-"


def _format_number(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _format_flops(flops: float) -> str:
    for unit in ("GFLOP", "TFLOP", "PFLOP"):
        flops /= 1e9 if unit == "GFLOP" else 1e3
        if flops < 1e4:
            break
    return f"{_format_number(flops)} {unit}"


def _format_range(sizes: tuple[int, int]) -> tuple[str, str]:
    return f"from {_format_bytes(sizes[0])}", f"to {_format_bytes(sizes[1])}"


def _format_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
