"""Import and export of weights: `python -m ssl_jax.convert import | export`.

Files are safetensors in the layout of torchvision, timm, facebookresearch/mae or transformers.
"""

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.bands import Sensor
from ssl_jax import terminal
from ssl_jax.checkpoints.finding import find_newest_checkpoint
from ssl_jax.weights.choices import LAYOUTS, METHODS, NETWORKS, STATISTICS, STRIDES

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    args = _make_parser().parse_args(argv)
    sensor, unused = _import(args) if args.direction == "import" else _export(args)
    print("the network's input is (x - mean) / std of these digital numbers x:")
    for band in sensor.bands:
        low, high = ((limit - band.offset) / band.scale for limit in (0, 1))
        print(
            f"  {band.name}: mean {band.mean:.8g}, std {band.std:.8g}, clipped to "
            f"{low:.8g} … {high:.8g}"
        )
    for reason, count in Counter(unused.values()).items():
        names = sorted(name for name, other in unused.items() if other == reason)
        listed = ", ".join(names[:3]) + (f", … ({count} in total)" if count > 3 else "")
        print(f"unused: {listed}: {reason}")
    return 0


def _import(args: argparse.Namespace) -> tuple[Sensor, dict[str, str]]:
    """Import weights, and return the network's sensor and the unused tensors with the reason."""
    # Imported after the arguments were checked: see `terminal`.
    from ssl_jax.weights.importing import ImportOptions, import_weights

    options = ImportOptions(
        file_bands=_split_names(args.file_bands),
        new_bands=args.new_bands,
        seed=args.seed,
        image_size=args.image_size,
        heads=args.heads,
        decoder_heads=args.decoder_heads,
        classifier=args.classifier,
        statistics=args.statistics,
        prefix=args.prefix,
        stride_in=args.stride_in,
    )
    card, unused = import_weights(
        args.file, args.network, _split_names(args.bands), args.workdir, options
    )
    print(f"{args.workdir}: {args.network} with bands {', '.join(card.sensor.names)}")
    return card.sensor, unused


def _export(args: argparse.Namespace) -> tuple[Sensor, dict[str, str]]:
    """Export weights, and return the network's sensor and the unused modules with the reason."""
    find_newest_checkpoint(Path(args.checkpoint))  # an error, if there is none
    # Imported after the folder was checked: see `terminal`.
    from ssl_jax.weights.exporting import export_weights, loading_code

    metadata, unused = export_weights(args.checkpoint, args.file, args.layout, args.image_size)
    print(f"{args.file}: {args.layout}'s {_format_network(metadata)}\nin Python:")
    print(textwrap.indent(loading_code(args.file, metadata), "  "))
    return Sensor.from_dict(json.loads(metadata["sensor"])), unused


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.convert",
        description="Import weights of PyTorch libraries, or export weights, as safetensors.",
    )
    commands = parser.add_subparsers(dest="direction", required=True)
    _add_import_arguments(
        commands.add_parser("import", help="import weights as a checkpoint for config.pretrained")
    )
    _add_export_arguments(
        commands.add_parser("export", help="export the backbone of a run for PyTorch")
    )
    return parser


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", help="safetensors file in the layout of torchvision, timm, MAE or transformers"
    )
    parser.add_argument(
        "--as", dest="network", required=True, choices=NETWORKS, help="network of the file"
    )
    parser.add_argument("--workdir", required=True, help="workdir to create the checkpoint in")
    parser.add_argument(
        "--bands",
        default="",
        help="bands of the images, comma-separated, in any order (default: those of the file)",
    )
    parser.add_argument(
        "--file_bands",
        default="",
        help="bands of the file's first layer, comma-separated, in order (default: those in the "
        "file's metadata, else red,green,blue)",
    )
    parser.add_argument(
        "--new_bands",
        default="copy",
        choices=METHODS,
        help="initialisation of bands that the file lacks: copy red, tile and scale the file's "
        "bands, or draw random weights (default: copy)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights (default: 0)")
    _add_network_arguments(parser)


def _add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the file doesn't say of its network."""
    parser.add_argument(
        "--image_size",
        type=int,
        default=0,
        help="side of the images in pixels (default: that of the file; 224 for a ResNet)",
    )
    parser.add_argument(
        "--heads",
        type=int,
        default=0,
        help="number of attention heads of a ViT (default: one per 64 channels)",
    )
    parser.add_argument(
        "--decoder_heads",
        type=int,
        default=0,
        help="number of attention heads of an MAE's decoder (default: one per 32 channels)",
    )
    parser.add_argument(
        "--classifier",
        action="store_true",
        help="keep the classifier of a ViT (a ResNet's is always kept)",
    )
    parser.add_argument(
        "--statistics",
        default="imagenet",
        choices=STATISTICS,
        help="normalisation that the network was trained with: imagenet, half for mean 0.5 and "
        "std 0.5, or that of Sentinel-2's digital numbers (default: imagenet)",
    )
    parser.add_argument(
        "--prefix",
        default="",
        help="what the names of the network's tensors begin with, in a file of several networks, "
        "such as module.encoder_q.",
    )
    parser.add_argument(
        "--stride_in",
        default="3x3",
        choices=STRIDES,
        help="convolution of a ResNet's bottlenecks that has the stride: 3x3, as in torchvision "
        "and timm, or the first 1x1, as in MSRA's and Keras's (default: 3x3)",
    )


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="workdir, or a checkpoints/<step>")
    parser.add_argument("file", help="safetensors file to write")
    parser.add_argument(
        "--layout", default="timm", choices=LAYOUTS, help="library to load it with (default: timm)"
    )
    parser.add_argument(
        "--image_size",
        type=int,
        default=0,
        help="side in pixels of the images that a ViT's position embedding is resized for "
        "(default: that of the run)",
    )


def _split_names(bands: str) -> list[str]:
    return [band.strip() for band in bands.split(",")] if bands else []


def _format_network(metadata: Mapping[str, str]) -> str:
    """Format the exported network in one line, without the names of its classes."""
    if metadata["layout"] == "timm":
        return metadata["model"]
    config = json.loads(metadata["model"])
    return json.dumps({k: v for k, v in config.items() if k not in ("id2label", "label2id")})


if __name__ == "__main__":
    terminal.run_command(main)
