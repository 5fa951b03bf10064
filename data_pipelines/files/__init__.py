"""Access to files: search, archives, pixels, display, atomic writing and locks.

`paths` finds a user's files (`File`, `find_files`), `patterns` those that match a pattern,
`archives` reads tar archives, `rasters` opens image files, `display` converts satellite images to
colours for display, `writing` writes files atomically (`replace_when_written`, `write_json`),
`lock` excludes other processes (`acquire_lock`), and `limits` raises that on open files.
"""
