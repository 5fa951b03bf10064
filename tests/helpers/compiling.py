"""How processes that test compile: for fake devices on a CPU, fast rather than well, and once."""

import os
import tempfile
from importlib import metadata

CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or f"{tempfile.gettempdir()}/ssl_jax_tests_xla"


def environment(devices: int, cache: object = CACHE) -> dict[str, str]:
    """Variables for a process that sees some fake devices, to be set before it imports jax.

    Args:
        devices: how many it sees.
        cache: folder of compiled programs, by default the one that all tests share. JAX doesn't
            write its entries atomically: what may be killed while it compiles gets one of its own.
    """
    return {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {_fast()}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        # Reading a smaller program takes as long as compiling it.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


def _fast() -> str:
    """Flags with which compiling takes a third of the time, and running somewhat longer."""
    flags = "--xla_backend_optimization_level=0"
    if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
        # Later ones know no other emitters, and refuse the flag.
        flags += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    return flags
