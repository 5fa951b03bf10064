"""Data profiles: what the pixels of a dataset, or of the training of a checkpoint, are like.

`profile` is the description as plain JSON, `validation` checks one that is read. `counts` measures
pixels while a dataset is built; `measurement` makes profiles of counts, or of the published
statistics of a sensor. `stored` writes and loads the profiles of a prepared dataset.

`observation` summarises images that come in, `comparison` compares them with a profile and returns
`findings`. `scales` and `causes` recognise what was done to the pixels, by the `divergence` that is
left when it is undone.
"""
