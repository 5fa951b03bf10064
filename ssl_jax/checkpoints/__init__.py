"""Saving checkpoints, finding and validating them, and the model card that each carries.

`saving` writes them in the background, `loading` finds the newest and reads it, `manifest` tells
whether its files are as they were written; `card` is the model card, checked by `card_checks`, and
`validation` looks at checkpoints from elsewhere. `orbax_threads` keeps Orbax's threads quiet.
"""
