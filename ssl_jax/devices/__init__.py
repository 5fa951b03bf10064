"""The mesh of devices, the processes of a job, and trees of arrays.

`mesh` maps functions over the devices (`data_mesh`, `pmapped`), `processes` lets the processes of a
job speak to each other (`gathered`), `cluster` joins and leaves a job, `pytrees` names arrays and
their shapes, and `private` is what JAX doesn't publish.
"""
