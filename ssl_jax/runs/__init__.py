"""From a config to the parts of a run, and one run in one workdir."""
