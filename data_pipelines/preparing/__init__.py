"""From a builder's examples to a prepared dataset: reading, encoding, writing, verifying.

`build` is the whole of it (`build`); `builders` finds the builder and what it would read, `prepare`
writes a dataset's folder with `encoding`, `shards` and `parallel` workers, or `beam` in their
place; `verify` reads it back, `summary` and `progress` tell the user, `published` knows a dataset
before it is prepared.
"""
