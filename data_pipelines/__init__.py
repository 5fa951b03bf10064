"""How pixels reach a batch: TFDS builders, examples by position, and the Grain loader.

What a dataset of your own needs is imported from here: `Band` and `Sensor` for what took the
images, `Reading` for what there is to read, `UserError` for what the user can put right.

`build` is the command; `registry` finds builders by name, `fields` reads the fields of their
configs, `private` is what TFDS doesn't publish.
"""

from data_pipelines.bands import Band, Sensor
from data_pipelines.errors import UserError
from data_pipelines.reading import Reading

__all__ = ["Band", "Reading", "Sensor", "UserError"]
