"""What the commands answer at once: help and refusals, without the libraries that train."""

import json
import subprocess
import sys

import pytest

SLOW = ("jax", "flax", "orbax", "tensorflow_datasets", "matplotlib")
CONFIG = "configs/pretrain/mae_vitb_ben4.py"
HELP = (["--help"], 0, "--help")

# {command: (arguments, exit code, what the answer contains) of each answer}.
ANSWERS = {
    "ssl_jax.train": [
        HELP,
        ([], 2, "arguments are required: --config"),
        (["--config", CONFIG], 2, "arguments are required: --workdir (or --describe)"),
        (["--config", CONFIG, "--config.deterministic=True"], 2, "required: --workdir"),
        (["--config", CONFIG, "--sed", "1"], 2, "unknown argument --sed"),
        (["--config", CONFIG, "--device", "t4"], 2, "--device: invalid choice: 't4'"),
        (["--config", CONFIG, "--config.sed=1"], 2, "error: --config.sed: config has no field"),
        (["--config", "nothing.py", "--workdir", "run"], 2, "error: config nothing.py: no such"),
        (["--config", CONFIG, "--workdir", "gs://b/run"], 2, "error: gs://b/run: is a URL"),
    ],
    "ssl_jax.evaluate": [
        HELP,
        ([], 2, "arguments are required: --checkpoint"),
        (["--checkpoint", "nothing", "--flip"], 2, "nothing holds no checkpoint: no such folder"),
        (["--checkpoint", "nothing", "--sed"], 2, "unrecognized arguments: --sed"),
        (["--checkpoint", "configs"], 2, "error: configs holds no checkpoint"),
    ],
    "ssl_jax.predict": [
        HELP,
        ([], 2, "arguments are required: SCENE, --checkpoint, --out"),
        (["a.tif", "--checkpoint", "configs", "--out", "m"], 2, "configs holds no checkpoint"),
        (["a.tif", "--checkpoint", "w", "--out", "m", "--accept", "x"], 2, "--accept: found 'x'"),
    ],
    "ssl_jax.study": [
        HELP,
        (["--config", "a.py", "--workdir", "run", "--jobs", "two"], 2, "invalid int value: 'two'"),
        ([], 2, "arguments are required: --config, --workdir"),
        (["--config", "a.py", "--workdir", "run", "--sed"], 2, "unknown argument --sed"),
        (["--config", "nothing.py", "--workdir", "run"], 2, "error: config nothing.py: no such"),
    ],
    "ssl_jax.report": [
        HELP,
        ([], 2, "arguments are required: --workdir"),
        (["--workdir", "configs", "--sed"], 2, "unrecognized arguments: --sed"),
        (["--workdir", "configs"], 2, "error: workdir configs: holds no study.json"),
    ],
    "ssl_jax.convert": [
        HELP,
        (["import", "--help"], 0, "--new_bands {copy,tile,random}"),
        ([], 2, "arguments are required: direction"),
        (["import", "a.safetensors"], 2, "arguments are required: --as, --workdir"),
        (["export", "a", "b", "--sed"], 2, "unrecognized arguments: --sed"),
        (["export", "nothing", "b"], 2, "error: nothing holds no checkpoint: no such folder"),
    ],
    "ssl_jax.areas": [
        HELP,
        (["estimate", "--help"], 0, "--interval {score,normal}"),
        (["plan", "nothing.tif"], 2, "arguments are required: --samples"),
        (["plan", "nothing.tif", "--samples", "9"], 2, "error: map nothing.tif: no such file"),
        (["compare", "a.tif"], 2, "arguments are required: map_b"),
    ],
    "data_pipelines.build": [
        HELP,
        ([], 2, "arguments are required: NAME[/CONFIG], --data_dir"),
        (["eurosat", "--data_dir", "data", "--sed"], 2, "unknown argument --sed"),
        (["eurosat", "--data_dir", "gs://b/data"], 2, "error: gs://b/data: is a URL"),
    ],
}

# Runs a command once with each list of arguments, and prints the exit code, the output, the errors
# and the slow libraries that have been imported.
SCRIPT = """
import contextlib, io, json, runpy, sys
command, slow, lists = json.loads(sys.argv[1])
for arguments in lists:
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as output:
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                runpy.run_module(command, run_name="__main__", alter_sys=True)
            except SystemExit as exit:
                code = exit.code
    imported = [name for name in slow if name in sys.modules]
    print(json.dumps([code, output.getvalue(), errors.getvalue(), imported]))
"""


@pytest.mark.parametrize("command", ANSWERS)
def test_help_and_refusals_import_no_slow_library(command):
    lists = [arguments for arguments, _, _ in ANSWERS[command]]
    lines = run_script(SCRIPT, json.dumps([command, SLOW, lists])).splitlines()
    for (arguments, expected, text), line in zip(ANSWERS[command], lines, strict=True):
        code, output, errors, imported = json.loads(line)
        assert (code, imported) == (expected, []), (arguments, errors)
        if expected == 0:
            assert output.startswith(f"usage: python -m {command}")
            assert text in output
            assert errors == ""
        else:
            *usage, error = errors.splitlines()
            assert text in error
            assert bool(usage) != error.startswith("error: ")  # argparse prints the usage before
            assert output == ""


def test_functions_can_be_imported_from_the_commands():
    from ssl_jax import evaluate, train
    from ssl_jax.runs import evaluation, training

    assert train.train is training.train
    assert evaluate.evaluate_checkpoint is evaluation.evaluate_checkpoint
    with pytest.raises(ImportError, match="cannot import name 'trian'"):
        from ssl_jax.train import trian  # noqa: F401


@pytest.mark.parametrize("folder", ["", "/tmp/of_the_user"])
def test_jax_gets_a_compilation_cache_unless_the_user_has_configured_one(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = run_script(
        "from ssl_jax import terminal\n"
        "terminal.enable_compilation_cache()\n"
        "from jax import config\n"
        "print(config.jax_compilation_cache_dir)\n"
        "print(config.jax_persistent_cache_min_compile_time_secs)\n"
    )
    assert found.split() == ([folder, "7.0"] if folder else [f"{tmp_path}/ssl_jax/xla", "0.3"])


# macOS has no affinities of processes, and counts memory in bytes.
MACOS = """
import os, resource, runpy, sys
del os.sched_getaffinity
from ssl_jax.runs.training import measure_peak_memory
platform, sys.platform = sys.platform, "darwin"
assert measure_peak_memory() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.platform = platform
sys.argv = ["build", *sys.argv[1:]]
runpy.run_module("data_pipelines.build", run_name="__main__", alter_sys=True)
"""


def test_a_dataset_is_prepared_on_macos(tmp_path):
    assert "usage: python -m data_pipelines.build" in run_script(MACOS, "--help")
    output = run_script(MACOS, "demo_tiles/tiny", "--data_dir", str(tmp_path))
    assert "demo_tiles/tiny prepared in" in output


def run_script(script, *arguments):
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
