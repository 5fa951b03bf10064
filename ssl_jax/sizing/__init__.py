"""From shapes to cost: what a run will be before it is started.

`describe` is all of it (`Description`), counted by `cost` from jaxprs, and `display` prints it.
"""
