"""Checkpoints: saving, finding, loading and validating them, and the model card in each.

`saving` writes checkpoints in the background, `finding` finds the newest valid one of a folder
(`find_newest_checkpoint`), and `loading` reads it. `manifest` detects corrupt files by their
checksums. `card` is the model card, whose fields are checked by `card_checks`, and `validation`
checks the card of a checkpoint against its arrays. `canary` records a network's answers to a few
synthetic images, and compares them elsewhere; `inputs` compares images with the card's profile.
`orbax_threads` silences the threads of Orbax after a failed save.
"""
