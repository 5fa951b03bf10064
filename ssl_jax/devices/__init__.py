"""The device mesh, the processes of a job, and pytrees of arrays.

`mesh` shards arrays and maps functions over the devices (`make_data_mesh`, `pmap_over_mesh`),
`processes` exchanges values between the processes of a job (`gather_json`), `cluster` joins a job
and ends it when a process is lost, `pytrees` lists the paths and shapes of arrays, `precision`
chooses the dtypes of a run by the kind of device (`Precision`), `determinism` makes its results
repeat to the bit, and `private` wraps names that JAX does not publish.
"""
