"""From a prepared dataset to examples by position, and to batches."""
