"""How pixels reach a batch: TFDS builders, random-access sources and the Grain loader."""
