"""Areas of a map's classes with intervals: `python -m ssl_jax.areas plan|estimate|compare`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipelines.errors import UserError
from ssl_jax import terminal

if TYPE_CHECKING:
    from ssl_jax.estimation.classified import ClassMap
    from ssl_jax.estimation.estimating import Inputs, MapAssessment
    from ssl_jax.estimation.estimators import Interval

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.areas",
        description=(
            "Areas of the classes of any classified raster, with intervals: draw a sample of "
            "places, label them by eye or in the field, and estimate (Olofsson et al. 2014)."
        ),
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="plan|estimate|compare")
    _add_plan(commands)
    _add_estimate(commands)
    _add_compare(commands)
    args = parser.parse_args(argv)
    maps = [args.map] if args.command != "compare" else [args.map_a, args.map_b]
    for path in maps:
        if not Path(path).is_file():
            raise UserError(f"map {path}: no such file; expected a classified raster")
    return {"plan": _plan, "estimate": _estimate, "compare": _compare}[args.command](args)


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="draw a stratified random sample of places to be labelled",
        description=(
            "Draw a stratified random sample: sample.gpkg and sample.csv with an empty column "
            "`reference`, and strata.json, which keeps what the map says from who labels."
        ),
    )
    parser.add_argument("map", help="classified raster with classes as whole numbers")
    parser.add_argument("--samples", type=int, required=True, help="number of places")
    parser.add_argument(
        "--allocation",
        choices=["proportional", "neyman", "equal"],
        default="proportional",
        help="how places are distributed over the classes (default: proportional to area)",
    )
    parser.add_argument(
        "--minimum", type=int, default=30, help="smallest number in a class (default: 30)"
    )
    parser.add_argument(
        "--accuracies",
        default="",
        help="expected user's accuracies for neyman, such as water=0.95,forest=0.8",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument("--scene", default="", help="image to cut a picture of each place out of")
    parser.add_argument("--output", default="", help="folder (default: <map>_sample beside it)")
    _add_common(parser)
    _add_regions(parser, "GeoJSON of regions, each of which is sampled by itself")


def _add_estimate(commands: Any) -> None:
    parser = commands.add_parser(
        "estimate",
        help="estimate areas and accuracies from labelled places",
        description=(
            "Estimate the area of each class, and user's, producer's and overall accuracy, each "
            "with its interval: estimate.json, estimate.csv and areas.html."
        ),
    )
    parser.add_argument("map", help="classified raster")
    _add_labels(parser, required=True)
    parser.add_argument(
        "--other_map",
        action="store_true",
        help="the sample was stratified by another map of the same pixels (Stehman 2014)",
    )
    parser.add_argument("--output", default="", help="folder (default: that of the labels)")
    _add_common(parser)
    _add_regions(parser, "GeoJSON of regions to estimate besides (default: those of the plan)")


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="what two maps differ in and, with labels, which is better",
        description=(
            "Transitions between two maps of the same pixels (transitions.csv), a map of changes "
            "(changes.tif), and with labels the difference of their accuracies."
        ),
    )
    parser.add_argument("map_a", help="classified raster")
    parser.add_argument("map_b", help="classified raster of the same pixels")
    _add_labels(parser, required=False)
    parser.add_argument(
        "--output", default="", help="folder (default: <map_a>_<map_b> beside the first)"
    )
    _add_common(parser)


def _add_labels(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--labels",
        required=required,
        default="",
        help="CSV or GeoPackage with `reference` and `id`, or `x` and `y` if there are no strata",
    )
    parser.add_argument("--strata", default="", help="strata.json (default: beside the labels)")
    parser.add_argument("--confidence", type=float, default=0.95, help="default: 0.95")
    parser.add_argument(
        "--interval",
        choices=["score", "normal"],
        default="score",
        help="score-based, which also hold for rare classes, or normal (default: score)",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes",
        default="",
        help="names of classes, of the values 0, 1, … or as 1=water,2=forest (default: the map's)",
    )
    parser.add_argument("--nodata", type=float, help="value without data (default: the map's)")


def _add_regions(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--regions", default="", help=text)
    parser.add_argument(
        "--region_field", default="", help="property with a region's name (default: name or id)"
    )


def _open(path: str, args: argparse.Namespace) -> "ClassMap":
    from ssl_jax.estimation.classified import open_map
    from ssl_jax.estimation.files.labels import parse_classes

    return open_map(Path(path), parse_classes(args.classes), args.nodata)


def _read_regions(args: argparse.Namespace, class_map: "ClassMap") -> Any:
    from ssl_jax.estimation.regions import NO_REGIONS, read_regions

    if not args.regions:
        return NO_REGIONS
    return read_regions(Path(args.regions), class_map.georeference, args.region_field)


def _plan(args: argparse.Namespace) -> int:
    # Imported after the arguments were checked: see `terminal`.
    from ssl_jax.estimation.files.labels import parse_accuracies
    from ssl_jax.estimation.planning import Plan, plan_sample

    if args.samples < 1 or args.minimum < 2:
        raise UserError(
            f"--samples {args.samples}, --minimum {args.minimum}: expected at least 1, and 2 in a "
            "class, without which it has no variance"
        )
    class_map = _open(args.map, args)
    accuracies = parse_accuracies(args.accuracies, class_map.names)
    plan = Plan(args.samples, args.allocation, args.minimum, accuracies, args.seed)
    path = Path(args.map)
    folder = Path(args.output) if args.output else path.with_name(f"{path.stem}_sample")
    scene = Path(args.scene) if args.scene else None
    sample = plan_sample(class_map, _read_regions(args, class_map), plan, folder, scene)
    print(f"{len(sample.places.ids)} places in {len(sample.strata.values)} strata: {folder}")
    print("fill in `reference` in sample.gpkg or sample.csv, without a look at strata.json")
    return 0


def _read_inputs(args: argparse.Namespace) -> "tuple[Inputs, Interval]":
    from ssl_jax.estimation.estimating import Inputs, find_strata
    from ssl_jax.estimation.estimators import Interval
    from ssl_jax.estimation.files.sample import STRATA

    if not 0.5 <= args.confidence < 1:
        raise UserError(
            f"--confidence {args.confidence:g}: expected a share from 0.5 to below 1, such as 0.95"
        )
    labels = Path(args.labels)
    strata = find_strata(labels, args.strata, STRATA)
    other = getattr(args, "other_map", False)
    if other and strata is None:
        raise UserError("--other_map: needs the strata of the sample; give their file by --strata")
    return Inputs(labels, strata, other), Interval(args.confidence, args.interval)


def _estimate(args: argparse.Namespace) -> int:
    from ssl_jax.estimation.estimating import assess_map
    from ssl_jax.estimation.files.page import render_page
    from ssl_jax.estimation.files.results import write_assessment

    class_map = _open(args.map, args)
    inputs, interval = _read_inputs(args)
    result = assess_map(class_map, inputs, _read_regions(args, class_map), interval)
    folder = Path(args.output) if args.output else inputs.labels.parent
    paths = write_assessment(folder, result, interval, render_page(result, interval))
    _print_assessment(result, inputs)
    print(f"page: {paths['html']}")
    return 0


def _print_assessment(result: "MapAssessment", inputs: "Inputs") -> None:
    from rich.console import Console
    from rich.table import Table

    from ssl_jax.estimation.files.page import format_percent, format_quantity

    unit = result.class_map.unit
    for part in (result.whole, *result.regions):
        title = part.name or result.class_map.path.name
        table = Table("class", f"area, {unit}", f"pixel count, {unit}", "user's", "producer's",
                      title=title, title_justify="left")  # fmt: skip
        for row in part.classes:
            accuracies = format_percent(row.users), format_percent(row.producers)
            mapped = f"{row.mapped_area:,.{0 if part.total >= 1000 else 2}f}"
            table.add_row(row.name, format_quantity(row.area), mapped, *accuracies)
        Console().print(table)
        print(f"overall accuracy: {format_percent(part.overall)} %")
        for note in part.notes:
            print(f"note: {note}")
    if inputs.strata is None:
        print(
            "note: no strata.json: the places are taken for a random sample of each class of the "
            "map, or of the whole map"
        )
    if result.unlabelled:
        print(f"note: {result.unlabelled} places have no reference and are left out")


def _compare(args: argparse.Namespace) -> int:
    from ssl_jax.estimation.comparing import compare_labels, find_transitions
    from ssl_jax.estimation.files.page import format_percent
    from ssl_jax.estimation.files.results import make_folder, write_comparison

    first, second = _open(args.map_a, args), _open(args.map_b, args)
    inputs, interval = _read_inputs(args)
    path = first.path
    default = path.with_name(f"{path.stem}_{second.path.stem}")
    folder = make_folder(Path(args.output) if args.output else default)
    difference = compare_labels(first, second, inputs, interval) if args.labels else None
    transitions = find_transitions(first, second, folder / "changes.tif")
    write_comparison(folder, transitions, difference, interval)
    for row in [row for row in transitions.rows if row.value][:10]:
        print(f"{row.before} → {row.after}: {row.area:,.2f} {transitions.unit}")
    print(f"{100 * transitions.changed:.2f} % of the area differs: {folder}")
    if difference is not None:
        for each, accuracy in zip((first, second), difference.accuracies, strict=True):
            print(f"overall accuracy of {each.path.name}: {format_percent(accuracy)} %")
        print(f"second minus first: {format_percent(difference.gain, '+')} points")
        print(difference.verdict)
    return 0


if __name__ == "__main__":
    terminal.run_command(main)
