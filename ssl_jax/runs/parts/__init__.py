"""The parts of a run, built from its config; below the commands, only this package reads configs.

`run` assembles all parts (`Run`). `objectives`, `networks`, `views` and `optimization` build one
kind each, `class_weights` balances the classes of a loss, `construct` calls a constructor with a
section of a config, and `sections` checks which sections a config has.
"""

from ssl_jax.runs.parts.networks import has_attention
from ssl_jax.runs.parts.objectives import make_objective
from ssl_jax.runs.parts.optimization import count_steps, make_optimizer, make_parameter_groups
from ssl_jax.runs.parts.run import (
    ProbeSet,
    Run,
    assemble_run,
    check_batch,
    configure_image_evaluation,
)

__all__ = [
    "ProbeSet",
    "Run",
    "assemble_run",
    "check_batch",
    "configure_image_evaluation",
    "count_steps",
    "has_attention",
    "make_objective",
    "make_optimizer",
    "make_parameter_groups",
]
