"""How far the runs of a study have come.

It is read from their folders, so that any run can be done by any node that sees them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import UserError
from ssl_jax.studies.plan import Run

__all__ = ["State", "check_runnable", "read_states"]


@dataclass(frozen=True)
class State:
    """How far a run has come.

    Attributes:
        word: `done`, `failed`, `blocked`, `needs weights`, `waiting` or `part-way`.
        detail: the error, the run that is missing, the step, or what the user is asked to bring.
    """

    status: str
    detail: str = ""


def read_states(runs: Iterable[Run], workdir: Path) -> dict[str, State]:
    """The state of each run, as its folder tells; `runs` come after those they need."""
    known: dict[str, State] = {}
    for run in runs:
        known[run.name] = _own_state(run, workdir / run.name) or next(
            (
                State("blocked", f"by {name}")
                for name in run.needs
                if known[name].status in ("failed", "blocked", "needs weights")
            ),
            State("waiting", f"for {run.needs[0]}")
            if any(known[name].status != "done" for name in run.needs)
            else State("waiting"),
        )
    return known


def _own_state(run: Run, folder: Path) -> State | None:
    """What the run's own folder says of it; None where only those it needs can tell."""
    if (folder / "results.json").exists():
        return State("done")
    if run.awaits:
        return State("needs weights", run.awaits)
    failure = folder / "failure.txt"
    if failure.exists():
        return State("failed", (failure.read_text().splitlines() or [""])[0])
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    if steps:
        return State("part-way", f"at step {max(steps)}")
    if (folder / "search").is_dir():
        tried = len(list((folder / "search").glob("*/results.json")))
        return State("part-way", f"learning rates tried: {tried}")
    return None


def check_runnable(runs: Sequence[Run], current: dict[str, State]) -> None:
    """Say so if no chosen run can start for want of another that wasn't chosen.

    Raises:
        UserError: such a run.
    """
    done = {name for name, state in current.items() if state.status == "done"}
    within_reach = done | {run.name for run in runs}
    for run in runs:
        for name in run.needs:
            if run.name not in done and name not in within_reach:
                state = f"{current[name].status} {current[name].detail}".strip()
                raise UserError(
                    f"--only {run.name}: needs {name}, which is not done ({state}); do it first: "
                    f"--only {name}"
                )
