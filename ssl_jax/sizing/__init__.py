"""Estimates of the size and cost of a run before it is started.

`describe` estimates a run (`Description`) from shapes, `cost` counts FLOPs and bytes in jaxprs, and
`display` prints the description.
"""
