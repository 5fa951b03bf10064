"""Datasets: TFDS builders, random access to stored examples, and the Grain data loader.

The names that a builder of your own needs are imported from here: `Band` and `Sensor` describe the
instrument that took the images, `Reading` lists the items to read, and `UserError` reports an error
that the user can correct.

`build` is the command that prepares a dataset, `registry` finds builders by name, `names` lists
those of this package, `fields` parses the fields of their configs, and `private` wraps TFDS's
private API.
"""

from data_pipelines.bands import Band, Sensor
from data_pipelines.errors import UserError
from data_pipelines.reading import Reading

__all__ = ["Band", "Reading", "Sensor", "UserError"]
