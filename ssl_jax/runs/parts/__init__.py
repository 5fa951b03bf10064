"""From a config to the parts of a run: the only place below the commands that reads a config.

`run` assembles them (`Run`); `objectives`, `networks`, `views` and `optimization` make one kind
each, `construct` calls a constructor with a section of a config, `sections` checks which there are.
"""

from ssl_jax.runs.parts.objectives import objective
from ssl_jax.runs.parts.optimization import optimizer, parameter_groups, steps
from ssl_jax.runs.parts.run import ProbeSet, Run, assemble, check_batch, over_pictures

__all__ = [
    "ProbeSet",
    "Run",
    "assemble",
    "check_batch",
    "objective",
    "optimizer",
    "over_pictures",
    "parameter_groups",
    "steps",
]
