"""A user's own labelled images, in one folder per class.

`class_folders` has the TFDS builder, and `folders` finds the classes and their images.
"""
