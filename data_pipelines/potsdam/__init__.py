"""The ISPRS Potsdam benchmark of aerial images with masks.

`nomenclature` lists the classes and their colours.
"""
