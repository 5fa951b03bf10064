"""What a user's image files contain, as all builders of such files understand it.

`headers` reads what a file says of itself (`Header`), `georeferences` compares the places of two
files, `channels` finds the bands, `pixels` reads them with their no-data pixels and converts them
(`PixelFormat`), `survey` looks at all files of a folder before they are read, and `values` at the
values of some.
"""
