"""A user's own labelled images: one folder for each class.

`folders` finds the classes and their images, `images` reads one.
"""
