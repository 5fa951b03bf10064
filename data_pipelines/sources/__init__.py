"""From a prepared dataset to examples by position, and to batches.

`opening` opens one (`open_dataset`), and `dataset` is what TFDS's description says of it
(`Dataset`). `subset` is what a split expression names (`subset_of`), written as
`split_expressions` has it;
`stored_split` is a split as it lies on disk, with its `catalogue`. `records` are single examples,
`windows` and `images` are put together from blocks, `bad_records` does without bad ones, `loader`
makes batches (`Loader`).
"""
