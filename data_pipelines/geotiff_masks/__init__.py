"""A user's own images with masks, as windows.

`pairs` finds the mask of each image.
"""
