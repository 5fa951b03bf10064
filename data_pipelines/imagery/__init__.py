"""What a user's image files contain, as all builders of such files understand it.

`headers` reads what a file says of itself (`Header`), `georeferences` what places an image
(`Georeference`), and compares two files, `places` finds images of one place, `products` those of
Sentinel-2 as ESA ships them, `channels` finds the bands, `pixels` reads them with their no-data
pixels and converts them (`PixelFormat`), `decoding` reads small images, `fitting` brings them to
one size, `survey` looks at all files of a folder before they are read, `values` at the values of
some, and `descriptions` says it in words.
"""
