"""Access to prepared datasets: examples by position, and batches.

`opening` opens a dataset (`open_dataset`) and `dataset` describes it (`Dataset`). `subset` selects
the examples of a split expression (`select_subset`), whose syntax `split_expressions` defines.
`stored_split` reads a split as stored on disk, with its `catalogue`. `records` decodes single
examples, `windows` and `images` join stored blocks, `bad_records` skips unreadable examples, and
`loader` makes batches (`Loader`).
"""
