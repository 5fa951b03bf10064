"""JAX settings of test processes: simulated CPU devices, fast compilation, a shared cache."""

import os
import tempfile
from importlib import metadata

CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or f"{tempfile.gettempdir()}/ssl_jax_tests_xla"


def make_environment(devices: int, cache: object = CACHE) -> dict[str, str]:
    """Return the environment variables of a process, to be set before it imports jax.

    Args:
        devices: Number of simulated CPU devices.
        cache: Folder of the compilation cache. Default: the cache shared by all tests. JAX doesn't
            write its entries atomically, so a process that may be killed while compiling needs a
            cache of its own.
    """
    flags = f"--xla_force_host_platform_device_count={devices} {_fast_compilation_flags()}"
    return {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        # Programs that compile faster take as long to read from the cache.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


def _fast_compilation_flags() -> str:
    """Return XLA flags that reduce compile time to a third and make programs somewhat slower."""
    flags = "--xla_backend_optimization_level=0"
    if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
        # Later versions have only the fusion emitters, and reject the flag.
        flags += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    return flags
