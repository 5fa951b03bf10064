"""Preparation of datasets: reading a builder's examples, encoding, writing and verifying them.

`build` prepares a dataset (`build`). `builders` creates the TFDS builder and its splits. `prepare`
writes the dataset's folder, with `encoding`, `shards` and the worker processes of `parallel`, or
`beam` in their place. `verify` reads a dataset back, `summary` and `progress` report to the user,
and `published` describes a dataset before it is prepared.
"""
