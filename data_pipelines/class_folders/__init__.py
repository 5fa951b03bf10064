"""A user's own labelled images: one folder for each class."""
