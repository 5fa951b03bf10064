"""From a config to the parts of a run, and one run in one workdir.

`config` reads config files, `parts` makes the parts of a run from one; `training` is a run
(`train`), which `restoring` starts, `periodic_evaluations` measures, `results` summarises and
`workdir` keeps to
one config. `features` are computed once under a frozen backbone, which `probe` and `search` judge.
`evaluation` and `inference` work from a checkpoint.
"""
