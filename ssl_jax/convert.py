"""Weights of PyTorch's libraries in, and ours out: `python -m ssl_jax.convert import | export`.

Files are safetensors in the layout of torchvision, timm, facebookresearch/mae or transformers.
"""

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from data_pipelines.bands import Sensor
from ssl_jax import terminal
from ssl_jax.weights.bands import METHODS
from ssl_jax.weights.exporting import LAYOUTS, export_weights, loading_code
from ssl_jax.weights.importing import NETWORKS, STATISTICS, ImportOptions, import_weights

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The door."""
    known = _parser().parse_args(arguments)
    if known.direction == "import":
        options = ImportOptions(
            file_bands=_names(known.file_bands),
            new_bands=known.new_bands,
            seed=known.seed,
            image_size=known.image_size,
            heads=known.heads,
            decoder_heads=known.decoder_heads,
            classifier=known.classifier,
            statistics=known.statistics,
        )
        card, unused = import_weights(
            known.file, known.network, _names(known.bands), known.workdir, options
        )
        print(f"{known.workdir}: {known.network} with bands {', '.join(card.sensor.names)}")
        sensor = card.sensor
    else:
        metadata, unused = export_weights(
            known.checkpoint, known.file, known.layout, known.image_size
        )
        print(f"{known.file}: {known.layout}'s {_described(metadata)}\nin Python:")
        print(textwrap.indent(loading_code(known.file, metadata), "  "))
        sensor = Sensor.from_dict(json.loads(metadata["sensor"]))
    print("the network takes (x - mean) / std of these digital numbers x:")
    for band in sensor.bands:
        low, high = ((limit - band.offset) / band.scale for limit in (0, 1))
        print(
            f"  {band.name}: mean {band.mean:.8g}, std {band.std:.8g}, after a cut to "
            f"{low:.8g} … {high:.8g}"
        )
    for reason, count in Counter(unused.values()).items():
        names = sorted(name for name, why in unused.items() if why == reason)
        few = ", ".join(names[:3]) + (f", … ({count} in all)" if count > 3 else "")
        print(f"left out: {few}: {reason}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.convert",
        description="Weights of PyTorch's libraries in, and ours out, as safetensors.",
    )
    doors = parser.add_subparsers(dest="direction", required=True)
    into = doors.add_parser("import", help="make a checkpoint for config.pretrained")
    into.add_argument("file", help="safetensors of torchvision, timm, MAE or transformers")
    into.add_argument("--as", dest="network", required=True, choices=NETWORKS, help="what it is")
    into.add_argument("--workdir", required=True, help="folder of the checkpoint")
    into.add_argument(
        "--bands", default="", help="of your images, comma-separated, in any order (the file's)"
    )
    into.add_argument(
        "--file_bands", default="", help="of the file's first layer, in order (red,green,blue)"
    )
    into.add_argument(
        "--new_bands",
        default="copy",
        choices=METHODS,
        help="a band the file lacks copies red; or the file's are repeated and scaled; or random",
    )
    into.add_argument("--seed", type=int, default=0, help="of random bands")
    into.add_argument(
        "--image_size", type=int, default=0, help="in pixels (the file's; 224 for a ResNet)"
    )
    into.add_argument("--heads", type=int, default=0, help="of a ViT (one in 64 channels)")
    into.add_argument(
        "--decoder_heads", type=int, default=0, help="of an MAE's decoder (one in 32 channels)"
    )
    into.add_argument(
        "--classifier", action="store_true", help="keep a ViT's classifier (a ResNet's is kept)"
    )
    into.add_argument(
        "--statistics",
        default="imagenet",
        choices=STATISTICS,
        help="what the file's pictures were standardised by: half is mean 0.5 and std 0.5",
    )
    out = doors.add_parser("export", help="write a run's backbone for PyTorch")
    out.add_argument("checkpoint", help="a workdir, or a checkpoints/<step>")
    out.add_argument("file", help="safetensors to write")
    out.add_argument("--layout", default="timm", choices=LAYOUTS, help="who is to load it")
    out.add_argument(
        "--image_size", type=int, default=0, help="of a ViT's positions (those of the run)"
    )
    return parser


def _names(bands: str) -> list[str]:
    return [band.strip() for band in bands.split(",")] if bands else []


def _described(metadata: Mapping[str, str]) -> str:
    """The network in a line, without the names of its classes."""
    if metadata["layout"] == "timm":
        return metadata["model"]
    config = json.loads(metadata["model"])
    return json.dumps({k: v for k, v in config.items() if k not in ("id2label", "label2id")})


if __name__ == "__main__":
    terminal.run_command(main)
