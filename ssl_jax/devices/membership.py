"""Which processes were started together as a job, and which GPUs each of them uses.

The environment variables of SLURM and those of this package say so. SLURM sets the variables of the
allocation, such as SLURM_NTASKS, also where a single process is started: in the script of `sbatch`,
in the shell of `salloc`, and in a shell on the node. Only `srun` starts several, as a job step.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from data_pipelines.errors import UserError

__all__ = ["Membership", "is_job_step", "read_membership"]

_OWN_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_COUNT", "JAX_PROCESS_ID")


@dataclass(frozen=True)
class Membership:
    """The place of this process in a job of several processes.

    Attributes:
        coordinator: Address `host:port` of the first process.
        count: Number of processes.
        index: Index of this process.
        gpus: Indices of the GPUs that this process uses, among those it sees; None for all.
    """

    coordinator: str
    count: int
    index: int
    gpus: tuple[int, ...] | None = None


def read_membership(environment: Mapping[str, str]) -> Membership | None:
    """Read the place of this process in its job.

    Args:
        environment: The environment variables.

    Returns:
        None if the process was started alone.

    Raises:
        UserError: If only some of the variables are set, or they contradict each other.
    """
    if any(name in environment for name in _OWN_VARIABLES):
        return _read_own_variables(environment)
    if not is_job_step(environment):
        return None
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1"))
    if count == 1:
        return None
    return Membership(
        f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{_choose_port(environment)}",
        count,
        int(environment["SLURM_PROCID"]),
        _divide_gpus(environment),
    )


def _read_own_variables(environment: Mapping[str, str]) -> Membership:
    missing = [name for name in _OWN_VARIABLES if not environment.get(name)]
    if missing:
        given = [name for name in _OWN_VARIABLES if name not in missing]
        raise UserError(
            f"{', '.join(missing)}: not set, while {', '.join(given) or 'another'} is; expected "
            "all three: host:port of process 0, the number of processes, and the index of this one"
        )
    address, count, index = (environment[name] for name in _OWN_VARIABLES)
    if not re.fullmatch(r".+:\d+", address):
        raise UserError(f"JAX_COORDINATOR_ADDRESS: found {address!r}; expected host:port")
    if not (count.isdigit() and index.isdigit() and int(index) < int(count)):
        raise UserError(
            f"JAX_PROCESS_ID: found {index!r} of JAX_PROCESS_COUNT {count!r}; expected integers, "
            "the first from 0 to one less than the second"
        )
    return Membership(address, int(count), int(index))


def is_job_step(environment: Mapping[str, str]) -> bool:
    """Return whether srun started this process, and not a person in a shell that srun started."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID")
    return all(name in environment for name in names) and "SLURM_PTY_PORT" not in environment


def _first_host(node_list: str) -> str:
    """Return the first host of a list such as `gpu[003-007,12],login1`."""
    first = re.split(r",(?![^\[]*\])", node_list)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def _choose_port(environment: Mapping[str, str]) -> int:
    """Choose a port from 61440 on, the same on all processes of a job step."""
    job, step = (environment.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return 61440 + (int(job) + int(step)) % 4096


def _divide_gpus(environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """Divide the GPUs that this process sees among the processes of its node.

    Returns:
        None if the process uses all that it sees: it is the only one of its node, or SLURM has
        already divided them.

    Raises:
        UserError: If the processes of the node can't have equally many GPUs.
    """
    num_processes = _count_processes_of_node(environment)
    is_divided = any(
        environment.get(name, "none") not in ("none", "")
        for name in ("SLURM_GPUS_PER_TASK", "SLURM_NTASKS_PER_GPU", "SLURM_GPU_BIND")
    )
    if num_processes == 1 or is_divided or "JAX_LOCAL_DEVICE_IDS" in environment:
        return None
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    on_node = int(environment.get("SLURM_GPUS_ON_NODE") or 0)
    num_gpus = len(visible) or on_node
    if num_gpus == 0 or num_gpus < on_node:
        return None
    if num_gpus % num_processes:
        raise UserError(
            f"SLURM_STEP_TASKS_PER_NODE: found {num_processes} tasks on a node with {num_gpus} "
            "GPUs; expected one task, or equally many GPUs for each: such as --ntasks-per-node=1"
        )
    share, local = num_gpus // num_processes, int(environment.get("SLURM_LOCALID", "0"))
    return tuple(range(local * share, (local + 1) * share))


def _count_processes_of_node(environment: Mapping[str, str]) -> int:
    """Count the tasks on this node from a list such as `2(x3),1`, of three nodes and a fourth."""
    counts: list[int] = []
    listed = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get(
        "SLURM_TASKS_PER_NODE", "1"
    )
    for count, repetitions in re.findall(r"(\d+)(?:\(x(\d+)\))?", listed):
        counts += [int(count)] * int(repetitions or 1)
    return counts[min(int(environment.get("SLURM_NODEID", "0")), len(counts) - 1)]
