"""Seconds from a command to its first step."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["measure_first_step", "measure_help"]

_CONFIG = Path(__file__).parents[2] / "configs" / "pretrain" / "mae_vitb_ben4.py"
_OVERRIDES = {
    "data.name": "demo_tiles/tiny",
    "data.train": "train",
    "data.threads": 2,
    "model.backbone.name": "vit_ti",
    "probe.train": "",
    "schedule.warmup_epochs": 0.0,
    "batch_size": 8,
    "epochs": 0.0,
    "steps": 1,
    "every.log": 1,
}


def measure_help() -> float:
    """Measure the seconds of `python -m ssl_jax.train --help`."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "ssl_jax.train", "--help"], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def measure_first_step() -> tuple[float, float]:
    """Measure the seconds from the start of a training to the record of its first step.

    Returns:
        Those of a first start, which compiles the step, and of another one with its compilation
        cache.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-m", "data_pipelines.build", "demo_tiles/tiny"]
        subprocess.run([*build, "--data_dir", str(folder)], check=True, stdout=subprocess.DEVNULL)
        cold, warm = (_time_first_step(folder, start) for start in ("cold", "warm"))
    return cold, warm


def _time_first_step(folder: Path, name: str) -> float:
    overrides = [f"--config.{field}={value}" for field, value in _OVERRIDES.items()]
    log = folder / name / "metrics.jsonl"
    began = time.perf_counter()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "ssl_jax.train", f"--config={_CONFIG}"),
            *(f"--workdir={folder / name}", f"--config.data.data_dir={folder}", *overrides),
        ],
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while not (log.exists() and log.stat().st_size):
            if process.poll() is not None and not log.exists():
                _, errors = process.communicate()
                raise RuntimeError(errors.decode())
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        process.communicate()
    return seconds
