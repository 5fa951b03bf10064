"""Measurements of speed: `python -m ssl_jax.bench`.

`workloads` are what is measured, each prepared and repeated by a process of its own (`worker`);
`comparison` runs the processes of two implementations in turn and summarises their times, and
`startup` measures the seconds from a command to its first step.
"""
