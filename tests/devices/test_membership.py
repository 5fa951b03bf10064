"""Which processes were started together, by the variables of SLURM and of this package."""

import pytest

from data_pipelines.errors import UserError
from ssl_jax.devices.membership import Membership, read_membership

# What Slurm sets for the allocation, wherever a process is started in it.
ALLOCATION = {
    "SLURM_JOB_ID": "5000",
    "SLURM_NTASKS": "4",
    "SLURM_TASKS_PER_NODE": "2(x2)",
    "SLURM_GPUS_ON_NODE": "8",
}
# What srun adds, here in the last of four tasks.
STEP = {
    **ALLOCATION,
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
ONE_PER_NODE = {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_LOCALID": "0"}
OWN = {
    "JAX_COORDINATOR_ADDRESS": "node0:8476",
    "JAX_PROCESS_COUNT": "2",
    "JAX_PROCESS_ID": "1",
}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        ALLOCATION,  # salloc, or ssh to the node
        {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},  # sbatch
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # srun --ntasks=1
        {**STEP, "SLURM_PTY_PORT": "40000"},  # a shell of srun --pty
    ],
)
def test_a_process_started_alone_joins_no_job(environment):
    assert read_membership(environment) is None


def test_the_tasks_of_a_job_step_join_each_other():
    assert read_membership(STEP) == Membership("gpu07:62347", 4, 3, (4, 5, 6, 7))


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[003-007,12],login1", "gpu003"),
        ("rack2[07]-gpu[3,5]", "rack207-gpu3"),
        ("a-1,b[1-2]", "a-1"),
    ],
)
def test_the_first_node_of_a_step_coordinates_it(nodes, first):
    membership = read_membership({**STEP, "SLURM_STEP_NODELIST": nodes})
    assert membership is not None
    assert membership.coordinator == f"{first}:62347"


@pytest.mark.parametrize(
    ("variables", "gpus"),
    [
        (ONE_PER_NODE, None),  # all that it sees
        ({**ONE_PER_NODE, "SLURM_GPUS_ON_NODE": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, (4, 5, 6, 7)),
        ({"SLURM_GPUS_ON_NODE": "", "CUDA_VISIBLE_DEVICES": "2,5"}, (1,)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),  # restricted by the user
        ({"SLURM_GPUS_PER_TASK": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),
        ({"SLURM_GPU_BIND": "single:1", "CUDA_VISIBLE_DEVICES": "0"}, None),
        ({"SLURM_GPUS_ON_NODE": "", "SLURM_GPU_BIND": "none"}, None),  # no GPU
        ({"SLURM_STEP_TASKS_PER_NODE": "3,1"}, None),  # alone on the second of two nodes
        ({"JAX_LOCAL_DEVICE_IDS": "2"}, None),  # which JAX itself reads
    ],
)
def test_the_tasks_of_a_node_divide_its_gpus(variables, gpus):
    membership = read_membership({**STEP, **variables})
    assert membership is not None
    assert membership.gpus == gpus


def test_tasks_that_cannot_divide_the_gpus_are_refused():
    with pytest.raises(UserError, match="found 3 tasks on a node with 8 GPUs") as error:
        read_membership({**STEP, "SLURM_STEP_TASKS_PER_NODE": "1,3"})
    assert "\n" not in str(error.value)


def test_own_variables_come_before_those_of_slurm():
    assert read_membership({**STEP, **OWN}) == Membership("node0:8476", 2, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JAX_PROCESS_ID": ""}, "^JAX_PROCESS_ID: not set, while JAX_COORDINATOR_ADDRESS, JAX_P"),
        (
            {"JAX_PROCESS_COUNT": "", "JAX_PROCESS_ID": ""},
            "^JAX_PROCESS_COUNT, JAX_PROCESS_ID: not set, while JAX_COORDINATOR_ADDRESS is;",
        ),
        ({"JAX_COORDINATOR_ADDRESS": ""}, "^JAX_COORDINATOR_ADDRESS: not set"),
        ({"JAX_COORDINATOR_ADDRESS": "node0"}, "found 'node0'; expected host:port"),
        ({"JAX_PROCESS_ID": "2"}, "found '2' of JAX_PROCESS_COUNT '2'"),
        ({"JAX_PROCESS_ID": "$RANK"}, r"found '\$RANK'"),
    ],
)
def test_incomplete_or_contradictory_variables_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        read_membership({**OWN, **changes})
    assert "\n" not in str(error.value)
