"""The device mesh, the processes of a job, and pytrees of arrays.

`mesh` shards arrays and maps functions over the devices (`make_data_mesh`, `pmap_over_mesh`). Of
the processes of a job, `membership` reads which they are, `cluster` joins them and ends them when
one is lost, `restart` replaces all after a failure of one, and `processes` lets the first one
decide for all (`decide`) and gathers values (`gather_json`). `pytrees` lists the paths and shapes
of arrays, `precision` chooses the dtypes of a run by the kind of device (`Precision`),
`determinism` makes its results repeat to the bit, and `private` wraps names that JAX does not
publish.
"""
