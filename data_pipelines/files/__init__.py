"""What lies on disks: files, archives, their pixels, and files written whole or not at all.

`paths` has a user's files (`File`, `files_below`), `archives` those in tar archives, `rasters`
opens them with whatever is wrong told in a line, `pictures` shows them, `writing` writes
(`replaced`, `write_json`), and `lock` keeps other processes out (`locked`).
"""
