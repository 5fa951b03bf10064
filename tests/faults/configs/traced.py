"""Small configs of runs that tell what they are doing: `--config
tests/faults/configs/traced.py:mae`.

Nothing is computed otherwise than without it. A line is added to the file $FAULTS_TOLD when the run
comes to a phase: its thread (`main`, or `back` for what is saved in the background), the phase, and
the step; with a training step go the numbers of its examples. $FAULTS_SEND, such as
`9 write 3 0.01`, has the process get signal 9 ten milliseconds after it began its third `write`.

$FAULTS_POISON, such as `17 nan 5 1e6`, multiplies the loss of each batch with example 17 or 5 by
that factor.
"""

import functools
import os
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from small import small

from ssl_jax import objectives
from ssl_jax.checkpoints import saving
from ssl_jax.runs import features, periodic_evaluations, probe, restoring, results
from ssl_jax.training import loop

_FILE = os.open(os.environ["FAULTS_TOLD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_NUMBER, _PHASE, _LEFT, _DELAY = (os.environ.get("FAULTS_SEND", "0 - 0 0")).split()
_times: dict[str, int] = {}


def tell(thread: str, phase: str, *details: object) -> None:
    os.write(_FILE, (" ".join(map(str, (thread, phase, *details))) + "\n").encode())
    _times[phase] = _times.get(phase, 0) + 1
    wanted = (f"{phase}@{details[0]}" if details else phase) if "@" in _PHASE else phase
    if wanted == _PHASE and (_times[phase] == int(_LEFT) or "@" in _PHASE):
        if float(_DELAY) == 0.0:
            _send()
        else:
            threading.Thread(target=_send, daemon=True).start()


def _send() -> None:
    time.sleep(float(_DELAY))
    os.write(_FILE, f"sent {_NUMBER}\n".encode())
    os.kill(os.getpid(), int(_NUMBER))


def telling(owner, name, thread, phase, detail=None, after=None) -> None:
    """Have `owner.name` tell that it is entered, and, with `after`, what comes next."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def told(*arguments, **named):
        tell(thread, phase, *([] if detail is None else [detail(*arguments)]))
        try:
            return original(*arguments, **named)
        finally:
            if after:
                tell(thread, after)

    setattr(owner, name, told)


def tell_steps() -> None:
    original = loop.make_train_step

    @functools.wraps(original)
    def train_step(*arguments):
        step_function, compiled = original(*arguments), []

        def step(state, batch):
            number = int(state.step) + 1
            if not compiled:
                tell("main", "compile", number)
                compiled.append(step_function.lower(state, batch).compile())
            tell("main", "step", number, *np.asarray(batch["index"]))
            return step_function(state, batch)

        return step

    loop.make_train_step = train_step


def poison(example: int, factor: float) -> None:
    original = objectives.MAE.loss

    @functools.wraps(original)
    def loss(objective, variables, batch, key):
        value, aux = original(objective, variables, batch, key)
        return value * jnp.where(jnp.any(batch["index"] == example), factor, 1.0), aux

    objectives.MAE.loss = loss


def get_config(kind: str) -> ConfigDict:
    if sys.modules["__main__"].__spec__.name == "ssl_jax.train":
        step_of = lambda evaluation, state: int(state.step)  # noqa: E731
        telling(restoring, "restore_or_start", "main", "restore")
        telling(results, "write_samples", "main", "finish")
        telling(
            periodic_evaluations.Evaluation, "__call__", "main", "evaluation", step_of, after="loop"
        )
        telling(probe.OnlineProbe, "__call__", "main", "probe", step_of, after="loop")
        telling(features, "computed_once", "main", "features", after="loop")
        telling(saving.Checkpointer, "save", "main", "save", step_of_save, after="loop")
        telling(saving.Checkpointer, "_seal", "back", "write", step_of_seal, after="idle")
        telling(saving, "seal", "back", "seal", lambda checkpoint: checkpoint.name)
        telling(saving.Checkpointer, "_delete_old", "back", "delete")
        tell_steps()
    if "FAULTS_POISON" in os.environ:
        words = os.environ["FAULTS_POISON"].split()
        for example, factor in zip(words[::2], words[1::2], strict=True):
            poison(int(example), float(factor))
    tell("main", "start")
    config = small(kind, os.environ["FAULTS_DATA"])
    config.every.update(log=7, save=5, evaluate=4)
    config.schedule.warmup_steps = 2
    config.steps = 40
    if kind in ("simclr", "mae"):
        config.every.probe = 6
        config.probe.update(name="demo_scenes/tiny", train="all[5:5]", evaluation="all[5:5].rest")
    return config


def step_of_save(checkpoints, state, position, card) -> int:
    return int(state.step)


def step_of_seal(checkpoints, response, checkpoint) -> str:
    return checkpoint.name
