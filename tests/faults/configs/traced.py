"""Small configs of runs that record a trace: `--config tests/faults/configs/traced.py:mae`.

Tracing does not change what is computed. When the run enters a phase, it appends a line to the file
$FAULTS_TRACE: the thread (`main`, or `background` for saving), the phase, and the step; for a
training step also the indices of the examples of its batch. $FAULTS_SEND, such as `9 write 3 0.01`,
sends the process signal 9 ten milliseconds after it has entered its third `write`.

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
from small_configs import make_small_config

from ssl_jax import objectives
from ssl_jax.checkpoints import saving
from ssl_jax.runs import features, periodic_evaluations, probe, restoring, results
from ssl_jax.training import steps

_TRACE_FILE = os.open(os.environ["FAULTS_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_SIGNAL, _PHASE, _OCCURRENCE, _DELAY = (os.environ.get("FAULTS_SEND", "0 - 0 0")).split()
_counts: dict[str, int] = {}


def record(thread: str, phase: str, *details: object) -> None:
    """Append a line to the trace, and send the signal if it is due in this phase."""
    os.write(_TRACE_FILE, (" ".join(map(str, (thread, phase, *details))) + "\n").encode())
    _counts[phase] = _counts.get(phase, 0) + 1
    moment = (f"{phase}@{details[0]}" if details else phase) if "@" in _PHASE else phase
    if moment == _PHASE and (_counts[phase] == int(_OCCURRENCE) or "@" in _PHASE):
        if float(_DELAY) == 0.0:
            _send_signal()
        else:
            threading.Thread(target=_send_signal, daemon=True).start()


def _send_signal() -> None:
    time.sleep(float(_DELAY))
    os.write(_TRACE_FILE, f"sent {_SIGNAL}\n".encode())
    os.kill(os.getpid(), int(_SIGNAL))


def trace_calls(owner, name, thread, phase, detail=None, after=None) -> None:
    """Record each call of `owner.name` as the begin of a phase.

    Args:
        owner: Module or class whose function is replaced.
        name: Name of the function.
        thread: `main` or `background`.
        phase: The phase that begins with a call.
        detail: Function of the call's arguments that returns a detail to record.
        after: The phase that begins when the call returns.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def traced(*arguments, **keywords):
        record(thread, phase, *([] if detail is None else [detail(*arguments)]))
        try:
            return original(*arguments, **keywords)
        finally:
            if after:
                record(thread, after)

    setattr(owner, name, traced)


def trace_steps() -> None:
    """Record the compilation and each training step, with the examples of its batch."""
    original = steps.make_train_step

    @functools.wraps(original)
    def make_train_step(*arguments):
        train_step, compiled = original(*arguments), []

        def traced_step(state, batch):
            step = int(state.step) + 1
            if not compiled:
                record("main", "compile", step)
                compiled.append(train_step.func.lower(*train_step.args, state, batch).compile())
            record("main", "step", step, *np.asarray(batch["index"]))
            return train_step(state, batch)

        return traced_step

    steps.make_train_step = make_train_step


def poison(example: int, factor: float) -> None:
    """Multiply the loss of each batch with an example by a factor."""
    original = objectives.MAE.loss

    @functools.wraps(original)
    def loss(objective, variables, batch, key):
        value, aux = original(objective, variables, batch, key)
        return value * jnp.where(jnp.any(batch["index"] == example), factor, 1.0), aux

    objectives.MAE.loss = loss


def get_config(kind: str) -> ConfigDict:
    if sys.modules["__main__"].__spec__.name == "ssl_jax.train":
        get_step = lambda evaluation, state: int(state.step)  # noqa: E731
        trace_calls(restoring, "restore_or_initialise", "main", "restore")
        trace_calls(results, "write_samples", "main", "finish")
        trace_calls(
            periodic_evaluations.Evaluation,
            "__call__",
            "main",
            "evaluation",
            get_step,
            after="loop",
        )
        trace_calls(probe.OnlineProbe, "__call__", "main", "probe", get_step, after="loop")
        trace_calls(features, "precompute_features", "main", "features", after="loop")
        trace_calls(saving.Checkpointer, "save", "main", "save", get_saved_step, after="loop")
        trace_calls(
            saving.Checkpointer, "_finish", "background", "write", get_written_step, after="idle"
        )
        trace_calls(
            saving, "write_manifest", "background", "manifest", lambda checkpoint: checkpoint.name
        )
        trace_calls(saving.Checkpointer, "_delete_old", "background", "delete")
        trace_steps()
    if "FAULTS_POISON" in os.environ:
        words = os.environ["FAULTS_POISON"].split()
        for example, factor in zip(words[::2], words[1::2], strict=True):
            poison(int(example), float(factor))
    record("main", "start")
    config = make_small_config(kind, os.environ["FAULTS_DATA"])
    config.every.update(log=7, save=5, evaluate=4)
    config.schedule.warmup_steps = 2
    config.steps = 40
    if kind in ("simclr", "mae"):
        config.every.probe = 6
        config.probe.update(name="demo_scenes/tiny", train="all[5:5]", evaluation="all[5:5].rest")
    return config


def get_saved_step(checkpointer, state, position, card) -> int:
    return int(state.step)


def get_written_step(checkpointer, response, checkpoint) -> str:
    return checkpoint.name
