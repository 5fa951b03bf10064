"""What lies on disks: files, archives, their pixels, and files written whole or not at all.

`paths` has a user's files (`File`, `find_files`), `archives` those in tar archives, `rasters`
opens them with whatever is wrong `display` shows them, `writing` writes
(`replace_when_written`, `write_json`), and `lock` keeps other processes out (`acquire_lock`).
"""
