"""From a prepared dataset to examples by position, and to batches.

`dataset` opens one (`open_dataset`), `subset` is what a split expression names, written as `cuts`
has it; `stored` is a split as it lies on disk, with its `catalogue`, and `info` what TFDS's
description says. `records` are single examples, `windows` and `pictures` are put together from
cells, `skipping` does without bad ones, `loader` makes batches (`Loader`).
"""
