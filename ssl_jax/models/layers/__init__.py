"""Layers and operations that the networks share.

`convolution` convolves (`Convolution`), `pooling` takes maxima of windows and `linear` multiplies
by a matrix (`Linear`), all in a form of their own on CPUs, which `platforms` chooses and for which
`shifts` moves pixels. `attention` computes softmax attention,
`activations` GELU, `norm` makes normalisation layers, `patches` converts images to patches and back
and holds their position embeddings, and `stochastic` drops activations and residual branches.
"""
