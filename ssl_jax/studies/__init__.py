"""What a study is, and how its runs are carried out.

`plan` is a study as data (`Study`, `Run`, `Table`), `states` tells how far its runs have come,
`execution` does them (`execute`), and `progress` prints how it goes.
"""
