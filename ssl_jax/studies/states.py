"""States of a study's runs.

They are read from the folders of the runs, so that any node that sees the folders can train any
run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_pipelines.errors import UserError
from ssl_jax.devices.processes import decide
from ssl_jax.runs.workdir import find_trainer
from ssl_jax.studies.plan import Run

__all__ = ["State", "check_runnable", "decide_states", "read_states"]

_UNREACHABLE = ("failed", "blocked", "needs weights")


@dataclass(frozen=True)
class State:
    """The state of a run.

    Attributes:
        status: `done`, `running elsewhere`, `failed`, `blocked`, `needs weights`, `waiting` or
            `part-way`.
        detail: The error, the process that trains the run, the missing run, the last step, or what
            the user has to provide.
    """

    status: str
    detail: str = ""


def read_states(runs: Iterable[Run], workdir: Path) -> dict[str, State]:
    """Read the states of runs from their folders.

    Args:
        runs: The runs, each after the runs that it needs.
        workdir: The study's workdir.

    Returns:
        The state of each run, by name.
    """
    states: dict[str, State] = {}
    for run in runs:
        states[run.name] = _read_own_state(run, workdir / run.name) or _derive_state(run, states)
    return states


def decide_states(runs: Sequence[Run], workdir: Path) -> dict[str, State]:
    """Read the states of runs on the first process of the job, for all of them."""
    states = decide(lambda: {k: asdict(state) for k, state in read_states(runs, workdir).items()})
    return {name: State(**fields) for name, fields in states.items()}


def _read_own_state(run: Run, folder: Path) -> State | None:
    """Read the state of a run; return None if it depends on the runs that it needs."""
    if (folder / "results.json").exists():
        return State("done")
    if run.awaits:
        return State("needs weights", run.awaits)
    if (trainer := find_trainer(folder)) is not None:
        return State("running elsewhere", f"by {trainer}")
    failure = folder / "failure.txt"
    if failure.exists():
        return State("failed", (failure.read_text().splitlines() or [""])[0])
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    if steps:
        return State("part-way", f"at step {max(steps)}")
    if (folder / "search").is_dir():
        num_tried = len(list((folder / "search").glob("*/results.json")))
        return State("part-way", f"learning rates tried: {num_tried}")
    return None


def _derive_state(run: Run, states: Mapping[str, State]) -> State:
    """Derive the state of a run that has not started from the states of the runs it needs."""
    for name in run.needs:
        if states[name].status in _UNREACHABLE:
            return State("blocked", f"by {name}")
    if any(states[name].status != "done" for name in run.needs):
        return State("waiting", f"for {run.needs[0]}")
    return State("waiting")


def check_runnable(runs: Sequence[Run], states: Mapping[str, State]) -> None:
    """Check that the runs that the selected runs need are done or selected too.

    Args:
        runs: The selected runs.
        states: State of each run of the study, by name.

    Raises:
        UserError: If a needed run is neither done nor selected.
    """
    done = {name for name, state in states.items() if state.status == "done"}
    available = done | {run.name for run in runs}
    for run in runs:
        for name in run.needs:
            if run.name not in done and name not in available:
                state = f"{states[name].status} {states[name].detail}".strip()
                is_running = states[name].status == "running elsewhere"
                advice = "wait for it" if is_running else f"train it first: --only {name}"
                raise UserError(
                    f"--only {run.name}: needs {name}, which is not done ({state}); {advice}"
                )
