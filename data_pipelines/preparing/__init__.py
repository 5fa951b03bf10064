"""From a builder's examples to a prepared dataset: reading, encoding, writing, verifying."""
