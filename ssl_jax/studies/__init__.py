"""Studies: named training runs, their dependencies and execution, and the tables they fill.

`plan` defines a study as data (`Study`, `Run`, `Table`) and reads a recorded one (`read_study`),
`execution` trains its runs (`execute_study`), in several processes by `jobs`, `states` reads the
state of each run from its folder, and `progress` prints the progress.
"""
