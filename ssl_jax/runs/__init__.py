"""Runs: from a config to the training of a network in a workdir, and inference from a checkpoint.

`config` reads config files, and `parts` builds the parts of a run from a config. `training` trains
one run (`train`): `workdir` locks its folder and ties it to one config, `restoring` initialises or
resumes its state, `periodic_evaluations` computes its metrics, and `results` summarises it.
`features` computes the features of a frozen backbone once; `probe` evaluates features, and `search`
compares learning rates. `evaluation` and `inference` start from a checkpoint.
"""
