"""A user's own pictures with masks, as windows.

`pairs` finds the mask of each image.
"""
