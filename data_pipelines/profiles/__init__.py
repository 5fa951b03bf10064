"""Data profiles: what the pixels of a dataset, or of the training of a checkpoint, are like.

`profile` is the description as plain JSON, `validation` checks one that is read, and `unit` names
the unit of a band. `counts` measures exactly, while a dataset is built; `measurement` makes
profiles of counts, or of a sensor's published statistics. `stored` writes and loads the profiles of
a prepared dataset.

`observation` summarises images that come in, `comparison` compares them with a profile and returns
`findings`; `causes` recognises what was done to the pixels, by the distance in `divergence`.
"""
