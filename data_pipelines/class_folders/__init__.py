"""A user's own labelled images, in one folder per class.

`class_folders` has the TFDS builder, `folders` finds the classes and their images, and `images`
reads single images.
"""
