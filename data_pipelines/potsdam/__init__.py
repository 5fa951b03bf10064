"""The ISPRS Potsdam benchmark of aerial pictures with masks.

`nomenclature` has the classes and their colours.
"""
