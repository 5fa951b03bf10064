"""Layers and operations that the networks share.

`attention` computes softmax attention, `activations` GELU, `norm` makes normalisation layers,
`patches` converts images to patches and back and holds their position embeddings, and `stochastic`
drops activations and residual branches.
"""
