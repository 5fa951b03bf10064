"""From a config to the parts of a run: the only place below the commands that reads a config.

`run` assembles them (`Run`); `objectives`, `networks`, `views` and `optimization` make one kind
each, `construct` calls a constructor with a section of a config, `sections` checks which there are.
"""

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
    "make_objective",
    "make_optimizer",
    "make_parameter_groups",
]
